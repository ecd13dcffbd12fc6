"""How much systems vary over languages: deviation, range, worst language, gap between groups; tests of paired variances."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from modeling_optical.evaluation import holm
from recipes.studies.statistics.seeds_and_queries import bootstrap_over_languages
from recipes.studies.statistics.variance_tests import VarianceComparison, compare_variances

from ...checked_yaml import build
from ..reporting.comparisons import (
    Difference,
    Estimate,
    difference,
    estimate,
    in_order,
    interval_columns,
    selected,
    shown_system,
    table_of,
)
from ..reporting.document import MISSING, ReportDocument, chance, colour, legend_below, number
from ..reporting.results_table import StudyResults
from ..study import ALL_LANGUAGES

_LEVEL = 0.05
Interval = tuple[float, float] | None


@dataclass
class VarianceOptions:
    """What the report looks at.

    Args:
        main: the system that the question is about.
        against: the system that it is compared with.
        groups: the groups of languages whose gap is reported, the one with more resources first.
    """

    main: str = "transport"
    against: str = "contrastive"
    groups: list[str] = field(default_factory=lambda: ["high", "low"])

    def __post_init__(self) -> None:
        if len(self.groups) != 2:
            raise ValueError(f"groups must be two, the one with more resources first; got {self.groups!r}.")


@dataclass(frozen=True)
class _Arm:
    """A system, of students of one language each or of one student of all."""

    system: str
    pooled: bool

    def shown(self, results: StudyResults) -> str:
        name = shown_system(self.system, results.study.systems)
        return f"{name}, one student of all languages" if self.pooled else name


class _Panel:
    """One collection: the arms' rows by language."""

    def __init__(self, results: StudyResults, collection: str, options: VarianceOptions):
        self.results, self.collection, self.options = results, collection, options
        self.metric = results.study.metrics[0]
        self.rows = selected(results.queries, collection=collection)
        found = self.rows.assign(pooled=self.rows["student"] == ALL_LANGUAGES)[["system", "pooled"]].drop_duplicates()
        arms = [_Arm(row.system, row.pooled) for row in found.itertuples()]
        order = in_order([arm.system for arm in arms], results.study.systems)
        self.arms = sorted(arms, key=lambda arm: (arm.pooled, order.index(arm.system)))
        groups = {code: one.group for code, one in results.study.languages.items()}
        there = set(self.rows["language"])
        self.languages = [code for code in groups if code in there]
        self.groups = groups

    def of(self, arm: _Arm, language: str, *, metric: str | None = None) -> Estimate | None:
        return estimate(self.rows_of(arm, language), metric or self.metric)

    def rows_of(self, arm: _Arm, language: str) -> pd.DataFrame:
        student = ALL_LANGUAGES if arm.pooled else language
        return selected(self.rows, system=arm.system, language=language, student=student)

    def shared_languages(self, *arms: _Arm) -> list[str]:
        """Languages in which all these arms were measured."""
        return [code for code in self.languages if all(not self.rows_of(arm, code).empty for arm in arms)]

    def interval(self, arms: Sequence[_Arm], statistic: Callable[..., np.ndarray]) -> Interval:
        """Interval of a statistic of the arms' values, each (languages, resamples), over seeds and queries."""
        languages = self.shared_languages(*arms)
        tables: dict[str, dict[str, np.ndarray]] = {}
        for code in languages:
            found = [t for arm in arms if (t := table_of(self.rows_of(arm, code), self.metric)) is not None]
            queries = sorted(set.intersection(*(set(table.columns) for table in found)))
            seeds = sorted(set.intersection(*(set(table.index) for table in found)))
            if not queries or not seeds:
                return None
            tables[code] = {str(i): table.loc[seeds, queries].to_numpy() for i, table in enumerate(found)}
        if len(languages) < 2:
            return None
        return bootstrap_over_languages(
            tables,
            lambda means: statistic(*(means[str(i)] for i in range(len(arms)))),
            one_training=all(arm.pooled for arm in arms),
        )


