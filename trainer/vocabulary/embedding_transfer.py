"""Embedding rows of new pieces, from what the backbone knows already."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from modeling_optical import OpticalModel

from .options import VocabularyOptions
from .pieces import piece_texts, vocabulary_size, word_pieces


def transfer_rows(
    old: PreTrainedTokenizerBase,
    new: PreTrainedTokenizerBase,
    embeddings: torch.Tensor,
    table: scipy.sparse.csr_matrix,
    options: VocabularyOptions,
) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """Starts the rows of a new vocabulary, never from noise (docs/method.md §5).

    Args:
        old, new: the tokenizers. For `mode: add`, pieces of the old one keep their ids, and their rows to the bit.
        embeddings: (old vocabulary, hidden).
        table: translation probabilities (new vocabulary, old vocabulary).
        options: see `VocabularyOptions`.

    Returns:
        The new embedding matrix (new vocabulary, hidden) float32, and how many rows came from translations, old rows and
        spelling.
    """
    old_vocabulary = old.get_vocab()
    embeddings = embeddings.float()
    typical_norm = embeddings.norm(dim=1).median()
    added = options.mode == "add"
    matrix = torch.zeros(max(vocabulary_size(new), embeddings.shape[0] if added else 0), embeddings.shape[1])
    if added:
        matrix[: embeddings.shape[0]] = embeddings
    texts, is_word = piece_texts(new), word_pieces(new)
    specials = _special_ids(old, new)
    prefers_translation = options.prefer == "translation" and not added
    counts = [0, 0, 0]
    for piece, index in new.get_vocab().items():
        old_index = specials.get(index, old_vocabulary.get(piece))
        translated = bool(is_word[index]) and table.indptr[index] < table.indptr[index + 1]
        if index in specials or (old_index is not None and not (translated and prefers_translation)):
            matrix[index] = embeddings[old_index]
            counts[1] += 1
        elif translated:
            columns, weights = _best_translations(table, index, options)
            mean = (weights.unsqueeze(1) * embeddings[columns]).sum(0)
            # A mean of several rows is short; the layers above expect the usual length.
            matrix[index] = mean * (typical_norm / mean.norm().clamp_min(1e-6))
            counts[0] += 1
        else:
            spelled = old(texts[index], add_special_tokens=False, verbose=False)["input_ids"] if texts[index] else []
            matrix[index] = embeddings[spelled or [_fallback_id(old)]].mean(0)
            counts[2] += 1
    return matrix, (counts[0], counts[1], counts[2])


def _best_translations(
    table: scipy.sparse.csr_matrix, index: int, options: VocabularyOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """The likeliest translations of a piece and their weights, which sum to 1."""
    start, stop = table.indptr[index], table.indptr[index + 1]
    weights, columns = table.data[start:stop], table.indices[start:stop]
    best = np.argsort(-weights, kind="stable")[: options.translations_per_piece]
    best = best[weights[best] >= options.smallest_share * weights[best[0]]]
    chosen = torch.from_numpy(weights[best]).float()
    return torch.from_numpy(columns[best].astype(np.int64)), chosen / chosen.sum()


def _special_ids(old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> dict[int, int]:
    """New id of every special token to its old id."""
    old_vocabulary = old.get_vocab()
    return {
        new.convert_tokens_to_ids(token): old_vocabulary[token] for token in new.all_special_tokens if token in old_vocabulary
    }


def _fallback_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.all_special_ids[0]


def replace_embeddings(model: OpticalModel, tokenizer: PreTrainedTokenizerBase, matrix: torch.Tensor) -> None:
    """Gives a model another embedding matrix, and its configuration the size and special ids that go with it."""
    old = model.get_input_embeddings()
    padding = tokenizer.pad_token_id
    replacement = nn.Embedding(matrix.shape[0], matrix.shape[1], padding_idx=padding)
    replacement.weight = nn.Parameter(matrix.to(old.weight))
    model.set_input_embeddings(replacement)
    text_config = model.config.get_text_config()
    text_config.vocab_size = matrix.shape[0]
    for name in ("pad", "bos", "eos", "cls", "sep", "mask"):
        key = f"{name}_token_id"
        if getattr(text_config, key, None) is not None:
            setattr(text_config, key, getattr(tokenizer, key, None))
