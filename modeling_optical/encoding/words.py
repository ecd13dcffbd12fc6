"""Words of any script, and BM25 over them: the one idea of a word that indexes and references share."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

# Anserini's defaults, those of published baselines on MIRACL, CIRAL and AfriCLIRMatrix.
BM25_K1, BM25_B = 0.9, 0.4
# Written without spaces between words.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# What changes of `words` are likely to change: case, accents in both normal forms, vowel signs, pairs, digits, joiners.
_PROBE = "Straße É E\u0301 İ ﬁ हिन्दी शिक्षक می\u200cخواهم 東京塔ภาษา ng'ombe x2 _ ½"


@cache
def _patterns() -> tuple[Any, Any]:
    import regex  # transformers depends on it

    return regex.compile(r"[\p{L}\p{M}\p{N}]+"), regex.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|[^{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text for BM25, in lower case and in NFC: runs of letters, marks and digits of any script.

    Scripts without spaces (Han, Kana, Thai, Lao, Khmer, Burmese) give overlapping pairs of characters, as Lucene's CJK analyser
    does. (`\\w` of Python would split Hindi words at their vowel signs.)
    """
    word, script = _patterns()
    found: list[str] = []
    # Canonical caseless matching (Unicode, D145): both normal forms of a text give the same words.
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
    for run in word.findall(folded):
        for part in script.finditer(run):
            piece = part.group()
            if part.lastgroup == "unspaced" and len(piece) > 2:
                found += [piece[i : i + 2] for i in range(len(piece) - 1)]
            else:
                found.append(piece)
    return found


@cache
def words_version() -> str:
    """Tells whether stored words are those that `words` would find now, and their scores those of this BM25."""
    return hashlib.sha256(repr((words(_PROBE), BM25_K1, BM25_B)).encode()).hexdigest()[:16]


def check_bm25() -> None:
    """Fails at once where `WordIndex` would, before anything else is computed.

    Raises:
        ImportError: if bm25s is missing; says how to install it.
    """
    try:
        import bm25s  # noqa: F401
    except ImportError as error:
        raise ImportError('BM25 needs bm25s: pip install "modeling-optical[bm25]"') from error


class WordIndex:
    """BM25 of documents by the bm25s library (Lucene's variant, k1 0.9, b 0.4), without stop words.

    Args:
        texts: of the documents, as a stream; their words are held in memory as numbers.
        stem: maps words to stems; None: words stay.

    Raises:
        ImportError: if bm25s is missing; says how to install it.
    """

    def __init__(self, texts: Iterable[str], stem: Callable[[list[str]], list[str]] | None = None):
        check_bm25()
        import bm25s
        from bm25s.tokenization import Tokenized

        self._stem = stem or (lambda found: found)
        self.vocabulary: dict[str, int] = {}
        numbers = [
            np.array([self.vocabulary.setdefault(word, len(self.vocabulary)) for word in self._stem(words(text))], np.int32)
            for text in texts
        ]
        self._documents = len(numbers)
        # Of each word, in a row: the documents that have it (`indices`) and what it adds to their scores (`data`).
        self._scores: dict[str, np.ndarray] = {}
        if self.vocabulary:
            model = bm25s.BM25(method="lucene", k1=BM25_K1, b=BM25_B)
            model.index(Tokenized(ids=numbers, vocab=self.vocabulary), create_empty_token=False, show_progress=False)
            self._scores = {key: np.ascontiguousarray(model.scores[key]) for key in ("data", "indices", "indptr")}

    def best(self, query: str, count: int) -> list[tuple[int, float]]:
        """Number and score of the best documents that share a word with the query; ties go to the earlier document."""
        asked = [self.vocabulary[word] for word in self._stem(words(query)) if word in self.vocabulary]
        if not asked:
            return []
        scores = np.zeros(self._documents, np.float32)
        for number in asked:
            row = slice(*self._scores["indptr"][number : number + 2])
            scores[self._scores["indices"][row]] += self._scores["data"][row]
        order = np.argsort(-scores, kind="stable")[:count]
        return [(int(position), float(scores[position])) for position in order if scores[position] > 0]

    def tensors(self) -> dict[str, np.ndarray]:
        """The content for `load`."""
        return {"words": np.frombuffer("\n".join(self.vocabulary).encode(), np.uint8)} | self._scores

    @classmethod
    def load(cls, path: Path, documents: int) -> Self:
        """Reads a file of `tensors`.

        Args:
            path: the file.
            documents: how many it has to be made of.

        Raises:
            ValueError: if it is damaged, or its numbers point outside of the documents.
        """
        index = cls([])
        index._documents = documents
        try:
            stored = load_file(path)
            found = stored["words"].tobytes().decode().split("\n") if stored["words"].size else []
            index.vocabulary = {word: number for number, word in enumerate(found)}
            if found:
                index._scores = {key: stored[key] for key in ("data", "indices", "indptr")}
                _check_scores(index._scores, len(found), documents)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is damaged ({error}).") from None
        return index


def _check_scores(scores: dict[str, np.ndarray], vocabulary: int, documents: int) -> None:
    data, indices, ends = scores["data"], scores["indices"], scores["indptr"]
    kinds = [array.dtype.kind for array in (data, indices, ends) if array.ndim == 1]
    if kinds not in (["f", "i", "i"], ["f", "u", "u"], ["f", "i", "u"], ["f", "u", "i"]):
        raise ValueError("its tensors have other types")
    if len(ends) != vocabulary + 1 or ends[0] != 0 or ends[-1] != len(data) or len(data) != len(indices):
        raise ValueError("its sizes do not fit each other")
    if (ends[1:] < ends[:-1]).any() or (len(indices) and not 0 <= indices.min() <= indices.max() < documents):
        raise ValueError("its numbers point outside of the documents")
