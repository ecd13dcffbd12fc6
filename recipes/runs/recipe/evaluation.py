"""The evaluation of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modeling_optical.evaluation import Collection, load_collection
from modeling_optical.evaluation.questions import QuestionSet, load_questions
from modeling_optical.files.bounded_yaml import parse_yaml

from ...checked_yaml import build
from .run import CheckpointRecipe, beside

REFERENCES = {
    "bm25": "BM25, the queries as they are",
    "structured_queries": "BM25 with a table of translations learnt from the training pairs",
    "fused": "structured_queries and the student, fused by reciprocal rank",
}
"""The systems that need no other model, with a description."""
SCORINGS = ("pooled", "maxsim")
"""How a rival compares texts."""
RESERVED = ("floor", "start", "prealigned", "optical", "ceiling", "translation", *REFERENCES)
"""Systems that every report may have."""


@dataclass
class CollectionSource:
    """A test collection, see `modeling_optical.evaluation.load_collection`.

    Args:
        path: folder or Hub id.
        format: name of the layout, if it cannot be detected.
        split: which queries and judgements (none: the layout's own choice).
        revision: of the Hub data set.
        corpus_revision: of the Hub data set with the documents, where that is another one.
        languages: those of the tested languages that are tested on it; null: all that it has.
        max_queries: at most this many queries, drawn by their ids, the same in every language.
        max_documents: at most this many documents: those that are relevant to a query that is left, others drawn by their ids.
    """

    path: str
    format: str | None = None
    split: str | None = None
    revision: str | None = None
    corpus_revision: str | None = None
    languages: list[str] | None = None
    max_queries: int | None = None
    max_documents: int | None = None

    def __post_init__(self) -> None:
        for key in ("max_queries", "max_documents"):
            count = getattr(self, key)
            if count is not None and count < 1:
                raise ValueError(f"{key} is {count!r}; it must be at least 1, or null for all.")

    def of(self, languages: Sequence[str]) -> list[str]:
        """Those of some languages that are tested on it."""
        return _chosen(languages, self.languages)

    def load(self, language: str) -> Collection:
        """Reads the collection's queries in a language, and its documents."""
        collection = load_collection(
            self.path,
            language,
            format=self.format,
            split=self.split,
            revision=self.revision,
            corpus_revision=self.corpus_revision,
        )
        return collection.reduced(self.max_queries, self.max_documents)


def check_distinct(collections: Sequence[Collection]) -> None:
    """Rejects collections whose results and run files would share a name, also on a file system that ignores case.

    Raises:
        ValueError: naming both.
    """
    taken: dict[str, str] = {}
    for name in (f"{collection.name}.{collection.language}" for collection in collections):
        if (other := taken.get(name.casefold())) is not None:
            raise ValueError(
                f"evaluation.collections: two of them are called {other!r} and {name!r}, and their results would be one. "
                "Rename a folder."
            )
        taken[name.casefold()] = name


@dataclass
class QuestionSource:
    """Multiple-choice questions, see `modeling_optical.evaluation.questions.load_questions`.

    Args:
        path: folder or Hub id.
        format: name of the layout, if it cannot be detected.
        split: of the questions (none: the layout's default).
        revision: of the Hub data set.
        documents, topic: for questions made from documents: which ones, and what they are about.
        languages: the tested languages that these questions are for; null: all.
        max_questions: the most questions, drawn by their ids, the same in every language.
    """

    path: str
    format: str | None = None
    split: str | None = None
    revision: str | None = None
    documents: list[str] = field(default_factory=list)
    topic: str = ""
    languages: list[str] | None = None
    max_questions: int | None = None

    def __post_init__(self) -> None:
        if self.max_questions is not None and self.max_questions < 1:
            raise ValueError(f"max_questions is {self.max_questions!r}; it must be at least 1, or null for all.")

    def of(self, languages: Sequence[str]) -> list[str]:
        """Those of some languages that are tested on them."""
        return _chosen(languages, self.languages)

    def load(self, language: str, *, in_english: bool = False) -> QuestionSet:
        """Reads the questions of a language, or the same ones in English."""
        return load_questions(
            self.path,
            language,
            in_english=in_english,
            format=self.format,
            split=self.split,
            revision=self.revision,
            documents=self.documents,
            topic=self.topic,
        ).drawn(self.max_questions)


def _chosen(languages: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    return [language for language in languages if wanted is None or language in wanted]


@dataclass
class ChoiceHeadRecipe:
    """Weights of the choice head, learned from the teacher's own English answers and used for all systems and languages.

    Args:
        questions: English questions with their answers; none of them is tested.
    """

    questions: QuestionSource


@dataclass
class RivalRecipe(CheckpointRecipe):
    """A model that one could use instead of the student, and how it is loaded (see `CheckpointRecipe`).

    Args:
        model: folder, Hub id or `package:NAME/PATH`.
        scoring: `pooled` (one vector per text) or `maxsim` (its token vectors).
        pooling: of a plain encoder whose files do not say: `mean` or `cls`.
        query_prompt, document_prompt: text before its queries and documents; null: as its files say.
        max_length: tokens of a query or document; null: its document length, also for queries.
    """

    model: str = ""
    scoring: str = "pooled"
    pooling: str | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if not self.model:
            raise ValueError("`model` is not set: give the rival's folder or Hub id.")
        if self.scoring not in SCORINGS:
            raise ValueError(f"scoring is {self.scoring!r}; allowed: {', '.join(map(repr, SCORINGS))}.")

    def config(self) -> dict[str, str | int]:
        """Values of `OpticalConfig` that the recipe sets."""
        own = {
            "pooling_mode": self.pooling,
            "query_prompt": self.query_prompt,
            "document_prompt": self.document_prompt,
            "query_length": self.max_length,
            "document_length": self.max_length,
        }
        return {key: value for key, value in own.items() if value is not None}


@dataclass
class EvaluationRecipe:
    """The evaluation.

    Args:
        languages: the tested languages; null: the student's. Languages without bitext show the effect of training on them.
        collections: test collections with queries in the tested languages.
        questions: multiple-choice questions in the student's language, answered by late interaction.
        question_length: tokens of the longest question; null takes each model's query length.
        choice_head: how the choice head is learned; null: plain normalised MaxSim, zero-shot.
        rivals: name to a model that one could use instead of the student, measured beside it.
        references: systems measured beside it that need no other model: `bm25`, `structured_queries` (BM25 with a table of
            translations that is learnt from the training pairs) and `fused` (that and the student, by reciprocal rank).
        metrics: names of `ir_measures`; all are in results.json, the first three in the printed table.
        batch_size: texts per batch when encoding.
        examples: example searches that the report shows.
    """

    languages: list[str] | None = None
    collections: list[CollectionSource] = field(default_factory=list)
    questions: list[QuestionSource] = field(default_factory=list)
    question_length: int | None = None
    choice_head: ChoiceHeadRecipe | None = None
    rivals: dict[str, RivalRecipe] = field(default_factory=dict)
    references: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=lambda: ["AP@100", "nDCG@10", "RR@10", "R@10", "R@100", "Success@1"])
    batch_size: int = 32
    examples: int = 8

    def __post_init__(self) -> None:
        if self.choice_head is not None and not self.questions:
            raise ValueError("choice_head is for multiple-choice questions: set `questions`, or leave it out.")
        if unknown := [name for name in self.references if name not in REFERENCES]:
            raise ValueError(f"references: {unknown[0]!r} is not known; allowed: {', '.join(map(repr, REFERENCES))}.")
        if taken := sorted(set(self.rivals) & set(RESERVED)):
            raise ValueError(f"rivals.{taken[0]}: this name stands for another system of the report. Choose another one.")

    def locate(self, folder: Path) -> None:
        """Makes names of folders that lie in `folder` paths, in place."""
        for collection in self.collections:
            collection.path = beside(folder, collection.path)
        for questions in self.questions:
            questions.path = beside(folder, questions.path)
        for rival in self.rivals.values():
            rival.model = beside(folder, rival.model)


def named_rivals(given: Sequence[str]) -> dict[str, RivalRecipe]:
    """Rivals as a command line gives them: `MODEL`, `NAME=MODEL`, or `NAME={key: value}` with the keys of `RivalRecipe`.

    Raises:
        ValueError: naming the argument.
    """
    found: dict[str, RivalRecipe] = {}
    for item in given:
        name, equals, values = item.partition("=")
        text = values if equals else name
        if not text.strip():
            raise ValueError(f"--rival {item!r} names no model. Write --rival MODEL or --rival NAME=MODEL.")
        own = parse_yaml(text, f"--rival {item!r} is not YAML") if text.lstrip().startswith("{") else {"model": text}
        name = name if equals else Path(text.rstrip("/")).name
        if name in found:
            raise ValueError(
                f"--rival {item!r}: there is a rival {name!r} already. Write --rival NAME=MODEL with another name."
            )
        found[name] = build(RivalRecipe, own, f"--rival {name}")
    EvaluationRecipe(rivals=found)
    return found
