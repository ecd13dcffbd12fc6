"""How a vocabulary is adapted, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..option_checks import check_choice, check_flag, check_whole


@dataclass
class VocabularyOptions:
    """How a vocabulary is adapted (docs/method.md §5).

    Args:
        size: pieces that are learnt on the target side of the bitext.
        mode: `"replace"` gives the student a separate tokenizer, with new ids; `"add"` appends the new pieces to the old
            tokenizer. Every old piece keeps its id and its embedding row. New pieces that would change how the source side of
            the bitext is cut are left out, so a student can still encode the teacher's language. `"trim"` learns nothing: it
            keeps the old pieces that the bitext needs, with their embedding rows, and leaves out those of other languages.
        keep_words_of_length: whole words of the old vocabulary with at least this many letters stay in (loan words, names);
            None keeps none. For WordPiece tokenizers and `mode: replace`.
        keep_pieces: every piece of letters and digits of the old vocabulary stays in, the short ones and those inside words,
            too: a name that the bitext lacks is then cut as the teacher cuts it. For WordPiece tokenizers and `mode: replace`.
        iterations: rounds of expectation maximisation for the translation table.
        translations_per_piece: the most translations that a new embedding row is averaged from.
        smallest_share: translations below this share of the best one are left out.
        prefer: for pieces that the old vocabulary has too: `"translation"` initialises them from their translations where there
            are any, `"old"` from their old embedding rows. For `mode: replace`; added pieces are new.
        scripts: of `mode: trim`: every piece of these scripts stays, such as `latin` or `devanagari`.
    """

    size: int = 8000
    mode: str = "replace"
    keep_words_of_length: int | None = 4
    keep_pieces: bool = False
    iterations: int = 8
    translations_per_piece: int = 8
    smallest_share: float = 0.03
    prefer: str = "translation"
    scripts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        check_choice(self.prefer, "vocabulary.prefer", ("translation", "old"))
        check_choice(self.mode, "vocabulary.mode", ("replace", "add", "trim"))
        if self.mode == "trim":
            self.prefer = "old"
        elif self.scripts:
            raise ValueError("vocabulary.scripts is for vocabulary.mode 'trim'; leave it out.")
        check_flag(self.keep_pieces, "vocabulary.keep_pieces")
        for name in ("size", "iterations", "translations_per_piece"):
            check_whole(getattr(self, name), f"vocabulary.{name}", 1)
        if not 0 <= self.smallest_share <= 1:
            raise ValueError(f"vocabulary.smallest_share is {self.smallest_share!r}; it is a share from 0 to 1.")


@dataclass
class VocabularyReport:
    """Where the rows of an adapted vocabulary come from, and what it does to the length of texts.

    Attributes:
        size: pieces in the new vocabulary.
        from_translation, from_old, from_spelling: rows by origin.
        tokens_per_word_before, tokens_per_word_after: over the target side of the bitext.
        left_out: learnt pieces that were left out because they would cut the source side in another way (`mode: add`).
        by_language: tokens per word before and after, for each language, where several are known.
    """

    size: int
    from_translation: int
    from_old: int
    from_spelling: int
    tokens_per_word_before: float
    tokens_per_word_after: float
    left_out: int = 0
    by_language: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        left_out = f", left out for the source side {self.left_out:,}" if self.left_out else ""
        languages = "".join(f"; {code} {before:.2f} -> {after:.2f}" for code, (before, after) in self.by_language.items())
        return (
            f"vocabulary of {self.size:,} pieces; rows from translations {self.from_translation:,}, kept "
            f"{self.from_old:,}, from spelling {self.from_spelling:,}{left_out}; tokens per word "
            f"{self.tokens_per_word_before:.2f} -> {self.tokens_per_word_after:.2f}{languages}"
        )
