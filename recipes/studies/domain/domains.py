"""Effects of bitext of several domains, at one total: retrieval inside the domain and outside of it, multiple choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from modeling_optical.evaluation.questions import ACCURACY

from ..reporting.comparisons import compared, difference, is_significant, with_holm
from ..reporting.document import ReportDocument
from ..reporting.estimates import NOTHING, Estimate, Row, chance
from ..reporting.panel import Panel, selected
from ..reporting.results_table import StudyResults
from ..reporting.table import Format, pivoted
from ..statistics.mcnemar import mcnemar
from ..statistics.seeds_and_queries import RESAMPLES, percentile_interval, resampled_means

START = "floor"
"""The student before it has seen any bitext."""
_UNANSWERED = "The runs do not answer the question: no student was measured inside and outside of a domain."


@dataclass
class DomainsOptions:
    """Options of the report.

    Args:
        main: the system that the question is about.
        chance: set of questions to the accuracy of guessing.
    """

    main: str = "optical"
    chance: dict[str, float] = field(default_factory=dict)


class _Domains(Panel):
    """One language: rows by system, domain of the bitext, and collection, which has the name of its domain."""

    def __init__(self, results: StudyResults, language: str, options: DomainsOptions):
        rows = selected(results.queries, language=language)
        super().__init__(results, rows, language, ("system", "domain", "collection"))
        self.options = options
        trained = rows[rows["stage"] == "distil"]
        self.domains = list(dict.fromkeys(trained["domain"]))
        asked = rows["query"].notna() & rows[ACCURACY].notna() if ACCURACY in rows else rows["query"].isna()
        self.question_sets = list(dict.fromkeys(rows[asked]["collection"]))
        self.collections = [one for one in dict.fromkeys(rows["collection"]) if one not in self.question_sets]

    def gain(self, system: str, domain: str, collection: str) -> np.ndarray | None:
        """(seeds, queries) of a system less the start."""
        own, start = self.table(system, domain, collection), self.table(START, "all", collection)
        if own is None or start is None:
            return None
        queries = own.columns.intersection(start.columns)
        return own[queries].to_numpy() - start[queries].to_numpy()


def report_domains(results: StudyResults, options: DomainsOptions, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    trained = set(selected(results.queries, stage="distil")["student"])
    panels = [_Domains(results, code, options) for code in results.study.languages if code in trained]
    if not panels:
        return document.answer(_UNANSWERED)
    gains = [
        row for panel in panels for system in panel.study.systems if system in panel.systems for row in _gains(panel, system)
    ]
    questions = _questions(panels)
    answer = _answer(document, panels, options, gains, questions)
    _show_gains(document, panels, gains)
    _show_matrix(document, panels, options)
    _show_questions(document, panels, questions)
    cases = [
        ({"language": panel.label, "domain": domain, "tested on": collection, "system": system},
         panel.of(system, domain, collection), panel.of(START, "all", collection))
        for panel in panels
        for system in panel.study.systems
        for domain in panel.domains
        for collection in panel.collections
    ]  # fmt: skip
    tests = with_holm(compared(cases, panels[0].metric), "t_test")
    kept = document.kept_table("tests", tests)
    document.text(f"Every system, domain and collection against the start, paired tests with Holm's correction: {kept}.")
    return answer


def _gains(panel: _Domains, system: str) -> list[Row]:
    """The gain of training over the start, inside the domain, outside of it, and the one less the other: means over domains."""
    samples: dict[str, list[np.ndarray]] = {"inside": [], "outside": []}
    means: dict[str, list[float]] = {"inside": [], "outside": []}
    for one, domain in enumerate(panel.domains):
        for two, collection in enumerate(panel.collections):
            found = panel.gain(system, domain, collection)
            if found is None or not found.size:
                continue
            side = "inside" if collection == domain else "outside"
            # A training's seeds are one draw for all collections; a collection's queries are the same ones for all trainings.
            samples[side].append(resampled_means(found, resamples=RESAMPLES, seeds=[0, 2 + one], queries=[0, 100 + two]))
            means[side].append(float(found.mean()))
    if not means["inside"] or not means["outside"]:
        return []
    drawn = {side: np.mean(own, axis=0) for side, own in samples.items()}
    drawn["inside less outside"] = drawn["inside"] - drawn["outside"]
    values = {side: float(np.mean(own)) for side, own in means.items()}
    values["inside less outside"] = values["inside"] - values["outside"]
    return [
        {"language": panel.label, "system": system, "side": side, "gain": Estimate(values[side], percentile_interval(own))}
        for side, own in drawn.items()
    ]


def _questions(panels: Sequence[_Domains]) -> list[Row]:
    """Accuracy of the main system after each domain against the start; McNemar's test with Holm's correction over all."""
    rows: list[Row] = []
    for panel in panels:
        for name in panel.question_sets:
            for domain in panel.domains:
                own, start = panel.of(panel.options.main, domain, name), panel.of(START, "all", name)
                found = difference(own, start, ACCURACY)
                if found.test is None:
                    continue
                pair = [rows_.pivot(index="seed", columns="query", values=ACCURACY) for rows_ in (own, start)]
                queries = pair[0].columns.intersection(pair[1].columns)
                key = {"language": panel.label, "questions": name, "domain": domain, "difference": found}
                accuracies = {"start": float(start[ACCURACY].mean()), "accuracy": float(own[ACCURACY].mean())}
                counts = asdict(mcnemar(pair[0][queries].to_numpy(), pair[1][queries].to_numpy()))
                rows.append(key | accuracies | {"number": counts.pop("questions")} | counts)
    return with_holm(rows, "p", "holm")


def _show_gains(document: ReportDocument, panels: Sequence[_Domains], gains: Sequence[Row]) -> None:
    caption = (
        f"{panels[0].metric} after training less before, with as many pairs of each domain: retrieval in the domain of the "
        "bitext (inside) and in the others (outside), means over domains with 95 % intervals over seeds and queries."
    )

    def name(row: Row) -> str:
        return panels[0].shown(row["system"])

    shown = pivoted(gains, {"language": "language", "system": name}, "side", lambda row: row["gain"].signed)
    document.table("gains", caption, gains, shown, ["language", "system", "side", "gain"])


def _show_matrix(document: ReportDocument, panels: Sequence[_Domains], options: DomainsOptions) -> None:
    rows: list[Row] = []
    for panel in panels:
        for collection in panel.collections:
            start = panel.estimate(START, "all", collection)
            rows.append({"language": panel.label, "domain": "(start)", "tested": collection, "value": start})
            rows += [
                {"language": panel.label, "domain": domain, "tested": collection}
                | {"value": panel.estimate(options.main, domain, collection)}
                for domain in panel.domains
            ]
    found = [row for row in rows if row["value"]]
    keys: dict[str, Format] = {"language": "language", "bitext of": "domain"}
    shown = pivoted(found, keys, "tested", "value")
    caption = (
        f"{panels[0].metric if panels else ''} of {panels[0].shown(options.main) if panels else ''}, by the domain tested."
    )
    document.table("matrix", caption, found, shown, ["language", "domain", "tested", "value"])


def _show_questions(document: ReportDocument, panels: Sequence[_Domains], questions: Sequence[Row]) -> None:
    if not questions:
        return
    named = panels[0].options.chance
    guessing = ", ".join(f"{name} {share:g}" for name, share in named.items()) or "one in as many as there are choices"
    ceilings = [
        f"{name} in {panel.label} {found}"
        for panel in panels
        for name in panel.question_sets
        if (found := _accuracy(panel, "ceiling", "all", name))
    ]
    caption = (
        f"Accuracy on multiple choice. Guessing gives {guessing}. The encoder with the same questions in English: "
        f"{'; '.join(ceilings) or 'not measured'}. McNemar's exact test against the start, a question being answered "
        "rightly if more than half of the seeds do; Holm's correction over all."
    )
    document.table("questions", caption, questions, {
        "language": "language", "questions": lambda row: f"{row['questions']} ({row['number']})", "bitext of": "domain",
        "before": "start", "after": "accuracy", "difference": lambda row: row["difference"].signed,
        "right only after / before": lambda row: f"{row['only_first']} / {row['only_second']}",
        "McNemar p (Holm)": lambda row: chance(row["holm"]),
    }, ["language", "questions", "domain", "number", "start", "accuracy", "difference", "p", "holm"])  # fmt: skip


def _accuracy(panel: _Domains, system: str, domain: str, name: str) -> Estimate:
    rows = panel.of(system, domain, name)
    return NOTHING if rows.empty else Estimate(float(rows[ACCURACY].mean()))


def _answer(
    document: ReportDocument,
    panels: Sequence[_Domains],
    options: DomainsOptions,
    gains: Sequence[Row],
    questions: Sequence[Row],
) -> str:
    first, details = [], []
    for panel in panels:
        own = {row["side"]: row["gain"] for row in gains if (row["language"], row["system"]) == (panel.label, options.main)}
        if own:
            apart = own["inside less outside"]
            helps = "changes nothing that can be told for"
            if own["inside"].clear:
                helps = "helps" if own["inside"].value > 0 else "harms"
            where = "about as much there as in the others"
            if apart.clear:
                where = f"{'more' if (apart.value > 0) == (own['inside'].value > 0) else 'less'} there than in the others"
            first.append(
                f"in {panel.label}, bitext of one domain {helps} retrieval in that domain ({own['inside'].signed}), {where}"
            )
            details.append(
                f"in {panel.label}, {panel.metric} changes by {own['inside'].signed} in the domain of the bitext and by "
                f"{own['outside'].signed} in the others, a difference of {apart.signed}"
            )
        asked = [row for row in questions if row["language"] == panel.label]
        if asked:
            clear = sum(is_significant(row["holm"]) for row in asked)
            low, high = min(row["difference"].value for row in asked), max(row["difference"].value for row in asked)
            raised = sum(is_significant(row["holm"]) and row["difference"].value > 0 for row in asked)
            first.append(
                f"on multiple choice there, accuracy rises significantly with {raised} of {len(asked)} domains and falls "
                f"with {clear - raised}"
            )
            details.append(
                f"on multiple choice in {panel.label}, accuracy changes by {low:+.3f} to {high:+.3f}, significantly for "
                f"{clear} of {len(asked)} domains"
            )
    return document.answer(f"{'; '.join(first)}." if first else _UNANSWERED, details)
