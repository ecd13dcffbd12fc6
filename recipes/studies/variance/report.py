"""How much systems vary over languages: deviation, range, worst language, gap between groups; tests of paired variances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from matplotlib.axes import Axes

from ..reporting.comparisons import LEVEL, compared, with_holm
from ..reporting.document import ReportDocument
from ..reporting.estimates import NOTHING, Estimate, Row, chance, number
from ..reporting.figures import draw_bars
from ..reporting.over_languages import Statistic, between, deviation, difference_of, mean, over_languages
from ..reporting.panel import Panel, estimates_of, in_order, selected
from ..reporting.results_table import StudyResults
from ..reporting.table import numbers_of, signed
from ..statistics.variance_tests import compare_variances
from ..study import ALL_LANGUAGES

Arm = tuple[str, bool]
"""A system, and whether it is one student of all languages (else one of each)."""
_PAIRED = ["collection", "language", "pooled", "difference", "queries", "wins", "ties", "losses", "t_test", "randomisation",
           "note", "t_test_holm"]  # fmt: skip
_HATCHES = ("", "//", "..", "xx", "\\\\", "++")


@dataclass
class VarianceOptions:
    """Options of the report.

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


class _Panel(Panel):
    """One collection: the arms' rows by language."""

    def __init__(self, results: StudyResults, collection: str):
        rows = selected(results.queries, collection=collection)
        rows = rows.assign(pooled=rows["student"] == ALL_LANGUAGES)
        super().__init__(results, rows, collection, ("system", "pooled", "language"))
        arms: list[Arm] = list(rows[["system", "pooled"]].drop_duplicates().itertuples(index=False, name=None))
        order = in_order(self.systems, self.study.systems)
        self.arms = sorted(arms, key=lambda arm: (arm[1], order.index(arm[0])))
        self.trained = [arm for arm in self.arms if arm[0] in self.study.systems]
        self.groups = {code: one.group for code, one in self.study.languages.items()}

    def name(self, row: Row) -> str:
        """An arm's name, from a row with `system` and `pooled`."""
        return self.shown(row["system"]) + (", one student of all languages" if row["pooled"] else "")

    def shared_languages(self, *arms: Arm) -> list[str]:
        """Languages in which all these arms were measured."""
        return [code for code in self.languages if all(self.estimate(*arm, code) for arm in arms)]

    def over(self, statistic: Statistic, *arms: Arm) -> Estimate:
        """A statistic of the arms over the languages that they share."""
        languages = self.shared_languages(*arms)
        values = [np.array([self.estimate(*arm, code).value for code in languages]) for arm in arms]
        tables = {code: [self.table(*arm, code) for arm in arms] for code in languages if len(languages) > 1}
        interval = over_languages(tables, statistic, one_training=all(pooled for _, pooled in arms)).interval
        return Estimate(float(statistic(*values)), interval)


