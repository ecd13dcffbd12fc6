"""A tokenizer that keeps all its pieces and ids and gets more pieces, for another language."""

from __future__ import annotations

import copy
import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .pieces import encode, model_words, vocabulary_size

# A learnt piece must occur this often to be worth an embedding row.
_FEWEST_OCCURRENCES = 2
# Where old pieces are symbols of the learner: planes without white space or combining characters, 900,000 places.
_FIRST_SYMBOL = 0x20000
# An accent belongs to the language if this share of its words has it.
_ACCENT_SHARE = 0.001
_MOST_ROUNDS = 20


@dataclass(frozen=True)
class _NewPiece:
    """A piece to add, the two it is merged from (None for a character), and its share of the text's tokens."""

    text: str
    parts: tuple[str, str] | None
    share: float


def extend_tokenizer(
    old: PreTrainedTokenizerBase, texts: Sequence[str], sources: Sequence[str], size: int
) -> tuple[PreTrainedTokenizerFast, int]:
    """Appends pieces for another language; every old piece keeps its id.

    The new pieces are learnt by byte-pair merges over the pieces that the old tokenizer cuts the words into, so that they are
    used. They are added as its kind asks for: WordPiece takes the longest piece that fits; byte-pair encoding gets the merges
    after the old ones, and words whose merges would not come about as whole words; Unigram gets their log probability in
    `texts`. Pieces that occur in `sources` are left out, until the sources are cut exactly as before.

    Args:
        old: a fast tokenizer of the kind WordPiece, BPE or Unigram.
        texts: texts of the new language.
        sources: texts of the language that must stay as it is.
        size: pieces to learn; fewer are added if some of them occur in the sources.

    Returns:
        The tokenizer, and how many learnt pieces were left out.

    Raises:
        ValueError: for a tokenizer of another kind.
    """
    backend = copy.deepcopy(old.backend_tokenizer)
    if not isinstance(backend.model, (models.WordPiece, models.BPE, models.Unigram)):
        raise ValueError(
            f"vocabulary.mode 'add' knows WordPiece, BPE and Unigram tokenizers; this one is {type(backend.model).__name__}. "
            "Use mode 'replace'."
        )
    backend.no_truncation()
    backend.no_padding()
    accents: list[str] = []
    if _strips_accents(backend.normalizer):
        accents = _accents_of(texts)
        backend.normalizer = _stripping_others(backend.normalizer, accents)
    words = model_words(backend, texts)
    characters = _missing_characters(backend, words, accents)
    first = vocabulary_size(old)
    learnt = _learn(_with_pieces(backend, characters, first), words, size)
    known = set(backend.get_vocab())
    learnt = [piece for piece in learnt if piece.text not in known]
    pieces = _without_intruders(backend, characters, learnt, first, old, sources)
    tokenizer = _with_pieces(backend, pieces, first)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=old.model_max_length, **old.special_tokens_map)
    return fast, len(characters) + len(learnt) - len(pieces)


def _without_intruders(
    backend: Tokenizer,
    characters: list[_NewPiece],
    learnt: list[_NewPiece],
    first: int,
    old: PreTrainedTokenizerBase,
    sources: Sequence[str],
) -> list[_NewPiece]:
    """The pieces without those that cut the source side in another way than before."""
    before = encode(old, sources)
    pieces = [*characters, *learnt]
    changing = list(range(len(sources)))
    for _ in range(_MOST_ROUNDS):
        tokenizer = _with_pieces(backend, pieces, first)
        intruders: set[str] = set()
        still = []
        encoded = tokenizer.encode_batch([sources[i] for i in changing], add_special_tokens=False)
        for index, encoding in zip(changing, encoded, strict=True):
            if encoding.ids != before[index]:
                # Only learnt pieces: a character that the old vocabulary could not spell is a gain on both sides.
                found = {token for token, i in zip(encoding.tokens, encoding.ids, strict=True) if i >= first}
                intruders |= found
                still.append(index)
        intruders -= {piece.text for piece in characters}
        if not intruders:
            return pieces
        pieces = [piece for piece in pieces if piece.text not in intruders]
        changing = still  # a text that no new piece touches is not touched by fewer of them
    return pieces


def _missing_characters(backend: Tokenizer, words: Counter, accents: list[str]) -> list[_NewPiece]:
    """Characters of the language that the vocabulary lacks, alone and, for WordPiece, within words."""
    vocabulary = backend.get_vocab()
    counts: Counter = Counter()
    for word, count in words.items():
        for character in word:
            counts[character] += count
    for accent in accents:  # a letter with an accent that is kept must not become unknown, whatever text it is in
        for letter in "abcdefghijklmnopqrstuvwxyz":
            composed = unicodedata.normalize("NFC", letter + accent)
            if len(composed) == 1:
                counts.setdefault(composed, 0)
    total = max(counts.total(), 1)
    shares = [(character, count / total) for character, count in sorted(counts.items())]
    pieces = [_NewPiece(c, None, share) for c, share in shares if c not in vocabulary]
    if isinstance(backend.model, models.WordPiece):
        pieces += [_NewPiece(f"##{c}", None, share) for c, share in shares if f"##{c}" not in vocabulary]
    return pieces


