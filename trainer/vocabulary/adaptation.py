"""A vocabulary for a language that the backbone spells in fragments: tokenizer, translation table, embedding rows."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from modeling_optical import OpticalModel, OpticalProcessor
from modeling_optical.files.atomic_write import write_text

from .embedding_transfer import replace_embeddings, transfer_rows
from .options import VocabularyOptions, VocabularyReport
from .pieces import encode
from .tokenizer_extension import extend_tokenizer
from .tokenizer_training import train_tokenizer
from .translation_table import TranslationTable, translation_table
from .trimming import trim_tokenizer

TABLE_FILE = "translations.npz"
REPORT_FILE = "vocabulary.json"
_VERSIONED = ("modeling-optical", "tokenizers", "transformers", "numpy", "scipy")


def adapt_vocabulary(
    model: OpticalModel,
    sources: Sequence[str],
    targets: Sequence[str],
    options: VocabularyOptions | None = None,
    *,
    languages: Sequence[str] | None = None,
) -> tuple[VocabularyReport, TranslationTable]:
    """Gives a model a tokenizer for the language of `targets` and an embedding matrix to go with it, in place.

    Rows start from the translation-weighted mean of old rows, from the old row of the same piece, or from the mean of the old
    pieces that spell it; never from noise.

    Args:
        model: a student with its processor; `sources` are in a language that it knows.
        sources: (pairs,) texts.
        targets: (pairs,) their translations, in one language or several.
        options: see `VocabularyOptions`.
        languages: (pairs,) code of each target, for the report.

    Returns:
        A report, and the translation table from new pieces to old ones.

    Raises:
        ValueError: if there is no pair, or the tokenizer cannot be trained (a slow tokenizer without a backend).
    """
    options = options or VocabularyOptions()
    sources, targets = list(sources), list(targets)
    if not targets or len(sources) != len(targets):
        raise ValueError(f"vocabulary adaptation needs pairs; got {len(sources)} sources and {len(targets)} targets.")
    if languages is not None and len(languages) != len(targets):
        raise ValueError(f"vocabulary adaptation got {len(languages)} languages for {len(targets)} targets.")
    old = _with_special_markers(model.get_processor())
    if not getattr(old, "is_fast", False):
        raise ValueError(
            f"the tokenizer {type(old).__name__} cannot be trained anew: only tokenizers of the tokenizers library can. "
            "Leave `vocabulary` out of the recipe, or start from a backbone with such a tokenizer."
        )
    left_out = 0
    if options.mode == "add":
        new, left_out = extend_tokenizer(old, targets, sources, options.size)
    elif options.mode == "trim":
        new = trim_tokenizer(old, [*sources, *targets], options.scripts)
    else:
        new = train_tokenizer(old, targets, options)
    known = old.get_vocab()
    # A piece that the old vocabulary has and the bitext never uses keeps its old row.
    table = translation_table(
        new, old, targets, sources, iterations=options.iterations, lacking=lambda piece: piece not in known
    )
    matrix, counts = transfer_rows(old, new, model.get_input_embeddings().weight.detach(), table.probabilities, options)
    _carry_skiplist(model, old, new)
    replace_embeddings(model, new, matrix)
    model.processor = OpticalProcessor(new, model.config)
    before, after = tokens_per_word(old, targets), tokens_per_word(new, targets)
    report = VocabularyReport(len(new), *counts, before, after, left_out)
    if languages is not None and len(set(languages)) > 1:
        for language in dict.fromkeys(languages):
            own = [text for text, code in zip(targets, languages, strict=True) if code == language]
            report.by_language[language] = (tokens_per_word(old, own), tokens_per_word(new, own))
    return report, table


def tokens_per_word(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Tokens per word that stands between white space, special tokens not counted."""
    return sum(map(len, encode(tokenizer, texts))) / max(sum(len(text.split()) for text in texts), 1)


def vocabulary_provenance(options: VocabularyOptions, bitext_fingerprint: str, pairs: int) -> dict[str, Any]:
    """The sources of a vocabulary and its translation table, as plain values."""
    return {
        "bitext_fingerprint": bitext_fingerprint,
        "pairs": pairs,
        "options": vars(options).copy(),
        "versions": {name: metadata.version(name) for name in _VERSIONED},
    }


def save_vocabulary_record(
    folder: str | os.PathLike, report: VocabularyReport, table: TranslationTable, provenance: dict[str, Any]
) -> None:
    """Writes the translation table (`translations.npz`) and the report (`vocabulary.json`), both with the provenance."""
    table.provenance = provenance
    table.save(Path(folder) / TABLE_FILE)
    text = json.dumps({"report": vars(report), "provenance": provenance}, indent=1, ensure_ascii=False)
    write_text(Path(folder) / REPORT_FILE, text + "\n")


def _carry_skiplist(model: OpticalModel, old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> None:
    """A skip list that is written down as ids (other people's checkpoints) names the same pieces afterwards."""
    if model.config.skiplist_token_ids is not None:
        ids = new.get_vocab()
        pieces = old.convert_ids_to_tokens(list(model.config.skiplist_token_ids))
        model.config.skiplist_token_ids = sorted(ids[piece] for piece in pieces if piece in ids)


def _with_special_markers(processor: OpticalProcessor) -> PreTrainedTokenizerBase:
    """The tokenizer, its markers special, so that a new vocabulary has them too: ColBERT's [unused0] is an ordinary piece."""
    config = processor.config
    wanted = (config.query_marker, config.document_marker, config.expansion_token)
    ordinary = [token for token in wanted if token is not None and token not in processor.tokenizer.all_special_tokens]
    if not ordinary:
        return processor.tokenizer
    tokenizer = copy.deepcopy(processor.tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": ordinary}, replace_extra_special_tokens=False)
    return tokenizer
