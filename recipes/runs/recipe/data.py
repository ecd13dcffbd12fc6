"""The bitext of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trainer.bitext import (
    BitextSource,
    Cleaning,
    MixtureOptions,
    NearDuplicateOptions,
    ShorteningOptions,
    StreamingOptions,
    check_groups,
    check_temperature,
)
from trainer.vocabulary.code_switching import CodeSwitchingOptions

from ...checked_yaml import unknown_key
from .run import beside


@dataclass
class AnnotationsSource:
    """Names and keywords of emoji and symbols (Unicode CLDR), as bitext and as a collection of held-out names.

    Args:
        path: a JSONL file with a line per concept: `{"id", "en": {"name", "keywords"}, "sw": …}`.
        held_out: share of the concepts that are queries and never trained on.
        validation: use a part of the training concepts as held-out ones instead, to choose settings by.
        seed: of the split by concept.
        license: of the annotations, for the model card.
    """

    path: str
    held_out: float = 0.2
    validation: bool = False
    seed: int = 0
    license: str | None = None


@dataclass
class DataRecipe:
    """The bitext.

    Args:
        bitext: where the pairs come from.
        languages: train on the sources of `bitext` in these languages alone, joined by `+` (`de+fr`); null takes all.
        groups: train on the sources of `bitext` in these groups alone, joined by `+` (`news+stories`); null takes all.
        annotations: names of emoji instead of, or beside, `bitext`.
        held_out: share of the pairs kept for validation, by document where documents are known.
        max_held_out: the most held-out pairs.
        max_training_pairs: train on at most this many pairs, drawn at random by the recipe's seed (a smaller draw is a subset
            of a larger one); null takes all. The held-out pairs stay the same.
        mixture: train on a fixed number of pairs, drawn from groups of sources (`group` of a source) by shares; null takes
            them as they are.
        max_length_ratio: pairs whose lengths in characters differ more are dropped.
        max_characters: longer texts are dropped with their pair.
        script_share: the least share of a text's letters in a script of its language; 0 checks nothing.
        detect_language: drop texts that are surely in another language (extra `langid`).
        near_duplicates: when a pair of `bitext` repeats a text of `evaluation.collections` and is dropped; null keeps all.
        shortened: short pairs that are cut from the training pairs and added to them; null adds none.
        code_switching: pairs of a text and the same text with some words translated, added to the training pairs; the table of
            translations is learnt from these. Null adds none.
        temperature: with several languages, language l is seen with a share of `n_l^(1/temperature)`; 1 changes nothing.
        streaming: read the bitext while training goes on, if it is larger than memory; needs `training.max_steps` and
            `teacher.live`. Null reads it into memory.
    """

    bitext: list[BitextSource] = field(default_factory=list)
    languages: str | None = None
    groups: str | None = None
    annotations: AnnotationsSource | None = None
    held_out: float = 0.02
    max_held_out: int = 1000
    max_training_pairs: int | None = None
    mixture: MixtureOptions | None = None
    max_length_ratio: float = 4.0
    max_characters: int = 2000
    script_share: float = 0.3
    detect_language: bool = False
    near_duplicates: NearDuplicateOptions | None = field(default_factory=NearDuplicateOptions)
    shortened: ShorteningOptions | None = None
    code_switching: CodeSwitchingOptions | None = None
    temperature: float = 1.0
    streaming: StreamingOptions | None = None

    def __post_init__(self) -> None:
        # Checked by the classes that take them, so that a wrong value fails when the recipe is read.
        Cleaning(self.max_length_ratio, self.max_characters, self.script_share)
        check_temperature(self.temperature)
        if self.max_training_pairs is not None and self.max_training_pairs < 1:
            raise ValueError(f"max_training_pairs is {self.max_training_pairs}; it must be at least 1, or null for all.")
        if self.max_training_pairs is not None and self.streaming is not None:
            raise ValueError("max_training_pairs and streaming cannot go together: set training.max_steps instead.")
        if self.code_switching is not None and self.streaming is not None:
            raise ValueError("code_switching and streaming cannot go together: the table of translations needs all pairs.")
        if self.mixture is not None:
            if self.annotations is not None or self.streaming is not None or self.max_training_pairs is not None:
                raise ValueError(
                    "mixture cannot go together with annotations, streaming or max_training_pairs: it draws a fixed number of "
                    "pairs from `bitext`. Leave the others out."
                )
            check_groups(self.mixture, self.bitext)
        if self.streaming is not None and self.annotations is not None:
            raise ValueError("streaming and annotations cannot go together: the annotations are small. Leave one out.")

    def locate(self, folder: Path) -> None:
        """Makes names of files that lie in `folder` paths, in place."""
        locate_sources(self.bitext, folder)
        if self.annotations is not None:
            self.annotations.path = beside(folder, self.annotations.path)

    def choose_sources(self) -> None:
        """Keeps the sources of the requested languages and groups.

        Raises:
            ValueError: for a language or a group without a source.
        """
        for key, attribute in (("languages", "language"), ("groups", "group")):
            asked: str | None = getattr(self, key)
            if asked is None:
                continue
            known = list(dict.fromkeys(str(getattr(source, attribute)) for source in self.bitext))
            wanted = asked.split("+")
            for one in wanted:
                if one not in known:
                    raise ValueError(unknown_key(f"data.{key}", one, known))
            self.bitext = [source for source in self.bitext if getattr(source, attribute) in wanted]


def locate_sources(sources: list[BitextSource], folder: Path) -> None:
    """Makes names of files that lie in `folder` paths, in place."""
    for source in sources:
        if source.path is not None:
            paths = source.path if isinstance(source.path, list) else [source.path]
            found = [beside(folder, path) for path in paths]
            source.path = found if isinstance(source.path, list) else found[0]
