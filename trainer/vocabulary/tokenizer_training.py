"""A tokenizer of the backbone's own kind, trained anew on another language."""

from __future__ import annotations

import copy
import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .options import VocabularyOptions
from .pieces import model_words

_UNIGRAM_ROUNDS = 3


def train_tokenizer(old: PreTrainedTokenizerBase, texts: Sequence[str], options: VocabularyOptions) -> PreTrainedTokenizerFast:
    """A tokenizer of the same kind and special tokens as `old`, its pieces learnt on `texts`.

    Accents are kept whatever the old one did: to strip combining marks would strip the vowels of Devanagari. For WordPiece,
    every printable ASCII character stays spellable, and long whole words of the old vocabulary stay in.
    """
    old = copy.deepcopy(old)
    backend = old.backend_tokenizer
    if isinstance(backend.normalizer, normalizers.BertNormalizer):
        lowercase = backend.normalizer.lowercase
        backend.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.BertNormalizer(strip_accents=False, lowercase=lowercase)]
        )
    backend.no_truncation()
    backend.no_padding()
    if isinstance(backend.model, models.WordPiece):
        backend = _train_word_pieces(old, texts, options)
    elif isinstance(backend.model, models.Unigram):
        backend = _train_unigram(old, texts, options)
    else:
        backend = old.train_new_from_iterator(iter(texts), options.size, show_progress=False).backend_tokenizer
    # The plain class loads tokenizer.json as it is; a model's class would build its normalizer again.
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=old.model_max_length, **old.special_tokens_map)


def _train_word_pieces(old: PreTrainedTokenizerBase, texts: Sequence[str], options: VocabularyOptions) -> Tokenizer:
    """WordPiece pieces, learnt as byte-pair merges over words that start with a boundary mark.

    The library's own WordPiece trainer numbers its continuation characters in the order of a hash map, so that two runs break
    ties differently; this way two runs give the same vocabulary.
    """
    mark = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    learnt = _learn_merges(old, texts, options, [mark]).get_vocab()
    pieces = [
        p.removeprefix("▁") if p.startswith("▁") else f"##{p}" for p in sorted(learnt, key=learnt.__getitem__) if p != "▁"
    ]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys([*_special_tokens(old), *pieces]))}
    for piece in _extra_word_pieces(vocabulary, old.get_vocab(), options):
        vocabulary[piece] = len(vocabulary)
    described = json.loads(old.backend_tokenizer.to_str())
    described["model"]["vocab"] = vocabulary
    renumber(described, vocabulary)
    return Tokenizer.from_str(json.dumps(described))


def _train_unigram(old: PreTrainedTokenizerBase, texts: Sequence[str], options: VocabularyOptions) -> Tokenizer:
    """Unigram pieces, learnt as byte-pair merges, with log probabilities from their counts in likeliest segmentations.

    The library's own Unigram trainer sums in the order of a hash map, so two runs end with other probabilities and another
    order of the pieces. This way two runs give the same.
    """
    learner = _learn_merges(old, texts, options, [])
    learnt = learner.get_vocab()
    special = _special_tokens(old)
    pieces = [piece for piece in sorted(learnt, key=learnt.__getitem__) if piece not in special]
    described = json.loads(old.backend_tokenizer.to_str())
    numbers = {piece: index for index, piece in enumerate([*special, *pieces])}
    renumber(described, numbers)
    words = model_words(old.backend_tokenizer, texts)
    model: models.Model = learner.model
    for _ in range(_UNIGRAM_ROUNDS):
        counts = Counter(dict.fromkeys(pieces, 0))
        for word, count in words.items():
            for token in model.tokenize(word):
                counts[token.value] += count
        total = math.log(counts.total() or 1)
        # A piece that no segmentation needs stays possible: it is half as likely as one that occurs once.
        scores = [(piece, math.log(counts[piece] or 0.5) - total) for piece in pieces]
        vocabulary = [*((token, 0.0) for token in special), *scores]
        vocabulary += [(token, 0.0) for token in list(numbers)[len(vocabulary) :]]
        described["model"] |= {"vocab": vocabulary, "unk_id": numbers[old.unk_token]}
        tokenizer = Tokenizer.from_str(json.dumps(described))
        model = tokenizer.model
    return tokenizer


def _learn_merges(
    old: PreTrainedTokenizerBase, texts: Sequence[str], options: VocabularyOptions, marks: list[pre_tokenizers.PreTokenizer]
) -> Tokenizer:
    """Byte-pair encoding, learnt on texts that are normalised and split as the old tokenizer does."""
    learner = Tokenizer(models.BPE())
    backend = old.backend_tokenizer
    if backend.normalizer is not None:
        learner.normalizer = backend.normalizer
    learner.pre_tokenizer = pre_tokenizers.Sequence([*([backend.pre_tokenizer] if backend.pre_tokenizer else []), *marks])
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=options.size, min_frequency=1, show_progress=False))
    return learner


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """In the order of their ids: RoBERTa counts positions from the id of padding on, so that one must stay."""
    return sorted(tokenizer.all_special_tokens, key=tokenizer.convert_tokens_to_ids)


def renumber(described: dict[str, Any], numbers: dict[str, int]) -> None:
    """Gives added tokens and the template of special tokens their new ids; tokens without an id get the next one."""
    for token in described["added_tokens"]:
        token["id"] = numbers.setdefault(token["content"], len(numbers))
    template = described["post_processor"] or {}
    for token in (template.get("special_tokens") or {}).values():
        token["ids"] = [numbers[name] for name in token["tokens"]]
    for name in ("cls", "sep"):  # of the processors of BERT and RoBERTa
        if name in template:
            template[name] = [template[name][0], numbers[template[name][0]]]


def _extra_word_pieces(new: dict[str, int], old: dict[str, int], options: VocabularyOptions) -> list[str]:
    characters = {c for piece in new for c in piece.removeprefix("##") if len(piece.removeprefix("##")) == 1}
    characters |= {chr(code) for code in range(33, 127) if not chr(code).isupper()}
    wanted = sorted(characters) + [f"##{c}" for c in sorted(characters)]
    by_id = sorted(old, key=old.__getitem__)
    if options.keep_words_of_length is not None:
        wanted += [piece for piece in by_id if piece.isalpha() and len(piece) >= options.keep_words_of_length]
    if options.keep_pieces:
        wanted += [piece for piece in by_id if piece.removeprefix("##").isalnum()]
    return [piece for piece in dict.fromkeys(wanted) if piece not in new]
