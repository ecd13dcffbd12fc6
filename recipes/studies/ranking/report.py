"""Which system is best: each by language and on average, the main one tested against the others, its way to the ceiling."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from modeling_optical.evaluation import holm
from recipes.studies.statistics.seeds_and_queries import bootstrap_over_languages

from ...checked_yaml import build
from ..reporting.comparisons import Estimate, difference, estimate, in_order, interval_columns, selected, shown_system, table_of
from ..reporting.document import MISSING, ReportDocument, legend_below, look, number
from ..reporting.results_table import REFERENCE_SEED, StudyResults
from ..study import ALL_LANGUAGES

_LEVEL = 0.05
# A table has some hundred tests, and Holm's correction multiplies the smallest p by their number.
_RESAMPLES = 19_999


@dataclass
class RankingOptions:
    """What the report looks at.

    Args:
        main: the system that is compared with every other.
        against: those that the answer speaks of.
        macro: languages of the macro average that decides; empty: all.
    """

    main: str = "optical"
    against: list[str] = field(default_factory=list)
    macro: list[str] = field(default_factory=list)


@dataclass
class _Panel:
    """Rows of one collection, and of one value of each factor; references stand in every panel."""

    results: StudyResults
    label: str
    rows: pd.DataFrame

    @property
    def metric(self) -> str:
        return self.results.study.metrics[0]

    @property
    def systems(self) -> list[str]:
        return in_order(list(self.rows["system"].unique()), self.results.study.systems)

    @property
    def languages(self) -> list[str]:
        there = set(self.rows["language"])
        return [code for code in self.results.study.languages if code in there]

    def of(self, system: str, language: str) -> pd.DataFrame:
        return selected(self.rows, system=system, language=language)

    def estimate(self, system: str, language: str, metric: str | None = None) -> Estimate | None:
        return estimate(self.of(system, language), metric or self.metric)

    def macro(self, system: str, languages: Sequence[str]) -> tuple[float, tuple[float, float] | None] | None:
        """Mean over the languages, with its interval over seeds and queries; None unless all were measured."""
        tables = {code: table_of(self.of(system, code), self.metric) for code in languages}
        found = {code: {"own": table.to_numpy()} for code, table in tables.items() if table is not None}
        if len(found) < len(languages) or not languages:
            return None
        value = float(np.mean([own["own"].mean() for own in found.values()]))
        seeds = {own["own"].shape[0] for own in found.values()}
        if len(seeds) > 1 or min(own["own"].shape[1] for own in found.values()) < 2:
            return value, None
        return value, bootstrap_over_languages(found, lambda means: means["own"].mean(axis=0))


def report_ranking(results: StudyResults, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    options = build(RankingOptions, results.study.report_options, "report_options")
    panels = list(_panels(results))
    tests = _tests(panels, options)
    answer = _answer(panels, options, tests)
    document.text(f"**{answer}**")
    numbers = pd.DataFrame([row for panel in panels for row in _numbers(panel)])
    for count, panel in enumerate(panels, 1):
        _show_panel(document, panel, options, count)
    _figure(document, panels, options)
    _show_tests(document, panels, options, tests)
    kept = document.kept_table("values", numbers)
    own = document.kept_table("tests", tests)
    document.text(
        f"Every system, language and metric ({', '.join(results.study.metrics)}) with its interval: [{kept}]({kept}). All "
        f"paired tests, Holm's correction over all of them: [{own}]({own})."
    )
    return answer


def _panels(results: StudyResults) -> Iterator[_Panel]:
    queries = results.queries[results.queries["student"] != ALL_LANGUAGES]
    factors = list(results.study.factors)
    trained = queries[queries["seed"] != REFERENCE_SEED]
    references = queries[queries["seed"] == REFERENCE_SEED]
    for collection in queries["collection"].unique():
        own = selected(trained, collection=collection)
        shared = selected(references, collection=collection)
        groups = own.groupby(factors, sort=False) if factors else [((), own)]
        for values, rows in groups:
            values = values if isinstance(values, tuple) else (values,)
            label = ", ".join([collection, *(f"{name} {value}" for name, value in zip(factors, values, strict=True))])
            yield _Panel(results, label, pd.concat([shared, rows], ignore_index=True))


def _macro_languages(panel: _Panel, options: RankingOptions) -> list[str]:
    """Those of `macro` that were run; all that were run, if none of them was."""
    return [code for code in panel.languages if code in options.macro] or panel.languages


def _show_panel(document: ReportDocument, panel: _Panel, options: RankingOptions, count: int) -> None:
    names = panel.results.study.systems
    chosen = _macro_languages(panel, options)
    mean = f"mean of {', '.join(chosen)}"
    macros = {system: panel.macro(system, chosen) for system in panel.systems}
    best = max((found[0] for system, found in macros.items() if found is not None and system in names), default=None)
    shown: list[dict[str, object]] = []
    plain: list[dict[str, object]] = []
    for system, macro in macros.items():
        found = [(code, panel.estimate(system, code)) for code in panel.languages]
        text = MISSING if macro is None else number(*macro)
        is_best = macro is not None and system in names and macro[0] == best
        row: dict[str, object] = {"system": shown_system(system, names), mean: f"**{text}**" if is_best else text}
        shown.append(row | {code: MISSING if one is None else number(one.value) for code, one in found})
        row = {"system": system, **interval_columns("mean", *(macro or (None, None)))}
        plain.append(row | {code: None if one is None else one.value for code, one in found})
    if options.main in panel.systems:
        way: dict[str, object] = {code: _percent(_way(panel, options.main, code)) for code in panel.languages}
        shown.append({"system": f"way from floor to ceiling, {shown_system(options.main, names)}", mean: MISSING} | way)
    document.heading(panel.label)
    document.table(f"panel_{count}", f"{panel.metric}, the best mean in bold.", pd.DataFrame(shown), pd.DataFrame(plain))


def _way(panel: _Panel, system: str, language: str) -> float | None:
    """Share of the way from floor to ceiling; None where one of them is missing, or they are the same."""
    found = [panel.estimate(name, language) for name in ("floor", system, "ceiling")]
    if any(one is None for one in found):
        return None
    floor, own, ceiling = (one.value for one in found if one is not None)
    return None if ceiling <= floor else (own - floor) / (ceiling - floor)


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{share:.0%}"


def _numbers(panel: _Panel) -> Iterator[dict[str, object]]:
    for system in panel.systems:
        for code in panel.languages:
            for metric in panel.results.study.metrics:
                found = panel.estimate(system, code, metric)
                if found is not None:
                    low, high = found.interval or (None, None)
                    yield {"panel": panel.label, "system": system, "language": code, "metric": metric, "value": found.value,
                           "low": low, "high": high, "seeds": found.seeds, "queries": found.queries}  # fmt: skip


def _tests(panels: Sequence[_Panel], options: RankingOptions) -> pd.DataFrame:
    """The main system less every other trained one and the start, by language; Holm's correction over all."""
    rows: list[dict[str, object]] = []
    for panel in panels:
        for system in panel.systems:
            if system == options.main or (system not in panel.results.study.systems and system not in ("start", "bm25")):
                continue
            for code in panel.languages:
                found = difference(panel.of(options.main, code), panel.of(system, code), panel.metric, resamples=_RESAMPLES)
                if found is not None:
                    low, high = found.interval or (None, None)
                    rows.append({"panel": panel.label, "system": system, "language": code, "difference": found.value,
                                 "low": low, "high": high, "queries": found.test.queries, "wins": found.test.wins,
                                 "losses": found.test.losses, "t_test": found.test.t_test,
                                 "randomisation": found.test.randomisation})  # fmt: skip
    corrected = holm([row["randomisation"] for row in rows])  # type: ignore[misc]
    columns = ["panel", "system", "language", "difference", "low", "high", "queries", "wins", "losses", "t_test",
               "randomisation", "holm"]  # fmt: skip
    return pd.DataFrame([row | {"holm": p} for row, p in zip(rows, corrected, strict=True)], columns=columns)


