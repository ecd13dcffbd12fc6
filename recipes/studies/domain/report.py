"""Accuracy on multiple-choice questions against the share of domain bitext: within the domain, outside of it, by language."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from modeling_optical.evaluation import holm
from modeling_optical.evaluation.questions import ACCURACY, MEDICAL_SUBJECTS, SUBJECT_GROUPS, subject_of
from recipes.studies.statistics.seeds_and_queries import RESAMPLES, percentile_interval, resampled_means

from ...checked_yaml import build
from ..reporting.comparisons import Estimate, estimate, in_order, selected, shown_system, table_of
from ..reporting.document import MISSING, ReportDocument, chance, legend_below, look, number
from ..reporting.results_table import StudyResults
from ..statistics.mcnemar import McNemar, mcnemar

_LEVEL = 0.05
IN_DOMAIN, OUT_OF_DOMAIN = "in domain", "out of domain"
_SIDES = (IN_DOMAIN, OUT_OF_DOMAIN)
_BETWEEN = "in less out of domain"
_CAUSAL = "causal_"
_NO_SHARE = -1.0
Interval = tuple[float, float] | None


@dataclass
class DomainOptions:
    """What the report looks at.

    Args:
        main: the system that the question is about.
        in_domain: subjects of the domain.
        low, high: shares of domain bitext that are compared.
        chance: accuracy of guessing.
    """

    main: str = "optical"
    in_domain: list[str] = field(default_factory=lambda: list(MEDICAL_SUBJECTS))
    low: float = 0.0
    high: float = 1.0
    chance: float = 0.25

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"low is {self.low}, high is {self.high}; they are shares, the lower one first.")
        if not 0 < self.chance < 1:
            raise ValueError(f"chance is {self.chance}; it is a share between 0 and 1.")


class _Rows:
    """The questions' rows with side and group, found by system, language and share: there may be many millions."""

    def __init__(self, results: StudyResults, options: DomainOptions):
        self.results, self.options = results, options
        queries = results.queries.reset_index(drop=True)
        subjects = {query: subject_of(query) for query in queries["query"].unique()}
        inside = set(options.in_domain)
        self.table = queries.assign(
            subject=queries["query"].map(subjects),
            side=queries["query"].map({q: IN_DOMAIN if s in inside else OUT_OF_DOMAIN for q, s in subjects.items()}),
            group=queries["query"].map({q: SUBJECT_GROUPS.get(s, s) for q, s in subjects.items()}),
            share=pd.to_numeric(queries["share"], errors="coerce").fillna(_NO_SHARE),
        )
        if queries["collection"].nunique() > 1:  # which may have the same ids
            self.table["query"] = queries["collection"] + "/" + queries["query"]
        self._places = self.table.groupby(["system", "language", "share"], observed=True).indices
        there = {language for _, language, _ in self._places}
        self.languages = [code for code in results.study.languages if code in there]
        self.shares = sorted({share for _, _, share in self._places if share != _NO_SHARE})
        self.systems = in_order(list(dict.fromkeys(system for system, _, _ in self._places)), results.study.systems)
        absent = [side for side in _SIDES if side not in set(self.table["side"].unique())]
        if absent:
            known = ", ".join(sorted(set(subjects.values())))
            raise ValueError(f"report_options.in_domain: no question is {absent[0]}. Subjects here: {known}.")

    @property
    def mains(self) -> list[str]:
        """The main system of each answerer that was run."""
        names = (self.options.main, _CAUSAL + self.options.main)
        return [name for name in names if name in self.systems]

    def of(self, system: str, language: str, share: float | None = None, **keys: str) -> pd.DataFrame:
        """Rows of a system at a share; None for a reference, which has none."""
        found = self.table.iloc[self._places.get((system, language, _NO_SHARE if share is None else share), [])]
        return selected(found, **keys)

    def shares_of(self, system: str) -> list[float | None]:
        """The shares that a system is shown at; for a reference, None alone."""
        own = {share for name, _, share in self._places if name == system}
        return [None] if own == {_NO_SHARE} else list(self.shares)


