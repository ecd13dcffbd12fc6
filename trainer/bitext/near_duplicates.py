"""Training pairs that repeat a test collection, found by the word sequences that they share with it."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import regex

from modeling_optical.encoding.normal_forms import caseless

# Scripts without spaces between words are cut into characters.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_TOKEN = regex.compile(rf"(?V1)[{_UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+")
# From here on, a text that stands within a longer one counts as its repetition; shorter ones are everyday phrases.
_FEWEST_TOKENS_CONTAINED = 8


@dataclass
class NearDuplicateOptions:
    """When a training text counts as a repetition of a test text.

    Args:
        share: smallest share of common word sequences. It is a share of the shorter text's if both texts have 8 words or more
            (so a sentence of a passage counts), else of the longer text's.
        words: length of the sequences; characters for scripts without spaces.
        documents: check against the documents of collections and the choices of questions, too, not only against queries and
            questions.
    """

    share: float = 0.7
    words: int = 3
    documents: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"near_duplicates.share is {self.share!r}; it is a share above 0, at most 1.")
        if isinstance(self.words, bool) or self.words < 1:
            raise ValueError(f"near_duplicates.words is {self.words!r}; it must be a whole number of at least 1.")


class NearDuplicateIndex:
    """Test texts by their word sequences. Exact: no sampling, no missed duplicate.

    Memory: about 100 bytes per distinct word sequence of the test texts.

    Args:
        options: see `NearDuplicateOptions`.
    """

    def __init__(self, options: NearDuplicateOptions | None = None):
        self.options = options or NearDuplicateOptions()
        self._texts: list[tuple[str, int, int]] = []  # name, tokens, sequences
        self._holders: dict[bytes, int | list[int]] = {}
        self._known: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._texts)

    def add(self, text: str, name: str) -> None:
        """Adds a test text; `name` says where it comes from."""
        tokens = _tokens(text)
        whole = _digest(tokens)
        if not tokens or whole in self._known:
            return
        self._known.add(whole)
        sequences = self._sequences(tokens)
        index = len(self._texts)
        self._texts.append((name, len(tokens), len(sequences)))
        for sequence in sequences:
            holders = self._holders.get(sequence)
            if holders is None:
                self._holders[sequence] = index  # mostly the only one: no list
            elif isinstance(holders, int):
                self._holders[sequence] = [holders, index]
            else:
                holders.append(index)

    def find(self, text: str) -> str | None:
        """Name of the test text that a text repeats, the most similar if there are several; None if there is none."""
        tokens = _tokens(text)
        if not tokens:
            return None
        sequences = self._sequences(tokens)
        shared: Counter = Counter()
        for sequence in sequences:
            holders = self._holders.get(sequence)
            if holders is not None:
                shared.update((holders,) if isinstance(holders, int) else holders)
        best, found = 0.0, None
        for index, count in shared.items():
            name, length, size = self._texts[index]
            contained = min(length, len(tokens)) >= _FEWEST_TOKENS_CONTAINED
            share = count / (min if contained else max)(size, len(sequences))
            if share >= self.options.share and share > best:
                best, found = share, name
        return found

    def _sequences(self, tokens: list[str]) -> set[bytes]:
        width = min(self.options.words, len(tokens))
        # A text below that many words is one sequence, which no longer text has: its length identifies it.
        prefix = [] if width == self.options.words else [f"<{width}>"]
        return {_digest([*prefix, *tokens[i : i + width]]) for i in range(len(tokens) - width + 1)}


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(caseless(text))


def _digest(tokens: list[str]) -> bytes:
    return hashlib.blake2b("\0".join(tokens).encode("utf-8", "replace"), digest_size=8).digest()
