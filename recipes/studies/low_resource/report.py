"""How distillation degrades as bitext and labelled pairs run out: curves, areas, loss per halving, where it stops paying."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from modeling_optical.evaluation import holm
from recipes.studies.statistics.seeds_and_queries import nested_bootstrap

from ...checked_yaml import build
from ..reporting.comparisons import difference, estimate, interval_columns, shown_system
from ..reporting.document import MISSING, ReportDocument, chance, legend_below, look, number
from ..reporting.results_table import StudyResults
from .grid import NONE, Grid, grids_of, size_of, weights_of_area, weights_of_slope

_LEVEL = 0.05


@dataclass
class LowResourceOptions:
    """What the report looks at.

    Args:
        main: the system that the question is about.
        bitext: the bitext at which labelled pairs are varied, as tables write it (`all` for no limit).
        pairs: the labelled pairs at which bitext is varied.
    """

    main: str = "optical"
    bitext: str = "1000"
    pairs: str = "50"


def report_low_resource(results: StudyResults, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    options = build(LowResourceOptions, results.study.report_options, "report_options")
    grids = grids_of(results)
    summary = _summary(grids, options)
    if summary.empty:
        document.text("**The runs that ended well do not answer the question.**")
        return "The runs that ended well do not answer the question."
    paying = _paying(grids, options)
    tests = _tests(grids, options)
    answer = _answer(results, options, summary, paying, tests)
    document.gaps += dict.fromkeys(gap for grid in grids for gap in grid.fewer_than_asked())
    document.text(f"**{answer}**")
    _curves(document, results, grids, options)
    metric = results.study.metrics[0]
    shown = _shown_summary(summary, results, options)
    document.table("summary", f"{metric} with little bitext and few labelled pairs, with 95 % intervals.", shown, summary)
    document.text(
        f"*Area*: mean height of the curve over the labelled pairs, on the axis log(1 + pairs), at {options.bitext} pairs of "
        "bitext. *Per halving*: what halving the bitext costs, the slope over log2 of its size, at no labelled pairs."
    )
    _show_paying(document, results, paying, options)
    kept = document.kept_table("tests", tests)
    document.text(_tests_in_words(results, tests, options, kept))
    full = document.kept_table("all_points", _all_points(grids, results))
    document.text(f"Every point, system and metric ({', '.join(results.study.metrics)}): [{full}]({full}).")
    return answer


def _summary(grids: Sequence[Grid], options: LowResourceOptions) -> pd.DataFrame:
    rows = []
    for grid in grids:
        for system in ["floor", *grid.systems]:
            bitext = NONE if system == "floor" else options.bitext
            curve = [pairs for pairs in grid.sizes("pairs", bitext=bitext) if not grid.at(system, bitext, pairs).empty]
            sizes = [b for b in grid.sizes("bitext", pairs=NONE) if b != NONE and not grid.at(system, b, NONE).empty]
            row: dict[str, object] = {"collection": grid.collection, "language": grid.language, "system": system}
            for name, at in (("fewest", curve[:1]), ("most", curve[-1:] if len(curve) > 1 else [])):
                found = estimate(grid.at(system, bitext, at[0]), grid.metric) if at else None
                row |= interval_columns(name, found.value if found else None, found.interval if found else None)
            area = None
            if len(curve) > 1:
                points = [(system, bitext, pairs) for pairs in curve]
                area = grid.combined(points, weights_of_area([float(pairs) for pairs in curve]))
            row |= interval_columns("area", *_mean(area))
            slope = None
            if len(sizes) > 1 and system != "floor":
                slope = grid.combined([(system, b, NONE) for b in sizes], weights_of_slope([grid.pairs_of(b) for b in sizes]))
            row |= interval_columns("per_halving", *_mean(slope))
            if curve or sizes:
                rows.append(row | {"most_pairs": curve[-1] if curve else NONE})
    return pd.DataFrame(rows)


def _mean(table: np.ndarray | None) -> tuple[float | None, tuple[float, float] | None]:
    return (None, None) if table is None else (float(table.mean()), nested_bootstrap(table))


def _cell(row: Mapping[str, object], name: str, *, sign: bool = False) -> str:
    value, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if not _there(value):
        return MISSING
    return number(float(value), (float(low), float(high)) if _there(low) else None, sign=sign)  # type: ignore[arg-type]


def _there(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _shown_summary(summary: pd.DataFrame, results: StudyResults, options: LowResourceOptions) -> pd.DataFrame:
    most = max(summary["most_pairs"], key=size_of)
    rows = []
    for row in summary.to_dict("records"):
        name = shown_system(str(row["system"]), results.study.systems)
        rows.append(
            {
                "collection": row["collection"],
                "language": row["language"],
                "system": f"{name} (no bitext)" if row["system"] == "floor" else name,
                "no labelled pairs": _cell(row, "fewest"),
                f"{most} labelled pairs": _cell(row, "most"),
                "area": _cell(row, "area"),
                "per halving": _cell(row, "per_halving", sign=True),
            }
        )
    return pd.DataFrame(rows)


def _paying(grids: Sequence[Grid], options: LowResourceOptions) -> pd.DataFrame:
    """The main system against no bitext at all, and against its start, at every size of bitext."""
    rows = []
    for grid in grids:
        for pairs in dict.fromkeys([NONE, options.pairs]):
            for against in ("floor", "start"):
                tested: list[dict[str, Any]] = []
                for bitext in grid.sizes("bitext", pairs=pairs):
                    if bitext == NONE:
                        continue
                    other = grid.at("floor", NONE, pairs) if against == "floor" else grid.at("start", bitext, pairs)
                    found = difference(grid.at(options.main, bitext, pairs), other, grid.metric)
                    if found is None:
                        continue
                    key = {
                        "collection": grid.collection,
                        "language": grid.language,
                        "labelled pairs": pairs,
                        "against": against,
                    }
                    p = found.test.t_test if found.test.t_test is not None else found.test.randomisation
                    tested.append(
                        key | {"bitext": bitext} | interval_columns("difference", found.value, found.interval) | {"p": p}
                    )
                for row, corrected in zip(tested, holm([row["p"] for row in tested]), strict=True):
                    rows.append(row | {"p_holm": corrected})
    return pd.DataFrame(rows)


def _smallest_that_pays(tested: pd.DataFrame) -> str | None:
    """The smallest bitext from which on every size that was run is better beyond chance."""
    smallest = None
    for row in sorted(tested.to_dict("records"), key=lambda row: -size_of(row["bitext"])):
        if row["difference"] <= 0 or row["p_holm"] is None or not row["p_holm"] < _LEVEL:
            break
        smallest = row["bitext"]
    return smallest


def _show_paying(document: ReportDocument, results: StudyResults, paying: pd.DataFrame, options: LowResourceOptions) -> None:
    if paying.empty:
        return
    rows = []
    for key, group in paying.groupby(["collection", "language", "labelled pairs", "against"], sort=False):
        collection, language, pairs, against = key
        sizes = {
            row["bitext"]: f"{_cell(row, 'difference', sign=True)}, p {chance(row['p_holm'])}"
            for row in group.to_dict("records")
        }
        smallest = _smallest_that_pays(group)
        other = "no bitext" if against == "floor" else "its start"
        first = {"collection": collection, "language": language, "labelled pairs": pairs, "against": other}
        rows.append(first | sizes | {"pays from": smallest or "no size that was run"})
    table = pd.DataFrame(rows)
    sizes_run = sorted((c for c in table if c in set(paying["bitext"])), key=size_of)
    table = table[["collection", "language", "labelled pairs", "against", *sizes_run, "pays from"]].fillna(MISSING)
    name = shown_system(options.main, results.study.systems)
    caption = (
        f"Does distillation pay? {name} less the student that had no bitext, and less its own start (vocabulary only), by "
        f"pairs of bitext; p of paired t-tests over queries, after Holm within a row."
    )
    document.table("paying", caption, table, paying)


def _tests(grids: Sequence[Grid], options: LowResourceOptions) -> pd.DataFrame:
    """The main system against every other at every point, with Holm's correction over all of them."""
    rows = []
    for grid in grids:
        points = grid.rows[["bitext", "pairs"]].drop_duplicates().itertuples(index=False)
        for point in sorted(points, key=lambda p: (size_of(p.bitext), size_of(p.pairs))):
            if point.bitext == NONE:
                continue
            for other in grid.systems:
                if other == options.main:
                    continue
                found = difference(
                    grid.at(options.main, point.bitext, point.pairs), grid.at(other, point.bitext, point.pairs), grid.metric
                )
                if found is not None:
                    key = {
                        "collection": grid.collection,
                        "language": grid.language,
                        "bitext": point.bitext,
                        "pairs": point.pairs,
                    }
                    counts = {"wins": found.test.wins, "ties": found.test.ties, "losses": found.test.losses}
                    chances = {"t_test": found.test.t_test, "randomisation": found.test.randomisation, "note": found.test.note}
                    size = {"queries": found.test.queries, "seeds": found.seeds}
                    rows.append(
                        key
                        | {"other": other}
                        | interval_columns("difference", found.value, found.interval)
                        | size
                        | counts
                        | chances
                    )
    for row, corrected in zip(rows, holm([row["t_test"] for row in rows]), strict=True):
        row["t_test_holm"] = corrected
    return pd.DataFrame(rows)