def report_domain(results: StudyResults, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    options = build(DomainOptions, results.study.report_options, "report_options")
    rows = _Rows(results, options)
    gains = [gain for system in rows.mains for gain in _gains(rows, system)]
    tests = _tests(rows)
    answer = _answer(rows, gains, tests)
    document.text(f"**{answer}**")
    _describe(document, rows)
    _figures(document, rows)
    _gain_table(document, rows, gains)
    _system_table(document, rows)
    _test_table(document, rows, tests)
    by_language = document.kept_table("by_language", _by(rows, "side"))
    by_group = document.kept_table("by_subject_group", _by(rows, "group"))
    document.text(
        f"Accuracy of every system by language and side of the domain: [{by_language}]({by_language}); by subject group: "
        f"[{by_group}]({by_group})."
    )
    return answer


def _describe(document: ReportDocument, rows: _Rows) -> None:
    counts = rows.table.drop_duplicates(["collection", "language", "query"]).groupby(["side", "subject"]).size()
    parts = []
    for side in _SIDES:
        own = counts[side]
        listed = ", ".join(str(subject) for subject in own.index) if len(own) <= 12 else f"{len(own)} subjects"
        parts.append(f"{side}: {int(own.sum()):,} questions in {len(rows.languages)} languages ({listed})")
    totals = sorted(set(rows.results.provenance["training pairs"].values()))
    pairs = f" Every mixture has {', '.join(f'{total:,}' for total in totals)} pairs." if totals else ""
    document.text(f"{'; '.join(parts)}. Guessing gives {rows.options.chance:.3f}.{pairs}")


@dataclass
class _Gain:
    """What the high share gives over the low one, mean over languages; the accuracies are None for a difference of gains."""

    system: str
    side: str
    languages: list[str]
    value: float
    interval: Interval
    low: float | None = None
    high: float | None = None


def _gains(rows: _Rows, system: str) -> list[_Gain]:
    """In the domain, out of it, and, as a third, the one less the other."""
    found: list[_Gain] = []
    samples: list[np.ndarray] = []
    for place, side in enumerate(_SIDES):
        shares = rows.options.low, rows.options.high
        pairs = {code: pair for code in rows.languages if (pair := _paired(rows, system, code, side, *shares)) is not None}
        if not pairs:
            return []
        # A language's seeds are one draw for both sides; questions are the same ones in every language.
        drawn = [
            resampled_means(two - one, resamples=RESAMPLES, seeds=[0, 2 + rows.languages.index(code)], queries=[0, 100 + place])
            for code, (one, two) in pairs.items()
        ]
        samples.append(np.mean(drawn, axis=0))
        low, high = (float(np.mean([pair[i].mean() for pair in pairs.values()])) for i in (0, 1))
        single = any(one.shape[1] == 1 for one, _ in pairs.values())
        interval = None if single else percentile_interval(samples[-1])
        found.append(_Gain(system, side, list(pairs), high - low, interval, low, high))
    inside, outside = found
    between = percentile_interval(samples[0] - samples[1]) if inside.interval and outside.interval else None
    return [*found, _Gain(system, _BETWEEN, inside.languages, inside.value - outside.value, between)]


def _paired(
    rows: _Rows, system: str, language: str, side: str, low: float, high: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """(seeds, questions) at two shares, of the seeds and questions that both have."""
    one, two = (table_of(rows.of(system, language, share, side=side), ACCURACY) for share in (low, high))
    if one is None or two is None:
        return None
    queries, seeds = one.columns.intersection(two.columns), one.index.intersection(two.index)
    if not len(queries) or not len(seeds):
        return None
    return one.loc[seeds, queries].to_numpy(), two.loc[seeds, queries].to_numpy()


@dataclass
class _Test:
    """One system at a share against the low share, in a language, on one side of the domain."""

    system: str
    language: str
    side: str
    share: float
    difference: float
    found: McNemar
    holm: float | None = None


def _tests(rows: _Rows) -> list[_Test]:
    """Every share against the low one; Holm's correction over all tests of a system."""
    tests: list[_Test] = []
    for system in rows.mains:
        own = [
            test
            for code in rows.languages
            for side in _SIDES
            for share in rows.shares
            if share != rows.options.low and (test := _test(rows, system, code, side, share)) is not None
        ]
        for test, corrected in zip(own, holm([test.found.p for test in own]), strict=True):
            test.holm = corrected
        tests += own
    return tests


def _test(rows: _Rows, system: str, language: str, side: str, share: float) -> _Test | None:
    pair = _paired(rows, system, language, side, rows.options.low, share)
    if pair is None:
        return None
    low, high = pair
    return _Test(system, language, side, share, float(high.mean() - low.mean()), mcnemar(high, low))


def _answer(rows: _Rows, gains: Sequence[_Gain], tests: Sequence[_Test]) -> str:
    parts = []
    for system in rows.mains:
        own = {gain.side: gain for gain in gains if gain.system == system}
        name = shown_system(system, rows.results.study.systems)
        if not own:
            parts.append(f"{name}: the runs do not answer the question, a share is missing")
            continue
        said = [_said(own[side], tests, rows.options.high) for side in _SIDES]
        between = own[_BETWEEN]
        apart = "differ" if _is_apart(between) else "are not distinguishable"
        parts.append(
            f"{name} (languages: {len(between.languages)}): {'; '.join(said)}; the two effects {apart} "
            f"({number(between.value, between.interval, sign=True)})"
        )
    if not parts:
        return "The runs do not answer the question: no student was measured."
    low, high = rows.options.low, rows.options.high
    return f"Mean accuracy from {low:.0%} to {high:.0%} domain bitext at the same total. {'. '.join(parts)}."


def _is_apart(gain: _Gain) -> bool:
    return gain.interval is not None and (gain.interval[0] > 0 or gain.interval[1] < 0)


def _said(gain: _Gain, tests: Sequence[_Test], share: float) -> str:
    own = [test for test in tests if (test.system, test.side, test.share) == (gain.system, gain.side, share)]
    significant = sum(test.holm is not None and test.holm < _LEVEL for test in own)
    direction = "higher" if gain.value > 0 else "lower"
    verdict = direction if _is_apart(gain) else "not distinguishable"
    return (
        f"{gain.side} {verdict}, {number(gain.low)} to {number(gain.high)} ({number(gain.value, gain.interval, sign=True)}, "
        f"McNemar below {_LEVEL} after Holm in {significant} of {len(own)} languages)"
    )


def _gain_table(document: ReportDocument, rows: _Rows, gains: Sequence[_Gain]) -> None:
    if not gains:
        return
    names = rows.results.study.systems
    shown, numbers = [], []
    for gain in gains:
        shown.append(
            {
                "system": shown_system(gain.system, names),
                "questions": gain.side,
                f"at {rows.options.low:.0%}": number(gain.low),
                f"at {rows.options.high:.0%}": number(gain.high),
                "difference": number(gain.value, gain.interval, sign=True),
            }
        )
        low, high = gain.interval or (None, None)
        numbers.append(
            {"system": gain.system, "side": gain.side, "languages": len(gain.languages), "low_share": gain.low,
             "high_share": gain.high, "difference": gain.value, "low": low, "high": high}
        )  # fmt: skip
    caption = (
        f"Accuracy with {rows.options.high:.0%} domain bitext less that with {rows.options.low:.0%}, mean over languages, with "
        "95 % intervals over seeds and questions; the languages are given."
    )
    document.table("gains", caption, pd.DataFrame(shown), pd.DataFrame(numbers))


def _system_table(document: ReportDocument, rows: _Rows) -> None:
    """Every system at every share, in and out of the domain, mean over languages."""
    shown, numbers = [], []
    for system in rows.systems:
        for share in rows.shares_of(system):
            line: dict[str, object] = {
                "system": shown_system(system, rows.results.study.systems),
                "share": MISSING if share is None else f"{share:g}",
                "languages": sum(not rows.of(system, code, share).empty for code in rows.languages),
            }
            for side in _SIDES:
                found = [one for code in rows.languages if (one := estimate(rows.of(system, code, share, side=side), ACCURACY))]
                value = float(np.mean([one.value for one in found])) if found else None
                line[side] = number(value)
                numbers.append({"system": system, "share": share, "side": side, "accuracy": value, "languages": len(found)})
            shown.append(line)
    caption = f"Accuracy of all systems, mean over the languages that have the share. Guessing gives {rows.options.chance:.3f}."
    document.table("systems", caption, pd.DataFrame(shown), pd.DataFrame(numbers))


def _test_table(document: ReportDocument, rows: _Rows, tests: Sequence[_Test]) -> None:
    if not tests:
        return
    numbers = [
        {"system": test.system, "language": test.language, "side": test.side, "share": test.share,
         "difference": test.difference, **vars(test.found), "holm": test.holm}
        for test in tests
    ]  # fmt: skip
    kept = document.kept_table("mcnemar_all_shares", pd.DataFrame(numbers))
    at_high = [test for test in tests if test.share == rows.options.high]
    if not at_high:
        return
    shown = [
        {
            "system": shown_system(test.system, rows.results.study.systems),
            "language": test.language,
            "questions": f"{test.side} ({test.found.questions:,})",
            "difference": number(test.difference, sign=True),
            "right only with / without": f"{test.found.only_first} / {test.found.only_second}",
            "McNemar p": chance(test.found.p),
            "Holm": chance(test.holm),
        }
        for test in at_high
    ]
    caption = (
        f"{rows.options.high:.0%} against {rows.options.low:.0%} domain bitext by language. McNemar's exact test on questions; "
        "a question is answered rightly if more than half of the seeds do. Holm's correction over all languages, sides and "
        f"shares of a system ([{kept}]({kept}))."
    )
    document.table("mcnemar", caption, pd.DataFrame(shown))


def _by(rows: _Rows, column: str) -> pd.DataFrame:
    found = []
    for system, code, share, value, own in _slices(rows, column):
        one: Estimate | None = estimate(own, ACCURACY)
        if one is None:
            continue
        low, high = one.interval or (None, None)
        key = {"system": system, "language": code, "share": share, column: value}
        found.append(key | {"accuracy": one.value, "low": low, "high": high, "seeds": one.seeds, "questions": one.queries})
    return pd.DataFrame(found)


def _slices(rows: _Rows, column: str) -> Iterator[tuple[str, str, float | None, str, pd.DataFrame]]:
    for system in rows.systems:
        for code in rows.languages:
            for share in rows.shares_of(system):
                own = rows.of(system, code, share)
                for value in sorted(own[column].unique()):
                    yield system, code, share, value, selected(own, **{column: value})


def _figures(document: ReportDocument, rows: _Rows) -> None:
    """A figure for each answerer: a panel for each language, a line for each subject group."""
    for system in rows.mains:
        table = _by_side_and_group(rows, system)
        if table.empty:
            continue
        ceiling = ("causal_" if system.startswith(_CAUSAL) else "") + "ceiling"
        lines = list(dict.fromkeys(table["line"]))

        def draw(axes: Sequence[Axes], table: pd.DataFrame = table, ceiling: str = ceiling, lines: list[str] = lines) -> None:
            for axis, code in zip(axes, rows.languages, strict=True):
                own = selected(table, language=code)
                for place, line in enumerate(lines):
                    part = selected(own, line=line)
                    below = (part["accuracy"] - part["low"]).fillna(0).clip(lower=0)
                    above = (part["high"] - part["accuracy"]).fillna(0).clip(lower=0)
                    axis.errorbar(part["share"], part["accuracy"], [below, above], label=line, capsize=2, **look(place))
                axis.axhline(rows.options.chance, color="0.6", linestyle=":", linewidth=1, label="guessing")
                for place, side in enumerate(_SIDES):
                    top = estimate(rows.of(ceiling, code, side=side), ACCURACY)
                    if top is not None:
                        axis.axhline(top.value, color=look(place)["color"], linestyle="--", linewidth=0.8, alpha=0.6,
                                     label=f"English questions, {side}")  # fmt: skip
                axis.set_title(code, fontsize=9)
                axis.set_xlabel("share of domain bitext")
                axis.set_ylabel("accuracy")
            legend_below(axes)

        name = shown_system(system, rows.results.study.systems)
        caption = f"{name}: accuracy against the share of domain bitext, 95 % intervals over seeds and questions."
        document.figure(f"accuracy_{system}", caption, table, draw, panels=len(rows.languages))


def _by_side_and_group(rows: _Rows, system: str) -> pd.DataFrame:
    """The figure's points: the domain as one line, every group outside of it as one."""
    found = []
    for code in rows.languages:
        for share in rows.shares:
            own = rows.of(system, code, share)
            line = own["group"].where(own["side"] == OUT_OF_DOMAIN, IN_DOMAIN)
            for value in sorted(line.unique(), key=lambda one: (one != IN_DOMAIN, one)):
                one = estimate(own[line == value], ACCURACY)
                if one is not None:
                    low, high = one.interval or (np.nan, np.nan)
                    found.append(
                        {"language": code, "share": share, "line": value, "accuracy": one.value, "low": low, "high": high,
                         "questions": one.queries}
                    )  # fmt: skip
    return pd.DataFrame(found)
