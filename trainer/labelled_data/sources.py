"""Where labelled queries and passages come from."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..option_checks import check_choice, check_whole
from .running_text import RunningText

NEGATIVES = ("judged", "random", "bm25")


def files_of(place: str | None) -> list[str]:
    """The file that a path names, or all files below a folder; none for a name on the Hub."""
    if place is None or not os.path.isdir(place):
        return [place] if place is not None and os.path.isfile(place) else []
    return sorted(os.path.join(folder, name) for folder, _, names in os.walk(place) for name in names)


@dataclass
class TextTable:
    """Texts by id, for sources whose rows hold ids.

    Args:
        path: a file: JSONL, TSV or CSV, each also with `.gz`, or Parquet. The columns of a table without a header line are id,
            text and title. Exactly one of `path` and `hub` is given.
        hub: a data set id on the Hub, or a local folder that `datasets.load_dataset` reads.
        name, split, revision: for `hub`, as for `load_dataset`.
        id: column of the ids. None: the one with the name `id`, `_id`, `pid`, `qid` or `docid`, or ends in `_id` or `-id`.
        text: column of the texts. None: `text`, `passage`, `query` or `document`, the first that there is. A column `title` is
            put before it.
    """

    path: str | None = None
    hub: str | None = None
    name: str | None = None
    split: str = "train"
    revision: str | None = None
    id: str | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        if (self.path is None) == (self.hub is None):
            raise ValueError("a table of texts needs either `path` (a file) or `hub` (a data set id).")

    @property
    def label(self) -> str:
        """Short name, for messages."""
        return str(self.path) if self.path else _hub_label(str(self.hub), self.name)

    def files(self) -> list[str]:
        """The files that it reads here; none on the Hub."""
        return files_of(self.path or self.hub)


@dataclass
class LabelledSource:
    """Queries with passages that answer them, and perhaps passages that do not, and scores.

    Args:
        path: a file: JSONL (one object a line), TSV or CSV, each also with `.gz`. A TSV whose first line is not a header holds
            query, positive and negatives, as MS MARCO's triples do. Exactly one of `path`, `hub` and `collection` is given.
        hub: a data set id on the Hub, or a local folder that `datasets.load_dataset` reads.
        collection: a test collection with judgements for training (BEIR's layout and others, see `load_collection`), a folder
            or a Hub id.
        name, split, revision: for `hub`, as for `load_dataset`; `split` and `revision` also for `collection`.
        language: of the queries of a `collection`.
        query: column or field of the query. None: `query`, `anchor`, `question` or `query_id`.
        positives: of the relevant passage, or of a list of them. None: `positive`, `positives`, `pos`, `answer`,
            `positive_passages`, `positive_id` or `positive_ids`.
        negatives: likewise. None: `negative`, `negatives`, `neg`, `negative_passages`, `negative_id`, `negative_ids`, and
            `negative_1`, `negative_2` …
        passages: of a list of passages without labels. None: `passages`, `documents`, `document_ids`, `passage_ids` or
            `doc_ids`. The one with the highest score, or the first if there are no scores, is the positive.
        scores: of a list of scores, of the passages in their order, or of positives and then negatives. None: `scores`.
        running_text: queries and passages are made of `path` or `hub`, whose rows are consecutive sentences, such as bitext of
            news. `query` and `positives` name the fields that they are made of: the same for text of one language. Two
            languages of bitext teach a query of one to find passages of the other. See `RunningText`.
        query_texts: where the queries are ids, the texts.
        passage_texts: where the passages are ids, the texts.
        mined_negatives: for a `collection`: `judged` (documents of grade 0), and beside them `random` or `bm25` ones.
        negatives_per_query: how many of them are mined.
        max_examples: number of examples to read, from the first one on.
    """

    path: str | None = None
    hub: str | None = None
    collection: str | None = None
    name: str | None = None
    split: str = "train"
    revision: str | None = None
    language: str = "en"
    query: str | None = None
    positives: str | None = None
    negatives: str | None = None
    passages: str | None = None
    scores: str | None = None
    running_text: RunningText | None = None
    query_texts: TextTable | None = None
    passage_texts: TextTable | None = None
    mined_negatives: str = "judged"
    negatives_per_query: int = 8
    max_examples: int | None = None

    def __post_init__(self) -> None:
        if sum(place is not None for place in (self.path, self.hub, self.collection)) != 1:
            raise ValueError("a labelled source needs one of `path` (a file), `hub` (a data set id) and `collection`.")
        check_choice(self.mined_negatives, "mined_negatives", NEGATIVES)
        check_whole(self.negatives_per_query, "negatives_per_query", 1)
        if self.max_examples is not None:
            check_whole(self.max_examples, "max_examples", 1)
        if self.collection is not None and (self.query_texts or self.passage_texts):
            raise ValueError("a collection brings its own texts: leave query_texts and passage_texts out.")

        if self.running_text is not None:
            if self.collection is not None or self.query_texts or self.passage_texts:
                raise ValueError("running_text makes queries of the sentences of `path` or `hub`, and of nothing else.")
            if self.query is None or self.positives is None:
                raise ValueError(
                    "running_text needs `query` and `positives`: the fields whose sentences queries and passages are made of, "
                    "for instance both `en`."
                )

    @property
    def label(self) -> str:
        """Short name, for messages and reports."""
        if self.hub is not None:
            return _hub_label(self.hub, self.name)
        return str(self.path or self.collection)

    def files(self) -> list[str]:
        """The files that it reads here, those of its tables of texts among them; none on the Hub."""
        tables = [table for table in (self.query_texts, self.passage_texts) if table is not None]
        return [*self.own_files(), *(file for table in tables for file in table.files())]

    def own_files(self) -> list[str]:
        """The files of its rows."""
        return files_of(self.path or self.hub or self.collection)

    def check_file(self) -> None:
        """Raises a FileNotFoundError if the file is not there."""
        for path in (self.path, *(table.path for table in (self.query_texts, self.passage_texts) if table)):
            if path is not None and not os.path.isfile(path):
                raise FileNotFoundError(f"labelled data {path!r}: there is no such file.")


def _hub_label(hub: str, name: str | None) -> str:
    return hub if name is None else f"{hub}/{name}"