def _show_tests(document: ReportDocument, panels: Sequence[_Panel], options: RankingOptions, tests: pd.DataFrame) -> None:
    if tests.empty:
        return
    shown = []
    for panel in panels:
        own = selected(tests, panel=panel.label)
        for system in in_order(list(own["system"].unique()), panel.results.study.systems):
            rows = selected(own, system=system)
            row = {"": panel.label, "against": shown_system(system, panel.results.study.systems)}
            row |= {
                code: _difference(selected(rows, language=code)) for code in panel.languages if code in set(rows["language"])
            }
            shown.append(row)
    main = shown_system(options.main, panels[0].results.study.systems)
    document.heading(f"{main} less each other system")
    caption = (
        f"Difference of {panels[0].metric}; * p < {_LEVEL} by the paired randomisation test over queries, Holm's correction "
        "over all tests of this report."
    )
    document.table("differences", caption, pd.DataFrame(shown).fillna(MISSING), tests)


def _difference(rows: pd.DataFrame) -> str:
    row = rows.iloc[0]
    star = "*" if row["holm"] is not None and not pd.isna(row["holm"]) and row["holm"] < _LEVEL else ""
    return f"{number(row['difference'], sign=True)}{star}"


def _figure(document: ReportDocument, panels: Sequence[_Panel], options: RankingOptions) -> None:
    names = panels[0].results.study.systems
    data = []
    for panel in panels:
        for system in panel.systems:
            for code in panel.languages:
                found = panel.estimate(system, code)
                if found is not None:
                    low, high = found.interval or (found.value, found.value)
                    data.append({"panel": panel.label, "system": shown_system(system, names), "language": code,
                                 "value": found.value, "low": low, "high": high})  # fmt: skip
    frame = pd.DataFrame(data)
    drawn = [options.main, *options.against]
    shown = ["floor", "start", *dict.fromkeys(s for s in drawn if s in names), "ceiling"]

    def draw(axes: Sequence[Axes]) -> None:
        for axis, panel in zip(axes, panels, strict=True):
            for place, system in enumerate(shown):
                own = selected(frame, panel=panel.label, system=shown_system(system, names))
                if own.empty:
                    continue
                spread = (place - (len(shown) - 1) / 2) * 0.1
                x = [panel.languages.index(code) + spread for code in own["language"]]
                reach = [(own["value"] - own["low"]).clip(lower=0), (own["high"] - own["value"]).clip(lower=0)]
                style = look(place) | {"linestyle": "none"}
                axis.errorbar(x, own["value"], yerr=reach, label=shown_system(system, names), elinewidth=0.8, **style)
            axis.set_xticks(range(len(panel.languages)), panel.languages)
            axis.set_title(panel.label, fontsize=9)
            axis.set_ylabel(panel.metric)
        legend_below(axes)

    document.figure("systems", f"{panels[0].metric} by language, with 95 % intervals.", frame, draw, panels=len(panels))


