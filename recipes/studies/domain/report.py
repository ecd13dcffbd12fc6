"""Accuracy on multiple-choice questions against the share of domain bitext: within the domain, outside of it, by language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from modeling_optical.evaluation.questions import ACCURACY, MEDICAL_SUBJECTS, SUBJECT_GROUPS, subject_of

from ..reporting.comparisons import LEVEL, is_significant, with_holm
from ..reporting.document import ReportDocument
from ..reporting.estimates import Estimate, Row, chance, estimate, table_of
from ..reporting.figures import draw_lines, look
from ..reporting.panel import Panel, selected
from ..reporting.results_table import StudyResults
from ..reporting.table import Format, numbers_of, pivoted, shown_table, signed
from ..statistics.mcnemar import mcnemar
from ..statistics.seeds_and_queries import RESAMPLES, percentile_interval, resampled_means

IN_DOMAIN, OUT_OF_DOMAIN = "in domain", "out of domain"
_SIDES = (IN_DOMAIN, OUT_OF_DOMAIN)
_BETWEEN = "in less out of domain"
_CAUSAL = "causal_"
_NO_SHARE = -1.0


@dataclass
class DomainOptions:
    """Options of the report.

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


class _Questions(Panel):
    """The questions' rows with side and group, found by system, language and share (none for a reference)."""

    def __init__(self, results: StudyResults, options: DomainOptions):
        self.options = options
        queries = results.queries.reset_index(drop=True)
        subjects = {query: subject_of(query) for query in queries["query"].unique()}
        inside = set(options.in_domain)
        rows = queries.assign(
            subject=queries["query"].map(subjects),
            side=queries["query"].map({q: IN_DOMAIN if s in inside else OUT_OF_DOMAIN for q, s in subjects.items()}),
            group=queries["query"].map({q: SUBJECT_GROUPS.get(s, s) for q, s in subjects.items()}),
            share=pd.to_numeric(queries["share"], errors="coerce").fillna(_NO_SHARE),
        )
        if queries["collection"].nunique() > 1:  # which may have the same ids
            rows["query"] = queries["collection"] + "/" + queries["query"]
        super().__init__(results, rows, keys=("system", "language", "share"))
        self.metric = ACCURACY
        self.shares = sorted(share for share in rows["share"].unique() if share != _NO_SHARE)
        absent = [side for side in _SIDES if side not in set(rows["side"].unique())]
        if absent:
            known = ", ".join(sorted(set(subjects.values())))
            raise ValueError(f"report_options.in_domain: no question is {absent[0]}. Subjects here: {known}.")

    @property
    def mains(self) -> list[str]:
        """The main system of each answerer that was run."""
        return [name for name in (self.options.main, _CAUSAL + self.options.main) if name in self.systems]

    def shown_shares(self, system: str) -> list[float]:
        """The shares that a system is shown at; a reference has none."""
        return self.shares if set(selected(self.rows, system=system)["share"]) - {_NO_SHARE} else [_NO_SHARE]

    def on(self, side: str, system: str, language: str, share: float) -> Estimate:
        """Accuracy on one side of the domain."""
        return estimate(selected(self.of(system, language, share), side=side), self.metric)

    def paired(self, side: str, system: str, language: str, high: float) -> tuple[np.ndarray, np.ndarray] | None:
        """(seeds, questions) at the low share and at another, of the seeds and questions that both have."""
        rows = (selected(self.of(system, language, share), side=side) for share in (self.options.low, high))
        one, two = (table_of(own, self.metric) for own in rows)
        if one is None or two is None:
            return None
        queries, seeds = one.columns.intersection(two.columns), one.index.intersection(two.index)
        found = tuple(table.loc[seeds, queries].to_numpy() for table in (one, two))
        return (found[0], found[1]) if found[0].size else None