def _tests_in_words(results: StudyResults, tests: pd.DataFrame, options: LowResourceOptions, place: str) -> str:
    name = shown_system(options.main, results.study.systems)
    if tests.empty:
        return f"There is no system to compare {name} with."
    parts = []
    for other, group in tests.groupby("other", sort=False):
        better, worse, rest = _counted(group)
        parts.append(
            f"against {shown_system(str(other), results.study.systems)} {better} better, {worse} worse, {rest} not "
            "distinguishable"
        )
    return (
        f"{name} at every combination of language, collection, bitext and labelled pairs, by paired t-tests with Holm's "
        f"correction over all {len(tests)}: {'; '.join(parts)}. All of them: [{place}]({place})."
    )


def _counted(tests: pd.DataFrame) -> tuple[int, int, int]:
    beyond = [p is not None and p < _LEVEL for p in tests["t_test_holm"]]
    better = sum(b and d > 0 for b, d in zip(beyond, tests["difference"], strict=True))
    worse = sum(b and d < 0 for b, d in zip(beyond, tests["difference"], strict=True))
    return better, worse, len(tests) - better - worse


def _answer(
    results: StudyResults, options: LowResourceOptions, summary: pd.DataFrame, paying: pd.DataFrame, tests: pd.DataFrame
) -> str:
    metric, name = results.study.metrics[0], shown_system(options.main, results.study.systems)
    main = summary[summary["system"] == options.main] if not summary.empty else summary
    slopes = [float(v) for v in main.get("per_halving", []) if _there(v)]
    parts = []
    if slopes:
        parts.append(f"halving the bitext costs {name} {_span(slopes)} of {metric}")
    for system, who in ((options.main, f"it at {options.bitext} pairs of bitext"), ("floor", "the student that had no bitext")):
        own = summary[summary["system"] == system]
        gains = [row["most"] - row["fewest"] for row in own.to_dict("records") if _there(row["most"]) and _there(row["fewest"])]
        if gains:
            parts.append(f"{max(own['most_pairs'], key=size_of)} labelled pairs change {who} by {_span(gains, sign=True)}")
    if not paying.empty:
        smallest = [
            _smallest_that_pays(g)
            for _, g in paying[(paying["against"] == "floor") & (paying["labelled pairs"] == NONE)].groupby(
                ["collection", "language"]
            )
        ]
        if smallest:
            found = sorted({s for s in smallest if s is not None}, key=size_of)
            never = sum(s is None for s in smallest)
            text = (
                f"distillation pays from {' or '.join(found)} pairs of bitext on"
                if found
                else "distillation pays beyond chance at no size that was run"
            )
            parts.append(
                text + (f" (in {never} of {len(smallest)} languages and collections at no size)" if found and never else "")
            )
    if not tests.empty:
        rivals = tests[tests["other"] != "start"]
        better, worse, rest = _counted(rivals)
        if len(rivals):
            parts.append(
                f"of {len(rivals)} comparisons with other objectives {better} are won, {worse} lost and {rest} not "
                "distinguishable"
            )
    return _sentence(parts) if parts else "The runs that ended well do not answer the question."


