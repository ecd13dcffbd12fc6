"""How distillation degrades as bitext and labelled pairs run out: curves, areas, loss per halving, where it stops paying."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..reporting.comparisons import compared, is_significant, with_holm
from ..reporting.document import ReportDocument
from ..reporting.estimates import NOTHING, Row, chance, number
from ..reporting.figures import draw_lines
from ..reporting.panel import estimates_of
from ..reporting.results_table import StudyResults
from ..reporting.table import Format, numbers_of, pivoted, signed
from .grid import NONE, Grid, grids_of, size_of, weights_of_area, weights_of_slope

_TESTS = ["collection", "language", "bitext", "pairs", "other", "difference", "queries", "seeds", "wins", "ties", "losses",
          "t_test", "randomisation", "note", "t_test_holm"]  # fmt: skip

_NEVER = "no size that was run"
_UNANSWERED = "The runs that ended well do not answer the question."


@dataclass
class LowResourceOptions:
    """Options of the report.

    Args:
        main: the system that the question is about.
        bitext: the bitext at which labelled pairs are varied, as tables write it (`all` for no limit).
        pairs: the labelled pairs at which bitext is varied.
    """

    main: str = "optical"
    bitext: str = "1000"
    pairs: str = "50"


def report_low_resource(results: StudyResults, options: LowResourceOptions, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    grids = grids_of(results)
    summary = [row for grid in grids for system in ["floor", *grid.systems] for row in _summary(grid, system, options)]
    if not summary:
        return document.answer(_UNANSWERED)
    paying = [row for grid in grids for row in _paying(grid, options)]
    tests = _tests(grids, options)
    name, metric = grids[0].shown(options.main), grids[0].metric
    answer = _answer(document, grids[0], options, summary, paying, tests)
    document.gaps += dict.fromkeys(gap for grid in grids for gap in grid.fewer_than_asked())
    _curves(document, grids, options)
    document.table("summary", f"{metric} with little bitext and few labelled pairs, with 95 % intervals.", summary, {
        "collection": "collection", "language": "language",
        "system": lambda row: grids[0].shown(row["system"]) + (" (no bitext)" if row["system"] == "floor" else ""),
        "no labelled pairs": "fewest", f"{_most(summary)} labelled pairs": "most", "area": "area",
        "per halving": signed("per_halving"),
    })  # fmt: skip
    document.text(
        f"*Area*: mean height of the curve over the labelled pairs, on the axis log(1 + pairs), at {options.bitext} pairs of "
        "bitext. *Per halving*: what halving the bitext costs, the slope over log2 of its size, at no labelled pairs."
    )
    _show_paying(document, name, paying)
    kept = document.kept_table("tests", tests, _TESTS)
    rivals = {grids[0].shown(row["other"]): [one for one in tests if one["other"] == row["other"]] for row in tests}
    counts = [
        "against {} {} better, {} worse, {} not distinguishable".format(other, *_counted(own)) for other, own in rivals.items()
    ]
    document.text(
        f"{name} at every combination of language, collection, bitext and labelled pairs, by paired t-tests with Holm's "
        f"correction over all {len(tests)}: {'; '.join(counts)}. All of them: {kept}."
        if tests
        else f"There is no system to compare {name} with."
    )
    cases = [
        (grid.key | dict(zip(("system", "bitext", "pairs"), at, strict=True)), rows)
        for grid in grids
        for at, rows in grid.rows.groupby(["system", "bitext", "pairs"], sort=False)
    ]
    full = document.kept_table("all_points", estimates_of(cases, results.study.metrics))
    document.text(f"Every point, system and metric ({', '.join(results.study.metrics)}): {full}.")
    return answer


def _summary(grid: Grid, system: str, options: LowResourceOptions) -> Iterable[Row]:
    """A row, unless the system has neither a curve over labelled pairs nor one over bitext."""
    bitext = NONE if system == "floor" else options.bitext
    curve = [pairs for pairs in grid.sizes("pairs", bitext=bitext) if not grid.of(system, bitext, pairs).empty]
    sizes = [one for one in grid.sizes("bitext", pairs=NONE) if one != NONE and not grid.of(system, one, NONE).empty]
    if not curve and not sizes:
        return
    row = grid.key | {"system": system, "fewest": NOTHING, "most": NOTHING, "area": NOTHING, "per_halving": NOTHING}
    if curve:
        row["fewest"] = grid.estimate(system, bitext, curve[0])
    if len(curve) > 1:
        row["most"] = grid.estimate(system, bitext, curve[-1])
        weights = weights_of_area([float(pairs) for pairs in curve])
        row["area"] = grid.combined([(system, bitext, pairs) for pairs in curve], weights)
    if len(sizes) > 1 and system != "floor":
        weights = weights_of_slope([grid.pairs_of(size) for size in sizes])
        row["per_halving"] = grid.combined([(system, size, NONE) for size in sizes], weights)
    yield row | {"most_pairs": curve[-1] if curve else NONE}


def _most(summary: Sequence[Row]) -> str:
    return max((row["most_pairs"] for row in summary), key=size_of)


def _paying(grid: Grid, options: LowResourceOptions) -> Iterable[Row]:
    """The main system against no bitext at all, and against its start, at every size of bitext."""
    for pairs in dict.fromkeys([NONE, options.pairs]):
        for against in ("floor", "start"):
            cases = [
                (
                    grid.key | {"labelled pairs": pairs, "against": against, "bitext": bitext},
                    grid.of(options.main, bitext, pairs),
                    grid.of(against, NONE if against == "floor" else bitext, pairs),
                )
                for bitext in grid.sizes("bitext", pairs=pairs)
                if bitext != NONE
            ]
            rows = compared(cases, grid.metric)
            for row in rows:
                row["p"] = row["randomisation"] if row["t_test"] is None else row["t_test"]
            tested = with_holm(rows, "p")
            pays_from = _smallest_that_pays(tested) or _NEVER
            yield from (row | {"pays from": pays_from} for row in tested)


def _smallest_that_pays(tested: Sequence[Row]) -> str | None:
    """The smallest bitext from which on every size that was run is significantly better."""
    smallest = None
    for row in sorted(tested, key=lambda row: -size_of(row["bitext"])):
        if row["difference"].value <= 0 or not is_significant(row["p_holm"]):
            break
        smallest = row["bitext"]
    return smallest


def _show_paying(document: ReportDocument, name: str, paying: Sequence[Row]) -> None:
    keys: dict[str, Format] = {name: name for name in ("collection", "language", "labelled pairs", "pays from")}
    keys["against"] = lambda row: "no bitext" if row["against"] == "floor" else "its start"
    shown = pivoted(paying, keys, "bitext", lambda row: f"{row['difference'].signed}, p {chance(row['p_holm'])}")
    sizes = sorted((column for column in shown if column not in keys), key=size_of)
    columns = ["collection", "language", "labelled pairs", "against", *sizes, "pays from"] if paying else []
    caption = (
        f"Does distillation pay? {name} less the student that had no bitext, and less its own start (vocabulary only), by "
        f"pairs of bitext; p of paired t-tests over queries, after Holm within a row."
    )
    numbers = ["collection", "language", "labelled pairs", "against", "bitext", "difference", "p", "p_holm"]
    document.table("paying", caption, paying, shown[columns], numbers)


def _tests(grids: Sequence[Grid], options: LowResourceOptions) -> list[Row]:
    """The main system against every other at every point, with Holm's correction over all of them."""
    cases = [
        (
            grid.key | {"bitext": bitext, "pairs": pairs, "other": other},
            *(grid.of(system, bitext, pairs) for system in (options.main, other)),
        )
        for grid in grids
        for bitext in grid.sizes("bitext")
        for pairs in grid.sizes("pairs", bitext=bitext)
        for other in grid.systems
        if bitext != NONE and other != options.main
    ]
    return with_holm(compared(cases, grids[0].metric), "t_test")