def report_domain(results: StudyResults, options: DomainOptions, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    questions = _Questions(results, options)
    gains = [gain for system in questions.mains for gain in _gains(questions, system)]
    tests = [test for system in questions.mains for test in _tests(questions, system)]
    answer = _answer(document, questions, gains, tests)
    _describe(document, questions)
    _figures(document, questions)
    name: Format = lambda row: questions.shown(row["system"])  # noqa: E731
    caption = (
        f"Accuracy with {options.high:.0%} domain bitext less that with {options.low:.0%}, mean over languages, with "
        "95 % intervals over seeds and questions; the languages are given."
    )
    shown = {"system": name, "questions": "side", f"at {options.low:.0%}": "low_share", f"at {options.high:.0%}": "high_share"}
    document.table("gains", caption, gains, shown | {"difference": signed("difference")}, ends=("low", "high"))
    _show_systems(document, questions, name)
    _show_tests(document, questions, name, tests)
    by_language = document.kept_table("by_language", _by(questions, "side"), ends=("low", "high"))
    by_group = document.kept_table("by_subject_group", _by(questions, "group"), ends=("low", "high"))
    document.text(f"Accuracy of every system by language and side of the domain: {by_language}; by subject group: {by_group}.")
    return answer


def _describe(document: ReportDocument, questions: _Questions) -> None:
    asked = questions.rows.drop_duplicates(["collection", "language", "query"]).groupby(["side", "subject"]).size()
    parts = []
    for side in _SIDES:
        own = asked[side]
        listed = ", ".join(str(subject) for subject in own.index) if len(own) <= 12 else f"{len(own)} subjects"
        parts.append(f"{side}: {int(own.sum()):,} questions in {len(questions.languages)} languages ({listed})")
    totals = sorted(set(questions.results.provenance["training pairs"].values()))
    pairs = f" Every mixture has {', '.join(f'{total:,}' for total in totals)} pairs." if totals else ""
    document.text(f"{'; '.join(parts)}. Guessing gives {questions.options.chance:.3f}.{pairs}")


def _gains(questions: _Questions, system: str) -> list[Row]:
    """The gain of the high share over the low one, mean over languages: in the domain, out of it, and their difference."""
    rows: list[Row] = []
    samples: list[np.ndarray] = []
    for place, side in enumerate(_SIDES):
        found = {code: questions.paired(side, system, code, questions.options.high) for code in questions.languages}
        pairs = {code: pair for code, pair in found.items() if pair is not None}
        if not pairs:
            return []
        # A language's seeds are one draw for both sides; questions are the same ones in every language.
        drawn = [
            resampled_means(two - one, resamples=RESAMPLES, seeds=[0, 2 + list(found).index(code)], queries=[0, 100 + place])
            for code, (one, two) in pairs.items()
        ]
        samples.append(np.mean(drawn, axis=0))
        low, high = (float(np.mean([pair[i].mean() for pair in pairs.values()])) for i in (0, 1))
        single = any(one.shape[1] == 1 for one, _ in pairs.values())
        gain = Estimate(high - low, None if single else percentile_interval(samples[-1]))
        row = {"system": system, "side": side, "languages": len(pairs), "low_share": low, "high_share": high}
        rows.append(row | {"difference": gain})
    inside, outside = (row["difference"] for row in rows)
    interval = percentile_interval(samples[0] - samples[1]) if inside.interval and outside.interval else None
    gain = Estimate(inside.value - outside.value, interval)
    return [*rows, rows[0] | {"side": _BETWEEN, "low_share": None, "high_share": None, "difference": gain}]


def _tests(questions: _Questions, system: str) -> list[Row]:
    """Every share against the low one in every language; Holm's correction over all tests of the system."""
    rows: list[Row] = []
    for code in questions.languages:
        for side in _SIDES:
            for share in questions.shares:
                pair = questions.paired(side, system, code, share) if share != questions.options.low else None
                if pair is not None:
                    low, high = pair
                    key = {"system": system, "language": code, "side": side, "share": share}
                    rows.append(key | {"difference": float(high.mean() - low.mean())} | asdict(mcnemar(high, low)))
    return with_holm(rows, "p", "holm")


def _show_systems(document: ReportDocument, questions: _Questions, name: Format) -> None:
    """Every system at every share, in and out of the domain, mean over languages."""
    rows: list[Row] = []
    for system, share in ((name, share) for name in questions.systems for share in questions.shown_shares(name)):
        measured = sum(not questions.of(system, code, share).empty for code in questions.languages)
        for side in _SIDES:
            found = [one.value for code in questions.languages if (one := questions.on(side, system, code, share))]
            rows.append(
                {"system": system, "share": None if share == _NO_SHARE else share, "side": side}
                | {"accuracy": float(np.mean(found)) if found else None, "languages": len(found), "measured": measured}
            )
    keys = {"system": name, "share": lambda row: row["share"] if row["share"] is None else f"{row['share']:g}"}
    caption = (
        f"Accuracy of all systems, mean over the languages that have the share. Guessing gives {questions.options.chance:.3f}."
    )
    shown = pivoted(rows, keys | {"languages": "measured"}, "side", "accuracy")
    document.table("systems", caption, rows, shown, ["system", "share", "side", "accuracy", "languages"])


def _show_tests(document: ReportDocument, questions: _Questions, name: Format, tests: Sequence[Row]) -> None:
    if not tests:
        return
    options = questions.options
    kept = document.kept_table("mcnemar_all_shares", tests)
    shown = {
        "system": name, "language": "language", "questions": lambda row: f"{row['side']} ({row['questions']:,})",
        "difference": signed("difference"),
        "right only with / without": lambda row: f"{row['only_first']} / {row['only_second']}",
        "McNemar p": lambda row: chance(row["p"]), "Holm": lambda row: chance(row["holm"]),
    }  # fmt: skip
    caption = (
        f"{options.high:.0%} against {options.low:.0%} domain bitext by language. McNemar's exact test on questions; "
        "a question is answered rightly if more than half of the seeds do. Holm's correction over all languages, sides and "
        f"shares of a system ({kept})."
    )
    rows = shown_table([row for row in tests if row["share"] == options.high], shown)
    document.table("mcnemar", caption, [], rows, rows)


def _by(questions: _Questions, column: str) -> list[Row]:
    """Accuracy of every system at every share, by language and another column."""
    return [
        {"system": system, "language": code, "share": None if share == _NO_SHARE else share, column: value}
        | {"accuracy": found, "seeds": found.seeds, "questions": found.queries}
        for system in questions.systems
        for code in questions.languages
        for share in questions.shown_shares(system)
        for own in [questions.of(system, code, share)]
        for value in sorted(own[column].unique())
        if (found := estimate(selected(own, **{column: value}), ACCURACY))
    ]


def _figures(document: ReportDocument, questions: _Questions) -> None:
    """A figure for each answerer: a panel for each language, a line for the domain and for each subject group outside of it."""
    for system in questions.mains:
        rows = []
        for code in questions.languages:
            for share in questions.shares:
                own = questions.of(system, code, share)
                line = own["group"].where(own["side"] == OUT_OF_DOMAIN, IN_DOMAIN)
                for value in sorted(line.unique(), key=lambda one: (one != IN_DOMAIN, one)):
                    found = estimate(own[line == value], ACCURACY)
                    if found:
                        key = {"language": code, "share": share, "line": value}
                        rows.append(key | {"accuracy": found, "questions": found.queries})
        if not rows:
            continue
        data = numbers_of(rows, ends=("low", "high"))
        names = {line: line for line in data["line"].unique()}
        ceiling = (_CAUSAL if system.startswith(_CAUSAL) else "") + "ceiling"

        def draw(
            axis: Axes, code: str, data: pd.DataFrame = data, ceiling: str = ceiling, names: dict[str, str] = names
        ) -> None:
            own = selected(data, language=code)
            draw_lines(axis, own, "share", names, column="line", value="accuracy", low="low", high="high")
            axis.axhline(questions.options.chance, color="0.6", linestyle=":", linewidth=1, label="guessing")
            for place, side in enumerate(_SIDES):
                top = questions.on(side, ceiling, code, _NO_SHARE)
                style = {"color": look(place)["color"], "linestyle": "--", "linewidth": 0.8, "alpha": 0.6}
                if top:
                    axis.axhline(top.value, label=f"English questions, {side}", **style)

        what = "accuracy against the share of domain bitext, 95 % intervals over seeds and questions"
        languages, x = {code: code for code in questions.languages}, "share of domain bitext"
        document.figure(f"accuracy_{system}", f"{questions.shown(system)}: {what}.", data, languages, draw, x=x, y="accuracy")


def _answer(document: ReportDocument, questions: _Questions, gains: Sequence[Row], tests: Sequence[Row]) -> str:
    options, parts = questions.options, []
    first: dict[str, str] = {}
    for system in questions.mains:
        own = {row["side"]: row for row in gains if row["system"] == system}
        name = questions.shown(system)
        if not own:
            parts.append(f"{name}: the runs do not answer the question, a share is missing")
            continue
        said = [_said(own[side], tests, options.high) for side in _SIDES]
        first[name] = _first(own)
        between, languages = own[_BETWEEN]["difference"], own[_BETWEEN]["languages"]
        apart = "differ" if between.clear else "are not distinguishable"
        parts.append(f"{name} (languages: {languages}): {'; '.join(said)}; the two effects {apart} ({between.signed})")
    if not first:
        return document.answer("The runs do not answer the question: no student was measured at both shares.", parts)
    lead = f"Mean accuracy from {options.low:.0%} to {options.high:.0%} domain bitext at the same total. "
    told = [f"{name}: {sentence}" for name, sentence in first.items()] if len(first) > 1 else list(first.values())
    return document.answer(" ".join(told), parts, lead=lead, between=". ")


def _first(gains: Mapping[str, Row]) -> str:
    def effect(side: str) -> str:
        gain = gains[side]["difference"]
        if not gain.clear:
            return f"changes accuracy by no measurable amount ({gain.signed})"
        return f"{'raises' if gain.value > 0 else 'lowers'} accuracy ({gain.signed})"

    return (
        f"Bitext of the domain {effect(IN_DOMAIN)} on questions of the domain and {effect(OUT_OF_DOMAIN)} on other questions."
    )


def _said(row: Row, tests: Sequence[Row], share: float) -> str:
    gain = row["difference"]
    own = [one for one in tests if (one["system"], one["side"], one["share"]) == (row["system"], row["side"], share)]
    significant = sum(is_significant(one["holm"]) for one in own)
    verdict = ("higher" if gain.value > 0 else "lower") if gain.clear else "not distinguishable"
    return (
        f"{row['side']} {verdict}, {row['low_share']:.3f} to {row['high_share']:.3f} "
        f"({gain.signed}, McNemar below {LEVEL} after Holm in {significant} of {len(own)} languages)"
    )