def report_variance(results: StudyResults, options: VarianceOptions, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    panels = [_Panel(results, name) for name in results.queries["collection"].unique()]
    tests = _tests(panels, options)
    answer = _answer(document, panels[0], options, tests)
    _figure(document, panels)
    _show_summary(document, panels, options)
    _show_tests(document, panels[0], tests, options)
    cases = [
        ({"collection": panel.label, "language": code, "group": panel.groups[code], "system": arm[0], "pooled": arm[1]}, rows)
        for panel in panels
        for arm in panel.arms
        for code in panel.languages
        if not (rows := panel.of(*arm, code)).empty
    ]
    languages = document.kept_table("languages", estimates_of(cases, results.study.metrics))
    pairs = [
        (
            {"collection": panel.label, "language": code, "pooled": pooled},
            *(panel.of(system, pooled, code) for system in (options.main, options.against)),
        )
        for panel in panels
        for pooled in (False, True)
        for code in panel.languages
    ]
    paired = with_holm(compared(pairs, panels[0].metric), "t_test")
    by_language = document.kept_table("paired_by_language", paired, _PAIRED)
    document.text(
        f"Every language, system and metric ({', '.join(results.study.metrics)}): {languages}. "
        f"Paired tests over queries within each language, Holm's correction over all of them: {by_language}."
    )
    return answer


def _range(values: np.ndarray) -> np.ndarray:
    return values.max(axis=0) - values.min(axis=0) if len(values) > 1 else np.full(values.shape[1:], math.nan)


def _show_summary(document: ReportDocument, panels: Sequence[_Panel], options: VarianceOptions) -> None:
    rows: list[Row] = []
    for panel in panels:
        for arm in panel.arms:
            found = {code: one.value for code in panel.languages if (one := panel.estimate(*arm, code))}
            if not found:
                continue
            members = [[i for i, code in enumerate(found) if panel.groups[code] == group] for group in options.groups]
            worst = min(found, key=lambda code: found[code])
            rows.append(
                {"collection": panel.label, "system": arm[0], "pooled": arm[1], "languages": len(found)}
                | {"mean": panel.over(mean, arm), "deviation": panel.over(deviation, arm), "range": panel.over(_range, arm)}
                | {"gap": panel.over(between(*members), arm) if all(members) else NOTHING}
                | {"worst": worst, "worst_value": found[worst]}
            )
    listed: dict[str, list[str]] = {}
    for code, language in panels[0].study.languages.items():
        if code != ALL_LANGUAGES:
            listed.setdefault(language.group or "without a group", []).append(code)
    groups = "; ".join(f"{group}: {', '.join(codes)}" for group, codes in listed.items())
    caption = (
        f"{panels[0].metric} over languages ({groups}), with 95 % intervals. Gap: mean of {options.groups[0]} less "
        f"mean of {options.groups[1]}."
    )
    document.table("summary", caption, rows, {
        "collection": "collection", "system": panels[0].name, "languages": "languages", "mean": "mean",
        "standard deviation": "deviation", "range": "range", "gap": signed("gap"),
        "worst": lambda row: f"{row['worst']} {row['worst_value']:.3f}",
    })  # fmt: skip


def _tests(panels: Sequence[_Panel], options: VarianceOptions) -> list[Row]:
    """The main system against every trained other, per collection; Holm's correction over all."""
    rows: list[Row] = []
    for panel in panels:
        for main in panel.trained:
            for other in panel.trained:
                languages = panel.shared_languages(main, other)
                if main[0] != options.main or other[0] == main[0] or other[1] != main[1] or not languages:
                    continue
                found = compare_variances(*([panel.estimate(*arm, code).value for code in languages] for arm in (main, other)))
                deviations = panel.over(difference_of(deviation), main, other)
                key = {"collection": panel.label, "main": main[0], "against": other[0], "pooled": main[1]}
                means = panel.over(difference_of(mean), main, other)
                corrected = {"pitman_morgan_holm": None, "permutation_holm": None}
                rows.append(key | asdict(found) | corrected | {"deviations": deviations, "means": means})
    return with_holm(with_holm(rows, "pitman_morgan"), "permutation")


def _show_tests(document: ReportDocument, panel: _Panel, tests: Sequence[Row], options: VarianceOptions) -> None:
    caption = (
        f"{panel.shown(options.main)} less each other objective. The tests take the languages for a "
        "sample; the intervals take them as given, and seeds and queries for samples. The last column: the ratio of standard "
        "deviations that Pitman–Morgan finds four times in five with so many languages."
    )
    document.table("tests", caption, tests, {
        "collection": "collection", "against": lambda row: panel.name(row | {"system": row["against"]}),
        "languages": "languages", "difference of deviations": signed("deviations"), "difference of means": signed("means"),
        "Pitman–Morgan p (Holm)": lambda row: chance(row["pitman_morgan_holm"]),
        "permutation p (Holm)": lambda row: chance(row["permutation_holm"]),
        "ratio found with power 0.8": lambda row: number(row["detectable_ratio"], places=2),
    })  # fmt: skip
    document.bullets(
        [
            f"{row['collection']}, against {panel.name(row | {'system': row['against']})}: {row['note']}."
            for row in tests
            if row["note"]
        ]
    )


def _figure(document: ReportDocument, panels: Sequence[_Panel]) -> None:
    rows = [
        {"panel": panel.label, "system": panel.name({"system": arm[0], "pooled": arm[1]}), "language": code, "value": found}
        for panel in panels
        for arm in panel.arms
        for code in panel.languages
        if (found := panel.estimate(*arm, code))
    ]
    data = numbers_of(rows)

    def draw(axis: Axes, panel: _Panel) -> None:
        names = [panel.name({"system": system, "pooled": pooled}) for system, pooled in panel.trained]
        own = data[data["panel"] == panel.label]
        draw_bars(axis, own, panel.languages, dict(zip(names, names, strict=True)), _HATCHES)
        labels = [f"{code}\n{panel.groups[code]}" for code in panel.languages]
        axis.set_xticks(range(len(labels)), labels, fontsize=6)

    metric, places = panels[0].metric, {panel.label: panel for panel in panels}
    document.figure("languages", f"{metric} by language, with 95 % intervals.", data, places, draw, y=metric)


def _answer(document: ReportDocument, panel: _Panel, options: VarianceOptions, tests: Sequence[Row]) -> str:
    main, against = panel.shown(options.main), panel.shown(options.against)
    details: list[str] = []
    found: dict[str, list[str]] = {"less": [], "more": [], "as much": []}
    for row in tests:
        if row["against"] != options.against or row["difference"] is None:
            continue
        where = row["collection"] + (", one student of all languages" if row["pooled"] else "")
        p = row["permutation_holm"]
        if p is None:
            verdict = "not compared by a test"
        elif p >= LEVEL:
            verdict = "not distinguishable between the two"
            found["as much"].append(where)
        else:
            less = row["difference"] < 0
            verdict = f"{'smaller' if less else 'larger'} with {main}"
            found["less" if less else "more"].append(where)
        tested = row["note"] if p is None else f"p {chance(p)} by permutation after Holm"
        details.append(
            f"on {where} the standard deviation of {panel.metric} over {row['languages']} languages is {verdict} "
            f"({number(row['first'])} against {number(row['second'])}, {tested}), the means differ by {row['means'].signed}"
        )
        if p is not None and p >= LEVEL and row["detectable_ratio"]:
            document.would_change.append(
                f"{row['collection']}: more languages. With {row['languages']}, the test finds a difference four times in five "
                f"only where one standard deviation is {number(row['detectable_ratio'], places=1)} times the other."
            )
    if not details:
        return document.answer(
            f"{main} and {against} were not both measured in two languages, so the question is not answered."
        )
    return document.answer(_first(main, against, found), details, lead=f"{main} against {against}: ")


def _first(main: str, against: str, found: dict[str, list[str]]) -> str:
    where = {how: ", ".join(dict.fromkeys(names)) for how, names in found.items()}
    compared = f"between languages with {main} than with {against}"
    undecided = f"; on {where['as much']} no difference was found" if where["as much"] else ""
    if where["less"] and where["more"]:
        both = f"less {compared} on {where['less']} and more on {where['more']}"
        return f"It depends on the collection: scores vary {both}{undecided}."
    if where["less"]:
        return f"Yes: on {where['less']}, scores vary less {compared}{undecided}."
    if where["more"]:
        return f"No: on {where['more']}, scores vary more {compared}{undecided}."
    if where["as much"]:
        return (
            f"No difference was found: on {where['as much']}, scores vary about as much {compared.replace(' than ', ' as ')}."
        )
    return f"No test could compare how much scores vary {compared.replace(' than ', ' and ')}, so the question is not answered."
