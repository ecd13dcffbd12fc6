"""Which pieces translate which, learnt from the bitext and kept with the student."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse
import torch
from tokenizers import models
from transformers import PreTrainedTokenizerBase

from modeling_optical.files.atomic_write import replacing_file

from .alignment import agreed_translations
from .pieces import encode, word_pieces


@dataclass
class TranslationTable:
    """`p(e | f)`: how likely a source piece translates a target piece.

    Attributes:
        probabilities: sparse (target vocabulary, source vocabulary); rows sum to at most 1 (the rest went to no word).
        target_tokenizer, source_tokenizer: fingerprints of the tokenizers whose ids these are (`tokenizer_fingerprint`).
        provenance: what it was made from: bitext, options, versions.
    """

    probabilities: scipy.sparse.csr_matrix
    target_tokenizer: str = ""
    source_tokenizer: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def lookup(self, target_ids: torch.Tensor, source_ids: torch.Tensor) -> torch.Tensor:
        """Probabilities between two texts: (target tokens,) and (source tokens,) ids to (target tokens, source tokens)."""
        rows = self.probabilities[target_ids.numpy()]
        return torch.from_numpy(rows[:, source_ids.numpy()].toarray()).float()

    def check(self, target: PreTrainedTokenizerBase, source: PreTrainedTokenizerBase) -> None:
        """Raises a ValueError if the table is of other tokenizers than these: its ids would mean other pieces."""
        for side, tokenizer, kept in (("target", target, self.target_tokenizer), ("source", source, self.source_tokenizer)):
            if kept != tokenizer_fingerprint(tokenizer):
                raise ValueError(
                    f"the translation table was made with another {side} tokenizer. Make it again with the student and the "
                    "teacher that it is used with (student.vocabulary in a recipe, or optical adapt-vocabulary)."
                )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the table and where it comes from as one npz file, which `scipy.sparse.load_npz` reads, too."""
        described = {
            "target_tokenizer": self.target_tokenizer,
            "source_tokenizer": self.source_tokenizer,
            "provenance": self.provenance,
        }
        matrix = self.probabilities.tocsr()
        with replacing_file(path) as scratch, open(scratch, "wb") as stream:
            np.savez_compressed(
                stream,
                format=b"csr",
                shape=matrix.shape,
                data=matrix.data,
                indices=matrix.indices,
                indptr=matrix.indptr,
                described=np.frombuffer(json.dumps(described).encode(), np.uint8),
            )

    @classmethod
    def load(cls, path: str | os.PathLike) -> TranslationTable:
        """Reads a table; nothing in the file is executed.

        Raises:
            ValueError: if the file holds no translation table.
        """
        try:
            matrix = scipy.sparse.load_npz(path).tocsr()
            with np.load(path, allow_pickle=False) as file:
                described = json.loads(file["described"].tobytes())
            return cls(matrix, **described)
        except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} holds no translation table of this version ({error}).") from None


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 digits that tell tokenizers apart by the ids that they give."""
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    # Padding and truncation are what the last call left there; the decoder does not matter to ids.
    for name in ("padding", "truncation", "decoder"):
        described[name] = None
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def translation_table(
    target_tokenizer: PreTrainedTokenizerBase,
    source_tokenizer: PreTrainedTokenizerBase,
    targets: Sequence[str],
    sources: Sequence[str],
    *,
    iterations: int = 8,
    lacking: Callable[[str], bool] = lambda piece: True,
) -> TranslationTable:
    """Learns a table from bitext, between the pieces of two tokenizers.

    In a WordPiece vocabulary most words of the bitext are single pieces. So the pieces below them hardly occur in it, although
    unseen words are made of them. Those learn from the words that they would spell.

    Args:
        target_tokenizer, source_tokenizer: of the student, and of the teacher (or of the student before).
        targets, sources: (pairs,) texts.
        iterations: rounds of expectation maximisation.
        lacking: which pieces below words learn this way, by their spelling.
    """
    target_ids, source_ids = encode(target_tokenizer, targets), encode(source_tokenizer, sources)
    is_target, is_source = word_pieces(target_tokenizer), word_pieces(source_tokenizer)
    target_pieces = [[i for i in ids if is_target[i]] for ids in target_ids]
    source_pieces = [[i for i in ids if is_source[i]] for ids in source_ids]
    sizes = (len(is_target), len(is_source), iterations)
    table = agreed_translations(target_pieces, source_pieces, *sizes)
    if recut := _recut(target_tokenizer):
        below = [[part for i in ids for part in recut.get(i, [i])] for ids in target_pieces]
        spelled = target_tokenizer.convert_ids_to_tokens(range(len(is_target)))
        allowed = np.array([piece is not None and lacking(piece) for piece in spelled])
        table = _fill_empty_rows(table, agreed_translations(below, source_pieces, *sizes), allowed)
    return TranslationTable(table, tokenizer_fingerprint(target_tokenizer), tokenizer_fingerprint(source_tokenizer))


def _fill_empty_rows(
    table: scipy.sparse.csr_matrix, other: scipy.sparse.csr_matrix, allowed: np.ndarray
) -> scipy.sparse.csr_matrix:
    """Rows of `other` where `table` has none and `allowed` is True."""
    filled = scipy.sparse.diags(((np.diff(table.indptr) == 0) & allowed).astype(float))
    return (table + filled @ other).tocsr()


def _recut(tokenizer: PreTrainedTokenizerBase) -> dict[int, list[int]]:
    """For every WordPiece that is a whole word, the pieces that would spell it if it were not in the vocabulary.

    Most words of the bitext are single pieces, so the pieces below them hardly occur in it, although unseen words are made of
    them.
    """
    vocabulary = tokenizer.get_vocab()
    if not isinstance(tokenizer.backend_tokenizer.model, models.WordPiece):
        return {}
    found = {}
    for word, index in vocabulary.items():
        if len(word) < 3 or not word[0].isalpha():
            continue
        place, parts = 0, []
        while place < len(word):
            for end in range(len(word) - (place == 0), place, -1):
                part = vocabulary.get(("##" if place else "") + word[place:end])
                if part is not None:
                    parts.append(part)
                    place = end
                    break
            else:
                break
        if place == len(word):
            found[index] = parts
    return found