def _answer(panels: Sequence[_Panel], options: RankingOptions, tests: pd.DataFrame) -> str:
    names = panels[0].results.study.systems
    parts = []
    for panel in panels:
        chosen = _macro_languages(panel, options)
        macros = {s: m for s in panel.systems if s in names and (m := panel.macro(s, chosen)) is not None}
        if not macros:
            parts.append(f"on {panel.label}, no system was measured in all of {', '.join(chosen)}")
            continue
        best = max(macros, key=lambda system: macros[system][0])
        text = f"on {panel.label}, {shown_system(best, names)} has the highest mean {panel.metric} ({number(*macros[best])})"
        counted = [_counted(tests, panel, system, names) for system in options.against if system in panel.systems]
        if options.main in macros and counted:
            text += f"; {shown_system(options.main, names)} is above {', '.join(counted)}"
        parts.append(text)
    answer = "; ".join(parts) + "."
    return answer[0].upper() + answer[1:]


def _counted(tests: pd.DataFrame, panel: _Panel, system: str, names: dict[str, str]) -> str:
    own = selected(tests, panel=panel.label, system=system)
    above = own["difference"] > 0
    clear = int((above & (own["holm"].astype(float) < _LEVEL)).sum())
    return f"{shown_system(system, names)} in {int(above.sum())} of {len(own)} languages ({clear} beyond chance)"
