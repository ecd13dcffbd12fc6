"""Pieces of a tokenizer: what they spell, and which texts they make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
import regex
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of every text, without special tokens."""
    return tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]


def vocabulary_size(tokenizer: PreTrainedTokenizerBase) -> int:
    """Rows that an embedding matrix needs: one more than the largest id, which may be above the number of pieces."""
    return max(tokenizer.get_vocab().values()) + 1


def model_words(backend: Tokenizer, texts: Iterable[str]) -> Counter:
    """Words as the tokenizer's model sees them, normalised and marked, with their counts."""
    words: Counter = Counter()
    for text in texts:
        normal = backend.normalizer.normalize_str(text) if backend.normalizer is not None else text
        if backend.pre_tokenizer is not None:
            words.update(word for word, _ in backend.pre_tokenizer.pre_tokenize_str(normal))
        else:  # tokenizers that see a whole text mark its spaces themselves
            words.update(regex.findall("▁?[^▁]+", normal))
    return words


def unknown_share(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Share of the tokens of these texts that are the unknown token: what the vocabulary cannot spell."""
    if tokenizer.unk_token_id is None or not len(texts):
        return 0.0
    encoded = encode(tokenizer, texts)
    total = sum(len(ids) for ids in encoded)
    return sum(ids.count(tokenizer.unk_token_id) for ids in encoded) / max(total, 1)


def piece_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The letters of each piece, without the marks of its tokenizer."""
    texts = [""] * vocabulary_size(tokenizer)
    special = set(tokenizer.all_special_ids)
    for piece, index in tokenizer.get_vocab().items():
        if index not in special:
            text = piece if piece.isascii() else tokenizer.convert_tokens_to_string([piece])
            texts[index] = text.removeprefix("##").strip("▁Ġ ")
    return texts


def word_pieces(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """(vocabulary,) bool: pieces with a letter or mark in them, which have translations; special tokens do not."""
    return np.array([any(c.isalpha() for c in text) for text in piece_texts(tokenizer)])
