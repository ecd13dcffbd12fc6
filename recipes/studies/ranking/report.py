"""Which system is best: each by language and on average, the main one tested against the others, its way to the ceiling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
from matplotlib.axes import Axes

from hub_cards.results import of_the_way

from ..reporting.comparisons import LEVEL, compared, is_significant, with_holm
from ..reporting.document import ReportDocument
from ..reporting.estimates import MISSING, Estimate, Row, number
from ..reporting.figures import beside, look, reach
from ..reporting.over_languages import mean, over_languages
from ..reporting.panel import Panel, estimates_of, selected
from ..reporting.results_table import REFERENCE_SEED, StudyResults
from ..reporting.table import Format, numbers_of, pivoted, shown_table
from ..study import ALL_LANGUAGES

# A table has some hundred tests, and Holm's correction multiplies the smallest p by their number.
_RESAMPLES = 19_999
_TESTS = ["panel", "system", "language", "difference", "low", "high", "queries", "wins", "losses", "t_test", "randomisation",
          "holm"]  # fmt: skip


@dataclass
class RankingOptions:
    """Options of the report.

    Args:
        main: the system that is compared with every other.
        against: those that the answer speaks of.
        macro: languages of the macro average that decides; empty: all.
    """

    main: str = "optical"
    against: list[str] = field(default_factory=list)
    macro: list[str] = field(default_factory=list)


def report_ranking(results: StudyResults, options: RankingOptions, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    panels = list(_panels(results))
    tests = _tests(panels, options)
    macros = [{system: _macro(panel, system, options) for system in panel.systems} for panel in panels]
    answer = _answer(document, panels, options, macros, tests)
    for count, panel in enumerate(panels, 1):
        _show_panel(document, panel, options, macros[count - 1], count)
    _figure(document, panels, options)
    _show_tests(document, panels, options, tests)
    cases = [
        ({"panel": panel.label, "system": system, "language": code}, panel.of(system, code))
        for panel in panels
        for system in panel.systems
        for code in panel.languages
    ]
    kept = document.kept_table("values", estimates_of(cases, results.study.metrics), ends=("low", "high"))
    own = document.kept_table("tests", pd.DataFrame(tests, columns=_TESTS))
    document.text(
        f"Every system, language and metric ({', '.join(results.study.metrics)}) with its interval: {kept}. All "
        f"paired tests, Holm's correction over all of them: {own}."
    )
    return answer


def _panels(results: StudyResults) -> Iterator[Panel]:
    """One for each collection and value of each factor; references are in every one."""
    queries = results.queries[results.queries["student"] != ALL_LANGUAGES]
    factors = list(results.study.factors)
    for collection in queries["collection"].unique():
        rows = selected(queries, collection=collection)
        is_reference = rows["seed"] == REFERENCE_SEED
        trained = rows[~is_reference]
        for values, own in trained.groupby(factors, sort=False) if factors else [((), trained)]:
            label = ", ".join([collection, *(f"{name} {value}" for name, value in zip(factors, values, strict=True))])
            yield Panel(results, pd.concat([rows[is_reference], own], ignore_index=True), label)


def _macro_languages(panel: Panel, options: RankingOptions) -> list[str]:
    """Those of `macro` that were run; all that were run, if none of them was."""
    return [code for code in panel.languages if code in options.macro] or panel.languages


def _macro(panel: Panel, system: str, options: RankingOptions) -> Estimate:
    """Mean over the languages, if all were measured; with its interval, if they have as many seeds."""
    tables = {code: [panel.table(system, code)] for code in _macro_languages(panel, options)}
    found = over_languages(tables, mean, one_training=False)
    seeds = {panel.estimate(system, code).seeds for code in tables}
    return found if len(seeds) == 1 else replace(found, interval=None)


def _show_panel(
    document: ReportDocument, panel: Panel, options: RankingOptions, macros: dict[str, Estimate], count: int
) -> None:
    heading = f"mean of {', '.join(_macro_languages(panel, options))}"
    best = max((found.value for system, found in macros.items() if found and system in panel.study.systems), default=None)
    rows: list[Row] = [
        {"system": system, "mean": found} | {code: panel.estimate(system, code).value for code in panel.languages}
        for system, found in macros.items()
    ]

    def shown_mean(row: Row) -> str:
        is_best = row["system"] in panel.study.systems and row["mean"].value == best
        return f"**{row['mean']}**" if is_best else str(row["mean"])

    columns: dict[str, Format] = {"system": lambda row: panel.shown(row["system"]), heading: shown_mean}
    shown = shown_table(rows, columns | {code: code for code in panel.languages})
    if options.main in panel.systems:
        way = {code: _way(panel, options.main, code) for code in panel.languages}
        name = f"way from floor to ceiling, {panel.shown(options.main)}"
        shown = pd.concat([shown, pd.DataFrame([{"system": name, heading: MISSING} | way])])
    document.heading(panel.label)
    document.table(f"panel_{count}", f"{panel.metric}, the best mean in bold.", rows, shown)


def _way(panel: Panel, system: str, language: str) -> str:
    """Share of the way from floor to ceiling; missing where one of them is, or they are the same."""
    found = [panel.estimate(name, language) for name in ("floor", system, "ceiling")]
    floor, own, ceiling = (one.value for one in found)
    share = of_the_way(own, floor, ceiling) if all(found) else None
    return MISSING if share is None else f"{share:.0%}"


def _tests(panels: Sequence[Panel], options: RankingOptions) -> list[Row]:
    """The main system less every other trained one, the start and BM25, by language; Holm's correction over all."""
    cases = [
        (
            {"panel": panel.label, "system": system, "language": code},
            *(panel.of(one, code) for one in (options.main, system)),
        )
        for panel in panels
        for system in panel.systems
        for code in panel.languages
        if system != options.main and system in (*panel.study.systems, "start", "bm25")
    ]
    rows = with_holm(compared(cases, panels[0].metric, resamples=_RESAMPLES), "randomisation", "holm")
    return [row | row["difference"].columns("difference", "low", "high") for row in rows]


