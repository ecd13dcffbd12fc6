"""A vocabulary for a language that the backbone spells in fragments: tokenizer, translation table, embedding transfer."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging

from modeling_optical import OpticalModel, OpticalProcessor

logger = logging.get_logger(__name__)

# Token pairs that one EM run holds; beyond it a seeded sample of the bitext is used. 12 bytes each.
_MOST_LINKS = 40_000_000


@dataclass
class VocabularyOptions:
    """How a vocabulary is adapted (METHOD §5).

    Args:
        size: pieces of the new tokenizer, learnt on the target side of the bitext.
        keep_words_of_length: whole words of the old vocabulary with at least so many letters stay in (loan words, names);
            None keeps none. For WordPiece tokenizers.
        iterations: rounds of expectation maximisation for the translation table.
        translations_per_piece: the most translations that a new row is averaged from.
        smallest_share: translations below this share of the best one are left out.
        prefer: `"translation"` starts a piece that the old vocabulary has too from its translations where there are any,
            `"old"` from its old row.
    """

    size: int = 8000
    keep_words_of_length: int | None = 4
    iterations: int = 8
    translations_per_piece: int = 8
    smallest_share: float = 0.03
    prefer: str = "translation"

    def __post_init__(self) -> None:
        if self.prefer not in ("translation", "old"):
            raise ValueError(f"vocabulary.prefer is {self.prefer!r}; allowed: 'translation', 'old'.")
        for name in ("size", "iterations", "translations_per_piece"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"vocabulary.{name} is {value!r}; it must be a whole number of at least 1.")
        if not 0 <= self.smallest_share <= 1:
            raise ValueError(f"vocabulary.smallest_share is {self.smallest_share!r}; it is a share from 0 to 1.")


@dataclass
class TranslationTable:
    """`p(e | f)`: how likely a source piece translates a target piece.

    Attributes:
        probabilities: sparse (target vocabulary, source vocabulary); rows sum to at most 1 (the rest went to no word).
    """

    probabilities: scipy.sparse.csr_matrix

    def lookup(self, target_ids: torch.Tensor, source_ids: torch.Tensor) -> torch.Tensor:
        """Probabilities between two texts: (target tokens,) and (source tokens,) ids to (target tokens, source tokens)."""
        rows = self.probabilities[target_ids.numpy()]
        return torch.from_numpy(rows[:, source_ids.numpy()].toarray()).float()

    def save(self, path: str | os.PathLike) -> None:
        """Writes the table as a sparse npz file."""
        scratch = Path(path).with_suffix(".tmp.npz")
        scipy.sparse.save_npz(scratch, self.probabilities)
        os.replace(scratch, path)

    @classmethod
    def load(cls, path: str | os.PathLike) -> TranslationTable:
        """Reads a table; nothing in the file is executed."""
        return cls(scipy.sparse.load_npz(path).tocsr())


@dataclass
class VocabularyReport:
    """Where the rows of an adapted vocabulary come from, and what it does to the length of texts.

    Attributes:
        size: pieces in the new vocabulary.
        from_translation, from_old, from_spelling: rows by origin.
        tokens_per_word_before, tokens_per_word_after: over the target side of the bitext.
    """

    size: int
    from_translation: int
    from_old: int
    from_spelling: int
    tokens_per_word_before: float
    tokens_per_word_after: float

    def __str__(self) -> str:
        return (
            f"vocabulary of {self.size:,} pieces; rows from translations {self.from_translation:,}, kept "
            f"{self.from_old:,}, from spelling {self.from_spelling:,}; tokens per word {self.tokens_per_word_before:.2f} "
            f"-> {self.tokens_per_word_after:.2f}"
        )


def unknown_share(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Share of the tokens of these texts that are the unknown token: what the vocabulary cannot spell."""
    if tokenizer.unk_token_id is None or not len(texts):
        return 0.0
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    total = sum(len(ids) for ids in encoded)
    return sum(ids.count(tokenizer.unk_token_id) for ids in encoded) / max(total, 1)


