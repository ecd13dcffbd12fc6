"""A corpus as a stream of (id, text): from a file, a folder, a data set, a mapping or an iterator. Nothing loads it whole."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from transformers.utils import logging

from ..files.lines import json_lines
from ..processing_optical import replace_lone_surrogates
from .normal_forms import is_blank

logger = logging.get_logger(__name__)

CorpusSource = str | os.PathLike | Mapping[str, str] | Iterable[Any] | Callable[[], Iterable[Any]]
"""Where documents come from, see `CorpusStream`."""
_ID_KEYS = ("_id", "id", "docid")


class Corpus(Protocol):
    """Documents, as often as asked: a dictionary of id to text is one, `evaluation.StreamedCorpus` another."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Pairs of document id and text, in the same order every time."""
        ...

    def __len__(self) -> int: ...


class CorpusStream:
    """Checked documents one by one; can be iterated repeatedly.

    A corpus is a JSONL file, or a folder that holds `corpus.jsonl` (BEIR's layout); a mapping id → text; a `datasets.Dataset`
    or `IterableDataset`; an iterable of `(id, text)` pairs or of records. A record has `_id`, `id` or `docid`, `text` and
    perhaps `title` (joined to the text by a space).

    Args:
        corpus: the corpus. An iterator can be read only once, a function that returns one is called for every pass.

    Attributes:
        empty: documents without text met in the last pass.

    Raises:
        FileNotFoundError: for a path where there is no corpus.
        ValueError: while iterating, for a record without id or text, an empty id or one that appears twice; the message names
            the place.
    """

    def __init__(self, corpus: CorpusSource):
        self._records: Callable[[], Iterator[tuple[str, Any]]]
        if isinstance(corpus, str | os.PathLike):
            path = _corpus_file(Path(corpus).expanduser())
            self._records = lambda: json_lines(path)
        elif callable(corpus):
            made = corpus
            self._records = lambda: _numbered(made())
        elif isinstance(corpus, Mapping):
            mapping = corpus
            self._records = lambda: ((f"document {key!r}", (key, text)) for key, text in mapping.items())
        else:
            documents = corpus
            self._records = lambda: _numbered(documents)
        self.empty = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        # Digests of 16 bytes, so that a million ids cost 100 MB less than the ids.
        seen: set[bytes] = set()
        self.empty = 0
        for place, record in self._records():
            identifier, text = _document(place, record)
            digest = hashlib.blake2b(identifier.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if digest in seen:
                raise ValueError(f"{place}: the id {identifier!r} appears twice. Every document needs a separate id.")
            seen.add(digest)
            self.empty += is_blank(text)
            yield identifier, text
        if not seen:
            raise ValueError("the corpus is empty.")
        if self.empty:
            logger.warning(f"{self.empty} documents are empty; only their special tokens, if any, can be found.")


def _corpus_file(path: Path) -> Path:
    file = path / "corpus.jsonl" if path.is_dir() else path
    if not file.is_file():
        problem = "corpus.jsonl is missing in this folder" if path.is_dir() else "there is no such file or folder"
        raise FileNotFoundError(
            f"corpus {path}: {problem}. "
            "A JSONL file with `_id` and `text` in every line is asked for, or a folder that holds it as corpus.jsonl."
        )
    return file


def _numbered(documents: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for number, record in enumerate(documents):
        yield f"document {number} of the corpus", record


def _document(place: str, record: Any) -> tuple[str, str]:
    title = None
    if isinstance(record, Mapping):
        identifier = next((record[key] for key in _ID_KEYS if record.get(key) is not None), None)
        text, title = record.get("text"), record.get("title")
    elif isinstance(record, tuple | list) and len(record) == 2:
        identifier, text = record
    else:
        raise ValueError(f"{place}: a document is a pair (id, text) or a record with `_id` and `text`, not {record!r:.80}.")
    if identifier is None or not isinstance(text, str):
        raise ValueError(f"{place}: a document needs an id and a text; this is {record!r:.80}.")
    identifier = str(identifier)
    check_identifier(place, identifier)
    return identifier, replace_lone_surrogates(f"{title} {text}" if title else text)


def check_identifier(place: str, identifier: str) -> None:
    """Rejects ids that a run file cannot hold.

    Raises:
        ValueError: naming the place.
    """
    if is_blank(identifier) or any(character.isspace() for character in identifier):
        raise ValueError(f"{place}: the id {identifier!r} is empty, or has white space, which run files cannot hold.")
    if "\0" in identifier:
        raise ValueError(f"{place}: the id {identifier!r} has a NUL character, which run files cannot hold.")
    if replace_lone_surrogates(identifier) != identifier:
        raise ValueError(f"{place}: the id {identifier!r} has half a character (a lone surrogate), which no file can hold.")


def hub_corpus(name: str, *, revision: str | None = None) -> Callable[[], Iterable[Any]]:
    """The documents of a data set on the Hub, as BEIR and MTEB publish theirs (configuration `corpus`), streamed.

    Raises:
        FileNotFoundError: if it cannot be loaded; the Hub's reason is in the message.
    """
    from datasets import load_dataset
    from huggingface_hub.errors import HfHubHTTPError

    def documents() -> Iterable[Any]:
        try:
            splits = load_dataset(name, "corpus", revision=revision, streaming=True)
        except (OSError, ValueError, HfHubHTTPError) as error:
            raise FileNotFoundError(
                f"corpus {name!r} is neither a file here nor a data set on the Hub with a configuration `corpus` "
                f"({type(error).__name__}: {error})."
            ) from error
        return splits["corpus"] if "corpus" in splits else next(iter(splits.values()))

    return documents