def _span(values: Sequence[float], *, sign: bool = False) -> str:
    """The lowest and the highest value, or the one."""
    low, high = number(min(values), sign=sign), number(max(values), sign=sign)
    return low if low == high else f"{low} to {high}"


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def _curves(document: ReportDocument, results: StudyResults, grids: Sequence[Grid], options: LowResourceOptions) -> None:
    for factor, fixed, title, caption in (
        (
            "pairs",
            ("bitext", options.bitext),
            "labelled pairs",
            f"labelled pairs, at {options.bitext} pairs of bitext (and at none)",
        ),
        ("bitext", ("pairs", NONE), "pairs of bitext", "pairs of bitext, at no labelled pairs"),
        ("bitext", ("pairs", options.pairs), "pairs of bitext", f"pairs of bitext, at {options.pairs} labelled pairs"),
    ):
        data = _curve_data(grids, factor, fixed)
        drawn = [grid for grid in grids if len(data[data["panel"] == grid.label].get("x", pd.Series()).unique()) > 1]
        if not drawn:
            continue
        name = f"{factor}_at_{fixed[1]}"

        def draw(axes: Sequence[Axes], data: pd.DataFrame = data, drawn: list[Grid] = drawn, title: str = title) -> None:
            for axis, grid in zip(axes, drawn, strict=True):
                _draw_panel(axis, grid, data[data["panel"] == grid.label], title, results)
            legend_below(axes)

        metric = results.study.metrics[0]
        document.figure(name, f"{metric} against {caption}, with 95 % intervals.", data, draw, panels=len(drawn))