def adapt_vocabulary(
    model: OpticalModel, sources: Sequence[str], targets: Sequence[str], options: VocabularyOptions | None = None
) -> tuple[VocabularyReport, TranslationTable]:
    """Gives a model a tokenizer for the language of `targets` and an embedding matrix to go with it, in place.

    Rows start from the translation-weighted mean of old rows, from the old row of the same piece, or from the mean of the old
    pieces that spell it; never from noise.

    Args:
        model: a student with its processor; `sources` are in a language that it knows.
        sources: (pairs,) texts.
        targets: (pairs,) their translations.
        options: see `VocabularyOptions`.

    Returns:
        A report, and the translation table from new pieces to old ones.

    Raises:
        ValueError: if there is no pair, or the tokenizer cannot be trained (a slow tokenizer without a backend).
    """
    options = options or VocabularyOptions()
    sources, targets = list(sources), list(targets)
    if not targets or len(sources) != len(targets):
        raise ValueError(f"vocabulary adaptation needs pairs; got {len(sources)} sources and {len(targets)} targets.")
    processor = model.get_processor()
    old = _with_special_markers(processor)
    if not getattr(old, "is_fast", False):
        raise ValueError(
            f"the tokenizer {type(old).__name__} cannot be trained anew: only tokenizers of the tokenizers library can. "
            "Leave `vocabulary` out of the recipe, or start from a backbone with such a tokenizer."
        )
    new = train_tokenizer(old, targets, options)
    target_ids = _encode(new, targets)
    source_ids = _encode(old, sources)
    new_words, old_words = _word_pieces(new), _word_pieces(old)
    target_pieces = [[i for i in ids if new_words[i]] for ids in target_ids]
    source_pieces = [[i for i in ids if old_words[i]] for ids in source_ids]
    sizes = (len(new), len(old), options.iterations)
    table = ibm_model_1(target_pieces, source_pieces, *sizes)
    if recut := _recut(new):
        below = [[part for i in ids for part in recut.get(i, [i])] for ids in target_pieces]
        # A piece that the old vocabulary has and the bitext never uses keeps its old row.
        known = old.get_vocab()
        lacking = np.array([piece not in known for piece in new.convert_ids_to_tokens(range(len(new)))])
        table = _fill_empty_rows(table, ibm_model_1(below, source_pieces, *sizes), lacking)
    words = max(sum(len(text.split()) for text in targets), 1)
    before = sum(map(len, _encode(old, targets))) / words
    after = sum(map(len, target_ids)) / words
    embeddings = model.get_input_embeddings()
    matrix, counts = _transfer_rows(old, new, new_words, embeddings.weight.detach(), table, options)
    _replace_embeddings(model, new, matrix)
    if model.config.skiplist_token_ids is not None:
        # Ids of the old vocabulary: the same pieces have others now.
        vocabulary, pieces = new.get_vocab(), old.convert_ids_to_tokens(model.config.skiplist_token_ids)
        model.config.skiplist_token_ids = sorted(vocabulary[piece] for piece in pieces if piece in vocabulary)
    model.processor = OpticalProcessor(new, model.config)
    return VocabularyReport(len(new), *counts, before, after), TranslationTable(table)


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