def _learn(backend: Tokenizer, words: Counter, size: int) -> list[_NewPiece]:
    """The most frequent merges of neighbouring pieces, in the order they are found."""
    symbols: dict[str, str] = {}
    spelled: dict[str, str] = {}  # word to symbols
    for word in sorted(words):
        pieces = [token.value for token in backend.model.tokenize(word)]
        if "".join(pieces).replace("##", "") != word.replace("##", ""):
            continue  # a word with something unknown in it
        spelled[word] = "".join(symbols.setdefault(piece, chr(_FIRST_SYMBOL + len(symbols))) for piece in pieces)
    piece_of = {symbol: piece for piece, symbol in symbols.items()}
    learner = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=len(symbols) + size, min_frequency=_FEWEST_OCCURRENCES, show_progress=False, special_tokens=[]
    )
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(_repeated(spelled, words), trainer)
    described = json.loads(learner.to_str())["model"]
    counts = _piece_counts(learner, spelled, words)
    total = max(counts.total(), 1)
    continuing = isinstance(backend.model, models.WordPiece)

    def text(symbol_string: str) -> str:
        pieces = [piece_of[symbol] for symbol in symbol_string]
        if continuing:
            pieces = [pieces[0], *(piece.removeprefix("##") for piece in pieces[1:])]
        return "".join(pieces)

    found: dict[str, _NewPiece] = {}
    for merge in described["merges"]:
        left, right = merge if isinstance(merge, list) else merge.split(" ")
        merged = text(left + right)
        found.setdefault(merged, _NewPiece(merged, (text(left), text(right)), counts[left + right] / total))
    return list(found.values())


def _repeated(spelled: dict[str, str], words: Counter) -> Iterator[str]:
    for word, symbols in spelled.items():
        yield " ".join([symbols] * words[word])


def _piece_counts(learner: Tokenizer, spelled: dict[str, str], words: Counter) -> Counter:
    counts: Counter = Counter()
    for word, symbols in spelled.items():
        for token in learner.model.tokenize(symbols):
            counts[token.value] += words[word]
    return counts


def _with_pieces(backend: Tokenizer, pieces: Sequence[_NewPiece], first: int) -> Tokenizer:
    """The tokenizer with more pieces, from id `first` on."""
    described = json.loads(backend.to_str())
    model = described["model"]
    added = {token["content"]: token["id"] for token in described["added_tokens"]}
    if isinstance(backend.model, models.Unigram):
        _add_to_unigram(model, added, pieces, first)
    else:
        # Added tokens have ids behind the pieces: there they stay, and no hole is left.
        model["vocab"] |= {content: index for content, index in added.items() if content not in model["vocab"]}
        model["vocab"] |= {piece.text: first + place for place, piece in enumerate(pieces)}
        if isinstance(backend.model, models.BPE):
            _add_merges(model, pieces)
    return Tokenizer.from_str(json.dumps(described))


def _add_merges(model: dict[str, Any], pieces: Sequence[_NewPiece]) -> None:
    for piece in pieces:
        # Where one of its parts was left out, a piece is found as a whole word only.
        if piece.parts is not None and all(part in model["vocab"] for part in piece.parts):
            model["merges"].append(list(piece.parts))
    model["ignore_merges"] = True


def _add_to_unigram(model: dict[str, Any], added: dict[str, int], pieces: Sequence[_NewPiece], first: int) -> None:
    vocabulary: list[list[Any]] = model["vocab"]
    behind = {index: content for content, index in added.items()}
    while len(vocabulary) < first:
        if len(vocabulary) not in behind:
            raise ValueError(f"the tokenizer has no piece with the id {len(vocabulary)}; use vocabulary.mode 'replace'.")
        vocabulary.append([behind[len(vocabulary)], 0.0])
    score = dict(map(tuple, vocabulary))
    lowest = min(score.values())
    for piece in pieces:
        value = math.log(piece.share) if piece.share else lowest
        if piece.parts is not None:
            # A piece must be likelier than its parts in a row, or it would never be chosen.
            value = max(value, sum(score.get(part, lowest) for part in piece.parts) + 1e-3)
        score[piece.text] = min(value, -1e-3)
        vocabulary.append([piece.text, score[piece.text]])


def _strips_accents(normalizer: Any) -> bool:
    if not isinstance(normalizer, normalizers.BertNormalizer):
        return False
    return normalizer.strip_accents is True or (normalizer.strip_accents is None and normalizer.lowercase)


def _accents_of(texts: Sequence[str]) -> list[str]:
    """Combining marks that the language uses: to strip those of Devanagari would strip its vowels."""
    counts: Counter = Counter()
    words = 0
    for text in texts:
        parts = text.split()
        words += len(parts)
        for part in parts:
            counts.update({c for c in unicodedata.normalize("NFD", part) if unicodedata.category(c) == "Mn"})
    return sorted(mark for mark, count in counts.items() if count >= _ACCENT_SHARE * words)


def _stripping_others(normalizer: Any, accents: list[str]) -> Any:
    """A normalizer that strips accents as before, but for those of the language."""
    kept = "".join(f"\\x{{{ord(mark):x}}}" for mark in accents)
    pattern = f"[\\p{{Mn}}&&[^{kept}]]" if kept else "\\p{Mn}"
    rest = normalizers.BertNormalizer(
        clean_text=normalizer.clean_text,
        handle_chinese_chars=normalizer.handle_chinese_chars,
        strip_accents=False,
        lowercase=normalizer.lowercase,
    )
    return normalizers.Sequence([normalizers.NFD(), normalizers.Replace(Regex(pattern), ""), normalizers.NFC(), rest])
