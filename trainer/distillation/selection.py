"""The weights that a training ends with: those that retrieve best on held-out bitext, the start included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.evaluation import per_query
from modeling_optical.late_interaction import search

from ..bitext.shortening import ShorteningOptions, shorten
from ..start_interpolation import interpolate
from ..teachers.teacher import TeacherOfTexts

_CLAUSE = ShorteningOptions(min_words=3, max_words=8)

FILE = "selection.json"
"""Beside a student: what it was chosen from."""


@dataclass
class SelectionOptions:
    """Which weights are compared.

    Args:
        shares: of the start, in means with trained weights (WiSE-FT; Wortsman et al., arXiv 2109.01903): 0 is the trained
            weights themselves, 1 the start, which is always among them. A single share such as 0.5 keeps what held-out bitext
            cannot show, such as the start's answers to questions.
        checkpoints: number of newest checkpoints to compare beside the last weights.
    """

    shares: list[float] = field(default_factory=lambda: [0.0, 0.25, 0.5, 0.75])
    checkpoints: int = 1

    def __post_init__(self) -> None:
        wrong = [share for share in self.shares if isinstance(share, bool) or not 0 <= share <= 1]
        if wrong or not self.shares:
            raise ValueError(f"selection.shares is {self.shares!r}; it is a list of shares from 0 to 1, such as [0, 0.5].")
        if set(self.shares) == {1}:
            raise ValueError("selection.shares is [1]: that is the start alone. Leave selection out, or name lower shares.")
        if isinstance(self.checkpoints, bool) or self.checkpoints < 0:
            raise ValueError(f"selection.checkpoints is {self.checkpoints!r}; it must be 0 or more.")


@dataclass(frozen=True)
class Candidate:
    """Weights and how well they retrieve.

    Attributes:
        weights: `start`, `last`, or a checkpoint's name.
        share: of the start in the mean.
        score: mean over languages and sources, see `HeldOutRetrieval`.
    """

    weights: str
    share: float
    score: float

    def __str__(self) -> str:
        """In words."""
        trained = "the last weights" if self.weights == "last" else self.weights
        if self.weights == "start":
            return "the start"
        return trained if self.share == 0 else f"{self.share:.0%} of the start and {1 - self.share:.0%} of {trained}"


@dataclass(frozen=True)
class Selection:
    """The chosen weights and all candidates.

    Attributes:
        chosen: the best; of equals, the one nearest to the start.
        candidates: all, the start first.
        pairs: held-out pairs that they were compared on.
    """

    chosen: Candidate
    candidates: list[Candidate]
    pairs: int

    def __str__(self) -> str:
        """A sentence for the report."""
        start = self.candidates[0]
        if self.chosen.weights == "start":
            return (
                f"Nothing that training gave beats the start on {self.pairs:,} held-out pairs (start {start.score:.3f}, "
                f"trained {max(c.score for c in self.candidates[1:]):.3f}): the student is the start, unchanged."
            )
        last = next((c for c in self.candidates if (c.weights, c.share) == ("last", 0.0)), None)
        beside = f"start {start.score:.3f}" + (f", last weights {last.score:.3f}" if last else "")
        return f"Chosen on {self.pairs:,} held-out pairs: {self.chosen} ({self.chosen.score:.3f}; {beside})."

    def to_dict(self) -> dict[str, Any]:
        """As it is stored."""
        return asdict(self) | {"sentence": str(self)}


class HeldOutRetrieval:
    """How well a student finds the sources that its targets translate, and their neighbours in the document.

    A target searches the sources of its language. Its score is a mean: RR@10 of its source; where it has a clause of 3 to 8
    words that can be told apart, RR@10 of its source with this clause as the query; where documents are known, AP@100 of the
    other sentences of its document. A good start finds nearly every translation; clauses and neighbours still tell weights
    apart. Scores are averaged within a source of the bitext, then over the sources of a language, then over languages, so
    neither a large source nor a large language decides alone.

    Args:
        teacher: encodes the sources, or holds their vectors.
        bitext: held-out pairs, with the columns of `trainer.bitext.load_bitext`.
        max_length: the student's tokens per text.
    """

    def __init__(self, teacher: TeacherOfTexts, bitext: Dataset, max_length: int | None = None):
        self.bitext = bitext
        self.max_length = max_length
        self._groups: dict[tuple[str, str], list[int]] = {}
        self._vectors: dict[tuple[str, str], torch.Tensor] = {}
        self._clauses: dict[int, str] = {}
        for row, pair in enumerate(bitext):
            if (short := shorten(pair["source"], pair["target"], _CLAUSE)) is not None:
                self._clauses[row] = short[1]
            kind = "document" if pair["kind"] == "document" else "query"
            self._groups.setdefault((pair["language"], kind), []).append(row)
            if (pair["source"], kind) not in self._vectors:
                [entry] = teacher.vectors_of([pair["source"]], [kind])
                self._vectors[pair["source"], kind] = entry.vectors[: entry.unexpanded].float()

    def __call__(self, student: OpticalModel) -> float:
        """The mean score, in [0, 1]."""
        scores = [self._group(student, kind, rows) for (_, kind), rows in self._groups.items()]
        return sum(scores) / len(scores)

    def _group(self, student: OpticalModel, kind: str, rows: list[int]) -> float:
        pairs = self.bitext.select(rows)
        sources = list(dict.fromkeys(pairs["source"]))
        place = {source: str(position) for position, source in enumerate(sources)}
        beside_by_document: dict[tuple[str, str], dict[str, int]] = {}
        for pair in pairs:
            if pair["document"]:
                beside_by_document.setdefault((pair["origin"], pair["document"]), {})[place[pair["source"]]] = 1
        vectors = student.encode(pairs["target"], kind, max_length=self.max_length, show_progress_bar=False)
        documents = [self._vectors[source, kind] for source in sources]
        positions, scores = search(vectors, documents, k=100)
        clauses = {number: self._clauses[row] for number, row in enumerate(rows) if row in self._clauses}
        own: dict[str, dict[str, int]] = {}
        others: dict[str, dict[str, int]] = {}
        found: dict[str, dict[str, float]] = {}
        found_besides: dict[str, dict[str, float]] = {}
        for row, (pair, ranking, values) in enumerate(zip(pairs, positions.tolist(), scores.tolist(), strict=True)):
            query, source = str(row), place[pair["source"]]
            own[query] = {source: 1}
            found[query] = dict(zip(map(str, ranking), values, strict=True))
            beside = {name: 1 for name in beside_by_document.get((pair["origin"], pair["document"]), {}) if name != source}
            if beside:
                others[query] = beside
                found_besides[query] = {name: value for name, value in found[query].items() if name != source}
        values_of = [per_query(own, found, ["RR@10"])["RR@10"]]
        if clauses:
            vectors = student.encode(list(clauses.values()), "query", max_length=self.max_length, show_progress_bar=False)
            positions, scores = search(vectors, documents, k=10)
            rankings = zip(clauses, positions.tolist(), scores.tolist(), strict=True)
            by_clause = {str(row): dict(zip(map(str, ranking), values, strict=True)) for row, ranking, values in rankings}
            values_of.append(per_query({query: own[query] for query in by_clause}, by_clause, ["RR@10"])["RR@10"])
        if others:
            values_of.append(per_query(others, found_besides, ["AP@100"])["AP@100"])
        by_origin: dict[str, list[float]] = {}
        for row, pair in enumerate(pairs):
            values = [part[str(row)] for part in values_of if str(row) in part]
            by_origin.setdefault(pair["origin"], []).append(sum(values) / len(values))
        return sum(sum(part) / len(part) for part in by_origin.values()) / len(by_origin)


@torch.no_grad()
def select_weights(
    student: OpticalModel,
    start: Mapping[str, torch.Tensor],
    checkpoints: Iterable[Path],
    score: HeldOutRetrieval,
    options: SelectionOptions,
) -> Selection:
    """Gives a student the weights that retrieve best: the start's, a training's, or a mean of both.

    Args:
        student: with the last weights; it has the chosen ones afterwards.
        start: name of a weight to its value before training.
        checkpoints: folders of checkpoints, the oldest first.
        score: how well weights retrieve.
        options: which are compared.
    """
    last = {name: value.detach().clone() for name, value in student.state_dict().items()}
    trained: dict[str, Mapping[str, torch.Tensor]] = {}
    for folder in list(checkpoints)[-options.checkpoints :] if options.checkpoints else ():
        weights = load_checkpoint(folder).state_dict()  # an adapter is merged into its base
        if any(not torch.equal(weights[name], value.to(weights[name])) for name, value in last.items()):
            trained[folder.name] = weights
    trained["last"] = last

    student.load_state_dict(start)
    candidates = [Candidate("start", 1.0, score(student))]
    for name, weights in trained.items():
        for share in sorted(set(options.shares) - {1.0}):
            student.load_state_dict(weights)
            interpolate(student, start, share)
            candidates.append(Candidate(name, share, score(student)))
    chosen = max(candidates, key=lambda candidate: (candidate.score, candidate.share))
    student.load_state_dict(start if chosen.weights == "start" else trained[chosen.weights])
    if chosen.weights != "start":
        interpolate(student, start, chosen.share)
    return Selection(chosen, candidates, len(score.bitext))