def _recut(tokenizer: PreTrainedTokenizerBase) -> dict[int, list[int]]:
    """For every WordPiece that is a whole word, the pieces that would spell it if it were not in the vocabulary.

    Words of the bitext are mostly pieces of their own, so the pieces below them hardly occur in it, although unseen words are
    made of them.
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


def _extra_word_pieces(new: dict[str, int], old: dict[str, int], keep_words_of_length: int | None) -> list[str]:
    characters = {c for piece in new for c in piece.removeprefix("##") if len(piece.removeprefix("##")) == 1}
    characters |= {chr(code) for code in range(33, 127) if not chr(code).isupper()}
    wanted = sorted(characters) + [f"##{c}" for c in sorted(characters)]
    if keep_words_of_length is not None:
        by_id = sorted(old, key=old.__getitem__)
        wanted += [piece for piece in by_id if piece.isalpha() and len(piece) >= keep_words_of_length]
    return [piece for piece in dict.fromkeys(wanted) if piece not in new]


def ibm_model_1(
    targets: Sequence[Sequence[int]],
    sources: Sequence[Sequence[int]],
    target_size: int,
    source_size: int,
    iterations: int = 8,
    seed: int = 0,
) -> scipy.sparse.csr_matrix:
    """Translation probabilities `p(e | f)` of source pieces e given target pieces f (Brown et al. 1993, Model 1).

    Every source piece is generated by one target piece of its pair or by the empty word, whose share is left out of the result.

    Args:
        targets: for each pair, the ids of the target pieces.
        sources: for each pair, the ids of the source pieces.
        target_size, source_size: sizes of the vocabularies.
        iterations: rounds of expectation maximisation, from uniform probabilities.
        seed: of the sample that is taken where the pairs have too many links to hold at once.

    Returns:
        Sparse (target_size, source_size).
    """
    links = np.array([(len(f) + 1) * len(e) for f, e in zip(targets, sources, strict=True)], dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(links)) if links.sum() > _MOST_LINKS else np.arange(len(links))
    order = order[np.cumsum(links[order]) <= _MOST_LINKS]
    if len(order) < len(links):
        logger.warning(f"translation table: {len(order):,} of {len(links):,} pairs are used, to bound memory.")
    empty_word = target_size
    keys, slots, slot = [], [], 0
    for index in order:
        e = np.asarray(sources[index], dtype=np.int64)
        f = np.asarray([*targets[index], empty_word], dtype=np.int64)
        keys.append((f[None, :] * source_size + e[:, None]).ravel())
        slots.append(np.repeat(np.arange(slot, slot + len(e), dtype=np.int32), len(f)))
        slot += len(e)
    if not slot:
        return scipy.sparse.csr_matrix((target_size, source_size))
    pairs, entry = np.unique(np.concatenate(keys), return_inverse=True)
    slot_of_link = np.concatenate(slots)
    del keys, slots
    entry = entry.astype(np.int32)
    row, column = pairs // source_size, pairs % source_size
    probability = np.ones(len(pairs))
    for _ in range(iterations):
        weight = probability[entry]
        weight /= np.bincount(slot_of_link, weight, minlength=slot)[slot_of_link]
        count = np.bincount(entry, weight, minlength=len(pairs))
        probability = count / np.bincount(row, count, minlength=empty_word + 1)[row]
    kept = (row != empty_word) & (probability > 1e-4)
    shape = (target_size, source_size)
    return scipy.sparse.csr_matrix((probability[kept], (row[kept], column[kept])), shape=shape)


def _fill_empty_rows(
    table: scipy.sparse.csr_matrix, other: scipy.sparse.csr_matrix, allowed: np.ndarray
) -> scipy.sparse.csr_matrix:
    """Rows of `other` where `table` has none and `allowed` is True."""
    filled = scipy.sparse.diags(((np.diff(table.indptr) == 0) & allowed).astype(float))
    return (table + filled @ other).tocsr()


def _encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    return tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]


def _piece_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What each piece spells, without the marks of its tokenizer."""
    texts = [""] * len(tokenizer)
    special = set(tokenizer.all_special_ids)
    for piece, index in tokenizer.get_vocab().items():
        if index not in special:
            text = piece if piece.isascii() else tokenizer.convert_tokens_to_string([piece])
            texts[index] = text.removeprefix("##").strip("▁Ġ ")
    return texts


def _word_pieces(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """(vocabulary,) bool: pieces with a letter or mark in them, which have translations; special tokens do not."""
    return np.array([any(c.isalpha() for c in text) for text in _piece_texts(tokenizer)])


def _transfer_rows(
    old: PreTrainedTokenizerBase,
    new: PreTrainedTokenizerBase,
    is_word: np.ndarray,
    embeddings: torch.Tensor,
    table: scipy.sparse.csr_matrix,
    options: VocabularyOptions,
) -> tuple[torch.Tensor, tuple[int, int, int]]:
    """The new embedding matrix (new vocabulary, hidden), and how many rows came from translations, old rows and spelling."""
    old_vocabulary = old.get_vocab()
    embeddings = embeddings.float()
    typical_norm = embeddings.norm(dim=1).median()
    matrix = torch.empty(len(new), embeddings.shape[1])
    texts = _piece_texts(new)
    specials = _special_ids(old, new)
    counts = [0, 0, 0]
    for piece, index in new.get_vocab().items():
        old_index = specials.get(index, old_vocabulary.get(piece))
        translated = bool(is_word[index]) and table.indptr[index] < table.indptr[index + 1]
        if index in specials or (old_index is not None and not (translated and options.prefer == "translation")):
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


def _replace_embeddings(model: OpticalModel, tokenizer: PreTrainedTokenizerBase, matrix: torch.Tensor) -> None:
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