def _show_tests(document: ReportDocument, panels: Sequence[Panel], options: RankingOptions, tests: Sequence[Row]) -> None:
    if not tests:
        return
    names = panels[0].shown
    # In the order of the study's languages in each row.
    shown = pivoted(
        tests,
        {"": "panel", "against": lambda row: names(row["system"])},
        "language",
        lambda row: number(row["difference"], sign=True) + ("*" if is_significant(row["holm"]) else ""),
    )
    document.heading(f"{names(options.main)} less each other system")
    caption = (
        f"Difference of {panels[0].metric}; * p < {LEVEL} by the paired randomisation test over queries, Holm's correction "
        "over all tests of this report."
    )
    document.table("differences", caption, tests, shown, _TESTS)


def _figure(document: ReportDocument, panels: Sequence[Panel], options: RankingOptions) -> None:
    names = panels[0].study.systems
    rows = [
        {"panel": panel.label, "system": system, "language": code, "value": found}
        for panel in panels
        for system in panel.systems
        for code in panel.languages
        if (found := panel.estimate(system, code))
    ]
    data = numbers_of(rows, ends=("low", "high"))
    data["low"], data["high"] = (data[end].fillna(data["value"]) for end in ("low", "high"))
    drawn = ["floor", "start", *dict.fromkeys(one for one in [options.main, *options.against] if one in names), "ceiling"]

    def draw(axis: Axes, panel: Panel) -> None:
        own = data[data["panel"] == panel.label]
        for place, system, x, points in beside(axis, own, panel.languages, drawn, 0.1):
            style = look(place) | {"linestyle": "none", "elinewidth": 0.8, "label": panel.shown(system)}
            axis.errorbar(x, points["value"], yerr=reach(points, low="low", high="high"), **style)

    caption, metric = f"{panels[0].metric} by language, with 95 % intervals.", panels[0].metric
    shown = data.assign(system=[panels[0].shown(system) for system in data["system"]])
    document.figure("systems", caption, shown, {panel.label: panel for panel in panels}, draw, y=metric)


def _answer(
    document: ReportDocument,
    panels: Sequence[Panel],
    options: RankingOptions,
    macros: Sequence[dict[str, Estimate]],
    tests: Sequence[Row],
) -> str:
    parts = []
    for panel, means in zip(panels, macros, strict=True):
        measured = {system: found for system, found in means.items() if found and system in panel.study.systems}
        if not measured:
            chosen = ", ".join(_macro_languages(panel, options))
            parts.append(f"on {panel.label}, no system was measured in all of {chosen}")
            continue
        best = max(measured, key=lambda system: measured[system].value)
        text = f"on {panel.label}, {panel.shown(best)} has the highest mean {panel.metric} ({measured[best]})"
        counted = [_counted(tests, panel, system) for system in options.against if system in panel.systems]
        if options.main in measured and counted:
            text += f"; {panel.shown(options.main)} is above {', '.join(counted)}"
        parts.append(text)
    return document.answer(f"{parts[0]}.", parts[1:])


def _counted(tests: Sequence[Row], panel: Panel, system: str) -> str:
    own = [row for row in tests if (row["panel"], row["system"]) == (panel.label, system)]
    above = [row for row in own if row["difference"] > 0]
    clear = sum(is_significant(row["holm"]) for row in above)
    return f"{panel.shown(system)} in {len(above)} of {len(own)} languages ({clear} beyond chance)"
