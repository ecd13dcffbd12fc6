"""A tokenizer of the backbone's own kind, trained anew on another language."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .options import VocabularyOptions


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
    else:
        backend = old.train_new_from_iterator(iter(texts), options.size, show_progress=False).backend_tokenizer
    # The plain class loads tokenizer.json as it is; a model's own class would build its own normalizer again.
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=old.model_max_length, **old.special_tokens_map)


def _train_word_pieces(old: PreTrainedTokenizerBase, texts: Sequence[str], options: VocabularyOptions) -> Tokenizer:
    """WordPiece pieces, learnt as byte-pair merges over words that start with a boundary mark.

    The library's own WordPiece trainer numbers its continuation characters in the order of a hash map, so that two runs break
    ties differently; this way two runs give the same vocabulary.
    """
    learner = Tokenizer(models.BPE())
    learner.normalizer = old.backend_tokenizer.normalizer
    mark = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    learner.pre_tokenizer = pre_tokenizers.Sequence([old.backend_tokenizer.pre_tokenizer, mark])
    learner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=options.size, min_frequency=1, show_progress=False))
    learnt = learner.get_vocab()
    pieces = [
        p.removeprefix("▁") if p.startswith("▁") else f"##{p}" for p in sorted(learnt, key=learnt.__getitem__) if p != "▁"
    ]
    special = old.all_special_tokens
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys([*special, *pieces]))}
    for piece in _extra_word_pieces(vocabulary, old.get_vocab(), options.keep_words_of_length):
        vocabulary[piece] = len(vocabulary)
    described = json.loads(old.backend_tokenizer.to_str())
    described["model"]["vocab"] = vocabulary
    for token in described["added_tokens"]:
        token["id"] = vocabulary.setdefault(token["content"], len(vocabulary))
    for token in ((described["post_processor"] or {}).get("special_tokens") or {}).values():
        token["ids"] = [vocabulary[name] for name in token["tokens"]]
    return Tokenizer.from_str(json.dumps(described))


def _extra_word_pieces(new: dict[str, int], old: dict[str, int], keep_words_of_length: int | None) -> list[str]:
    characters = {c for piece in new for c in piece.removeprefix("##") if len(piece.removeprefix("##")) == 1}
    characters |= {chr(code) for code in range(33, 127) if not chr(code).isupper()}
    wanted = sorted(characters) + [f"##{c}" for c in sorted(characters)]
    if keep_words_of_length is not None:
        by_id = sorted(old, key=old.__getitem__)
        wanted += [piece for piece in by_id if piece.isalpha() and len(piece) >= keep_words_of_length]
    return [piece for piece in dict.fromkeys(wanted) if piece not in new]