def _counted(tests: Sequence[Row]) -> tuple[int, int, int]:
    """In how many the main system is better, worse, and neither."""
    clear = [row["difference"].value for row in tests if is_significant(row["t_test_holm"])]
    better, worse = sum(value > 0 for value in clear), sum(value < 0 for value in clear)
    return better, worse, len(tests) - better - worse


def _answer(
    document: ReportDocument,
    grid: Grid,
    options: LowResourceOptions,
    summary: Sequence[Row],
    paying: Sequence[Row],
    tests: Sequence[Row],
) -> str:
    first, details = [], []
    name = grid.shown(options.main)
    slopes = [row["per_halving"].value for row in summary if row["system"] == options.main and row["per_halving"]]
    if slopes:
        first.append(f"halving the bitext costs {name} {_span(slopes)} of {grid.metric}")
    for system, who in ((options.main, f"it at {options.bitext} pairs of bitext"), ("floor", "the student that had no bitext")):
        own = [row for row in summary if row["system"] == system]
        gains = [row["most"].value - row["fewest"].value for row in own if row["most"] and row["fewest"]]
        if gains:
            details.append(f"{_most(own)} labelled pairs change {who} by {_span(gains, sign=True)}")
    asked = [row for row in paying if row["against"] == "floor" and row["labelled pairs"] == NONE]
    smallest = {(row["collection"], row["language"]): row["pays from"] for row in asked}
    if smallest:
        found = sorted({size for size in smallest.values() if size != _NEVER}, key=size_of)
        never = sum(size == _NEVER for size in smallest.values())
        text = (
            f"distillation pays from {' or '.join(found)} pairs of bitext on"
            if found
            else "distillation pays significantly at no size that was run"
        )
        some = f" (in {never} of {len(smallest)} languages and collections at no size)" if found and never else ""
        first.append(text + some)
        if never:
            document.would_change.append(
                "More bitext, longer training or more test queries: where distillation pays at no size, the largest size that "
                f"was run is {max((row['bitext'] for row in asked), key=size_of)} pairs."
            )
    rivals = [row for row in tests if row["other"] != "start"]
    if rivals:
        details.append(
            "of {} comparisons with other objectives {} are won, {} lost and {} not distinguishable".format(
                len(rivals), *_counted(rivals)
            )
        )
    return document.answer(f"{', and '.join(first)}." if first else _UNANSWERED, details)