def report_variance(results: StudyResults, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    options = build(VarianceOptions, results.study.report_options, "report_options")
    panels = [_Panel(results, name, options) for name in results.queries["collection"].unique()]
    summary = pd.DataFrame([row for panel in panels for row in _summary(panel)])
    tests = _tests(panels)
    answer = _answer(results, options, tests)
    document.text(f"**{answer}**")
    _figures(document, panels, results)
    document.table("summary", _summary_caption(results, options), _shown_summary(summary, panels, results), summary)
    _show_tests(document, results, tests, options)
    per_language = document.kept_table("languages", _languages(panels, results))
    paired = document.kept_table("paired_by_language", _paired(panels, options))
    document.text(
        f"Every language, system and metric ({', '.join(results.study.metrics)}): [{per_language}]({per_language}). "
        f"Paired tests over queries within each language, Holm's correction over all of them: [{paired}]({paired})."
    )
    return answer


def _deviation(values: np.ndarray) -> np.ndarray:
    return values.std(axis=0, ddof=1)


def _range(values: np.ndarray) -> np.ndarray:
    return values.max(axis=0) - values.min(axis=0)


def _summary(panel: _Panel) -> list[dict[str, object]]:
    rows = []
    for arm in panel.arms:
        found = {code: one.value for code in panel.languages if (one := panel.of(arm, code)) is not None}
        if not found:
            continue
        values = np.array(list(found.values()))
        row: dict[str, object] = {
            "collection": panel.collection,
            "system": arm.system,
            "pooled": arm.pooled,
            "languages": len(found),
        }
        row |= interval_columns("mean", float(values.mean()), panel.interval([arm], lambda v: v.mean(axis=0)))
        several = len(found) > 1
        row |= interval_columns("deviation", float(_deviation(values)) if several else None, panel.interval([arm], _deviation))
        row |= interval_columns("range", float(_range(values)) if several else None, panel.interval([arm], _range))
        row |= interval_columns("gap", *_gap(panel, arm, found))
        worst = min(found, key=lambda code: found[code])
        rows.append(row | {"worst": worst, "worst_value": found[worst]})
    return rows


def _gap(panel: _Panel, arm: _Arm, found: dict[str, float]) -> tuple[float | None, Interval]:
    """Mean of the first group's languages less that of the second's."""
    codes = list(found)
    members = [[i for i, code in enumerate(codes) if panel.groups[code] == group] for group in panel.options.groups]
    if not all(members):
        return None, None

    def gap(values: np.ndarray) -> np.ndarray:
        return values[members[0]].mean(axis=0) - values[members[1]].mean(axis=0)

    return float(gap(np.array(list(found.values())))), panel.interval([arm], gap)


def _cell(row: dict, name: str, *, sign: bool = False) -> str:
    value, low, high = (row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if value is None or pd.isna(value):
        return MISSING
    return number(value, None if low is None or pd.isna(low) else (low, high), sign=sign)


def _summary_caption(results: StudyResults, options: VarianceOptions) -> str:
    groups: dict[str, list[str]] = {}
    for code, language in results.study.languages.items():
        if code != ALL_LANGUAGES:
            groups.setdefault(language.group or "without a group", []).append(code)
    listed = "; ".join(f"{group}: {', '.join(codes)}" for group, codes in groups.items())
    return (
        f"{results.study.metrics[0]} over languages ({listed}), with 95 % intervals. Gap: mean of {options.groups[0]} less "
        f"mean of {options.groups[1]}."
    )


def _shown_summary(summary: pd.DataFrame, panels: Sequence[_Panel], results: StudyResults) -> pd.DataFrame:
    rows = []
    for row in summary.to_dict("records"):
        rows.append(
            {
                "collection": row["collection"],
                "system": _Arm(str(row["system"]), bool(row["pooled"])).shown(results),
                "languages": row["languages"],
                "mean": _cell(row, "mean"),
                "standard deviation": _cell(row, "deviation"),
                "range": _cell(row, "range"),
                "gap": _cell(row, "gap", sign=True),
                "worst": f"{row['worst']} {row['worst_value']:.3f}",
            }
        )
    return pd.DataFrame(rows)


@dataclass
class _Test:
    """The main system against another on a collection."""

    panel: _Panel
    main: _Arm
    other: _Arm
    found: VarianceComparison
    deviation: Interval
    mean: float
    mean_interval: Interval
    pitman_morgan_holm: float | None = None
    permutation_holm: float | None = None


def _tests(panels: Sequence[_Panel]) -> list[_Test]:
    """The main system against every trained other, per collection; Holm's correction over all."""
    tests = []
    for panel in panels:
        trained = [arm for arm in panel.arms if arm.system in panel.results.study.systems]
        for main in (arm for arm in trained if arm.system == panel.options.main):
            for other in trained:
                if other.system == main.system or other.pooled != main.pooled:
                    continue
                tests.append(_compared(panel, main, other))
    found = [test for test in tests if test is not None]
    by_pitman = holm([test.found.pitman_morgan for test in found])
    by_permutation = holm([test.found.permutation for test in found])
    for test, pitman, permutation in zip(found, by_pitman, by_permutation, strict=True):
        test.pitman_morgan_holm, test.permutation_holm = pitman, permutation
    return found


def _compared(panel: _Panel, main: _Arm, other: _Arm) -> _Test | None:
    languages = panel.shared_languages(main, other)
    if not languages:
        return None
    values = [[one.value for code in languages if (one := panel.of(arm, code)) is not None] for arm in (main, other)]
    return _Test(
        panel,
        main,
        other,
        compare_variances(*values),
        panel.interval([main, other], lambda a, b: _deviation(a) - _deviation(b)),
        float(np.mean(values[0]) - np.mean(values[1])),
        panel.interval([main, other], lambda a, b: a.mean(axis=0) - b.mean(axis=0)),
    )


def _show_tests(document: ReportDocument, results: StudyResults, tests: Sequence[_Test], options: VarianceOptions) -> None:
    if not tests:
        return
    shown, numbers = [], []
    for test in tests:
        found = test.found
        ratio = MISSING if found.detectable_ratio is None else f"{found.detectable_ratio:.2f}"
        name = test.other.shown(results)
        shown.append(
            {
                "collection": test.panel.collection,
                "against": name,
                "languages": found.languages,
                "difference of deviations": number(found.difference, test.deviation, sign=True),
                "difference of means": number(test.mean, test.mean_interval, sign=True),
                "Pitman–Morgan p (Holm)": chance(test.pitman_morgan_holm),
                "permutation p (Holm)": chance(test.permutation_holm),
                "ratio found with power 0.8": ratio,
            }
        )
        key = {
            "collection": test.panel.collection,
            "main": test.main.system,
            "against": test.other.system,
            "pooled": test.main.pooled,
        }
        corrected = {"pitman_morgan_holm": test.pitman_morgan_holm, "permutation_holm": test.permutation_holm}
        numbers.append(
            key | vars(found) | corrected | interval_columns("deviations", found.difference, test.deviation)
            | interval_columns("means", test.mean, test.mean_interval)
        )  # fmt: skip
    caption = (
        f"{shown_system(options.main, results.study.systems)} less each other objective. The tests take the languages for a "
        "sample; the intervals take them as given, and seeds and queries for samples. The last column: the ratio of standard "
        "deviations that Pitman–Morgan finds four times in five with so many languages."
    )
    document.table("tests", caption, pd.DataFrame(shown), pd.DataFrame(numbers))
    notes = [f"{t.panel.collection}, against {t.other.shown(results)}: {t.found.note}." for t in tests if t.found.note]
    document.bullets(notes)


def _languages(panels: Sequence[_Panel], results: StudyResults) -> pd.DataFrame:
    rows = []
    for panel in panels:
        for arm in panel.arms:
            for code in panel.languages:
                for metric in results.study.metrics:
                    found = panel.of(arm, code, metric=metric)
                    if found is not None:
                        key = {
                            "collection": panel.collection,
                            "language": code,
                            "group": panel.groups[code],
                            "system": arm.system,
                        }
                        size = {"seeds": found.seeds, "queries": found.queries}
                        rows.append(
                            key
                            | {"pooled": arm.pooled, "metric": metric}
                            | interval_columns("value", found.value, found.interval)
                            | size
                        )
    return pd.DataFrame(rows)


def _paired(panels: Sequence[_Panel], options: VarianceOptions) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    chances: list[float | None] = []
    for panel in panels:
        for pooled in (False, True):
            main, other = _Arm(options.main, pooled), _Arm(options.against, pooled)
            for code in panel.shared_languages(main, other):
                found: Difference | None = difference(panel.rows_of(main, code), panel.rows_of(other, code), panel.metric)
                if found is None:
                    continue
                key = {"collection": panel.collection, "language": code, "pooled": pooled}
                test = {
                    name: getattr(found.test, name)
                    for name in ("queries", "wins", "ties", "losses", "t_test", "randomisation", "note")
                }
                rows.append(key | interval_columns("difference", found.value, found.interval) | test)
                chances.append(found.test.t_test)
    return pd.DataFrame([row | {"t_test_holm": p} for row, p in zip(rows, holm(chances), strict=True)])


def _figures(document: ReportDocument, panels: Sequence[_Panel], results: StudyResults) -> None:
    data = []
    for panel in panels:
        for arm in panel.arms:
            for code in panel.languages:
                found = panel.of(arm, code)
                if found is not None:
                    key = {"panel": panel.collection, "system": arm.shown(results), "language": code}
                    data.append(key | interval_columns("value", found.value, found.interval))
    frame = pd.DataFrame(data)

    def draw(axes: Sequence[Axes]) -> None:
        for axis, panel in zip(axes, panels, strict=True):
            _draw_languages(axis, panel, results)
        legend_below(axes)

    metric = results.study.metrics[0]
    document.figure("languages", f"{metric} by language, with 95 % intervals.", frame, draw, panels=len(panels))


def _draw_languages(axis: Axes, panel: _Panel, results: StudyResults) -> None:
    shown = [arm for arm in panel.arms if arm.system in results.study.systems]
    width = 0.8 / max(len(shown), 1)
    for position, arm in enumerate(shown):
        for place, code in enumerate(panel.languages):
            found = panel.of(arm, code)
            if found is None:
                continue
            x = place + (position - (len(shown) - 1) / 2) * width
            interval = found.interval or (found.value, found.value)
            axis.bar(x, found.value, width * 0.92, color=colour(position), label=arm.shown(results) if place == 0 else None,
                     hatch=("", "//", "..", "xx", "\\\\", "++")[position % 6], edgecolor="white", linewidth=0.4)  # fmt: skip
            reach = [[max(found.value - interval[0], 0)], [max(interval[1] - found.value, 0)]]
            axis.errorbar(x, found.value, yerr=reach, color="black", linewidth=0.7, capsize=1)
    labels = [f"{code}\n{panel.groups[code]}" for code in panel.languages]
    axis.set_xticks(range(len(panel.languages)), labels, fontsize=6)
    axis.set_title(panel.collection, fontsize=9)
    axis.set_ylabel(panel.metric)


def _answer(results: StudyResults, options: VarianceOptions, tests: Sequence[_Test]) -> str:
    main, against = (shown_system(name, results.study.systems) for name in (options.main, options.against))
    asked = [test for test in tests if test.other.system == options.against and test.found.difference is not None]
    if not asked:
        return f"{main} and {against} were not both measured in two languages, so the question is not answered."
    parts = []
    for test in asked:
        found = test.found
        where = test.panel.collection + (", one student of all languages" if test.main.pooled else "")
        p = test.permutation_holm
        if p is None:
            verdict = "not compared by a test"
        elif p >= _LEVEL:
            verdict = "not distinguishable between the two"
        else:
            verdict = f"{'smaller' if (found.difference or 0) < 0 else 'larger'} with {main}"
        tested = f"p {chance(p)} by permutation after Holm" if p is not None else found.note
        parts.append(
            f"on {where} the standard deviation of {results.study.metrics[0]} over {found.languages} languages is {verdict} "
            f"({number(found.first)} against {number(found.second)}, {tested}), the means differ by "
            f"{number(test.mean, test.mean_interval, sign=True)}"
        )
    text = "; ".join(parts)
    return f"{main} against {against}: {text}."
