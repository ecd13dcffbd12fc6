"""A tokenizer without the pieces that some texts do not need: multilingual vocabularies are mostly about other languages."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from modeling_optical.encoding.batching import batched

from .pieces import encode, piece_texts
from .tokenizer_training import renumber

_TEXTS_AT_ONCE = 4096


def trim_tokenizer(
    old: PreTrainedTokenizerBase, texts: Sequence[str], scripts: Collection[str] = ()
) -> PreTrainedTokenizerFast:
    """The tokenizer with the pieces of these texts only; it cuts them exactly as before.

    Every single character of the texts' scripts stays, too, so that a new word can be spelled. The pieces keep their order, so
    that the special tokens in front keep their ids.

    Args:
        old: a fast tokenizer of the kind WordPiece, BPE or Unigram.
        texts: texts of all languages that the model has to read.
        scripts: keep every piece of these scripts, such as `latin` or `devanagari`: the first word of their letters' names in
            Unicode.

    Raises:
        ValueError: for a tokenizer of another kind, or a script that no piece is written in.
    """
    backend = old.backend_tokenizer
    if not isinstance(backend.model, (models.WordPiece, models.BPE, models.Unigram)):
        raise ValueError(f"WordPiece, BPE and Unigram tokenizers can be trimmed; this one is {type(backend.model).__name__}.")
    described = json.loads(backend.to_str())
    model = described["model"]
    vocabulary = old.get_vocab()
    kept = {piece for piece, index in vocabulary.items() if index in set(old.all_special_ids)}
    kept |= {token["content"] for token in described["added_tokens"]} | {old.unk_token}
    kept |= _pieces_of(old, texts) | _pieces_of_scripts(old, texts, scripts)
    if isinstance(backend.model, models.BPE):
        kept |= {piece for piece in vocabulary if len(piece) == 1}  # the bytes, of which everything else is made
        model["merges"] = _merges_of(model["merges"], kept)
    order = sorted((piece for piece in kept if piece in vocabulary), key=vocabulary.__getitem__)
    numbers = {piece: index for index, piece in enumerate(order)}
    if isinstance(backend.model, models.Unigram):
        scores = dict(map(tuple, model["vocab"]))
        model["vocab"] = [[piece, scores.get(piece, 0.0)] for piece in order]
        model["unk_id"] = numbers[old.unk_token]
    else:
        model["vocab"] = numbers
    described["truncation"] = described["padding"] = None
    renumber(described, numbers)
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(described)),
        model_max_length=old.model_max_length,
        **old.special_tokens_map,
    )


def _pieces_of(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> set[str]:
    used = {index for part in batched(texts, _TEXTS_AT_ONCE) for ids in encode(tokenizer, part) for index in ids}
    return set(tokenizer.convert_ids_to_tokens(sorted(used)))


def _pieces_of_scripts(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], scripts: Collection[str]) -> set[str]:
    """All pieces of the requested scripts, and the single characters of those that the texts are written in."""
    seen = {_script(character) for character in {c for text in texts for c in text}}
    asked = {script.upper() for script in scripts}
    found, kept = set(), set()
    spelled = piece_texts(tokenizer)
    for piece, index in tokenizer.get_vocab().items():
        own = {_script(character) for character in spelled[index] if character.isalpha()} - {""}
        found |= own
        if (len(spelled[index]) == 1 and _script(spelled[index]) in seen) or (own and own <= asked):
            kept.add(piece)
    if missing := sorted(asked - found):
        there = ", ".join(sorted(found)).lower()
        raise ValueError(f"no piece of the vocabulary is written in {missing[0].lower()!r}; it has: {there}.")
    return kept


def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0]


def _merges_of(merges: list[Any], kept: set[str]) -> list[Any]:
    """The merges that the kept pieces are made by; `kept` gets the pieces in between."""
    pairs = [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges]
    parts: dict[str, list[tuple[str, str]]] = {}
    for left, right in pairs:
        parts.setdefault(left + right, []).append((left, right))
    waiting = list(kept)
    while waiting:
        for pair in parts.get(waiting.pop(), ()):
            waiting += [part for part in pair if part not in kept]
            kept.update(pair)
    return [list(pair) for pair in pairs if pair[0] in kept and pair[1] in kept and pair[0] + pair[1] in kept]