def _span(values: Sequence[float], *, sign: bool = False) -> str:
    """The lowest and the highest value, or the one."""
    low, high = number(min(values), sign=sign), number(max(values), sign=sign)
    return low if low == high else f"{low} to {high}"


def _curves(document: ReportDocument, grids: Sequence[Grid], options: LowResourceOptions) -> None:
    at_bitext, at_pairs = f"at {options.bitext} pairs of bitext (and at none)", f"at {options.pairs} labelled pairs"
    for factor, fixed, what in (
        ("pairs", options.bitext, f"labelled pairs, {at_bitext}"),
        ("bitext", NONE, "pairs of bitext, at no labelled pairs"),
        ("bitext", options.pairs, f"pairs of bitext, {at_pairs}"),
    ):
        points = [point for grid in grids for point in _points(grid, factor, fixed)]
        data = numbers_of(points).assign(place=lambda data: np.log10(1 + data["x"])) if points else pd.DataFrame()
        drawn = {
            grid.label: grid for grid in grids if len({point["x"] for point in points if point["panel"] == grid.label}) > 1
        }

        def draw(axis: Axes, grid: Grid, data: pd.DataFrame = data) -> None:
            own = data[data["panel"] == grid.label]
            # A size of 0 is at the left end of the logarithmic axis.
            draw_lines(axis, own, "place", {system: grid.shown(system) for system in ["floor", *grid.systems]})
            ticks = np.array(sorted(own["x"].unique()))
            axis.set_xticks(np.log10(1 + ticks), [f"{tick:,.0f}" for tick in ticks], fontsize=7)

        if drawn:
            caption = f"{grids[0].metric} against {what}, with 95 % intervals."
            x = what.partition(",")[0]
            document.figure(f"{factor}_at_{fixed}", caption, data.drop(columns="place"), drawn, draw, x=x, y=grids[0].metric)


def _points(grid: Grid, factor: str, fixed: str) -> Iterable[Row]:
    """The curves over bitext at `fixed` labelled pairs, or over labelled pairs at `fixed` bitext (the floor: at none)."""
    for system in ["floor", *grid.systems]:
        other = "pairs" if factor == "bitext" else "bitext"
        at = NONE if system == "floor" and other == "bitext" else fixed
        for size in grid.sizes(factor, **{other: at}):
            bitext, pairs = (size, at) if factor == "bitext" else (at, size)
            found = grid.estimate(system, bitext, pairs)
            if found and (bitext == NONE) == (system == "floor"):
                x = grid.pairs_of(bitext) if factor == "bitext" else float(pairs)
                yield {"panel": grid.label, "system": system, "x": x, "value": found} | found.size