def _curve_data(grids: Sequence[Grid], factor: str, fixed: tuple[str, str]) -> pd.DataFrame:
    rows = []
    for grid in grids:
        for system in ["floor", *grid.systems]:
            at = {fixed[0]: NONE} if system == "floor" and fixed[0] == "bitext" else {fixed[0]: fixed[1]}
            for size in grid.sizes(factor, **at):
                bitext, pairs = (size, at["pairs"]) if factor == "bitext" else (at["bitext"], size)
                if (bitext == NONE) != (system == "floor"):
                    continue
                found = estimate(grid.at(system, bitext, pairs), grid.metric)
                if found is not None:
                    x = grid.pairs_of(bitext) if factor == "bitext" else float(pairs)
                    key = {"panel": grid.label, "system": system, "x": x}
                    rows.append(
                        key
                        | interval_columns("value", found.value, found.interval)
                        | {"seeds": found.seeds, "queries": found.queries}
                    )
    return pd.DataFrame(rows, columns=["panel", "system", "x", "value", "value_low", "value_high", "seeds", "queries"])


def _draw_panel(axis: Axes, grid: Grid, data: pd.DataFrame, title: str, results: StudyResults) -> None:
    for position, system in enumerate(["floor", *grid.systems]):
        own = data[data["system"] == system].sort_values("x")
        if own.empty:
            continue
        low, high = own["value"] - own["value_low"].fillna(own["value"]), own["value_high"].fillna(own["value"]) - own["value"]
        name = shown_system(system, results.study.systems)
        # None of either stands at the left end of the logarithmic axis.
        axis.errorbar(np.log10(1 + own["x"]), own["value"], yerr=[low, high], label=name, capsize=2, **look(position))
    ticks = sorted(data["x"].unique())
    axis.set_xticks(np.log10(1 + np.array(ticks)), [f"{tick:,.0f}" for tick in ticks], fontsize=7)
    axis.set_title(grid.label, fontsize=9)
    axis.set_xlabel(title)
    axis.set_ylabel(grid.metric)


def _all_points(grids: Sequence[Grid], results: StudyResults) -> pd.DataFrame:
    rows = []
    for grid in grids:
        for key, group in grid.rows.groupby(["system", "bitext", "pairs"], sort=False):
            system, bitext, pairs = key
            for metric in results.study.metrics:
                found = estimate(group, metric)
                if found is not None:
                    point = {
                        "collection": grid.collection,
                        "language": grid.language,
                        "system": system,
                        "bitext": bitext,
                        "pairs": pairs,
                    }
                    size = {"seeds": found.seeds, "queries": found.queries}
                    rows.append(point | {"metric": metric} | interval_columns("value", found.value, found.interval) | size)
    return pd.DataFrame(rows)
