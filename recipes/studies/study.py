"""A study: one YAML file is a question and the grid of runs that answers it. Reading, profiles, checks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recipes.studies.query_noise import check_noise
from trainer.bitext import BitextSource

from ..checked_yaml import build, merged, override, read_values, substitute, unknown_key, write_values
from ..runs.recipe.evaluation import CollectionSource
from .image_text_source import EmojiPictures, ImageTextSource, SyntheticImages

ALL_LANGUAGES = "mul"
"""The language of a student of several languages."""


@dataclass
class Stage:
    """One kind of run in the grid.

    Args:
        recipe: a recipe file, beside the study's.
        values: laid over the recipe's.
        factors: name of what a sweep varies to the recipe's key that it sets.
        left_out: a factor's value with which this stage is left out (no labelled pairs: no fine-tuning).
        times_updates: baseline to how many times the recipe's updates (`training.max_steps`) it is trained for.
    """

    recipe: str
    values: dict[str, Any] = field(default_factory=dict)
    factors: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, Any] = field(default_factory=dict)
    times_updates: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for baseline, times in self.times_updates.items():
            if not times > 0:
                raise ValueError(f"times_updates.{baseline} is {times!r}; it must be above 0.")


@dataclass
class StudiedLanguage:
    """A language of the study.

    Args:
        group: what it is counted among in the report, such as `low` and `high` for its resources.
        values: laid over the recipe of its distillation, for instance its bitext.
    """

    group: str = ""
    values: dict[str, Any] = field(default_factory=dict)


@dataclass
class References:
    """Systems that the students are compared with.

    Args:
        bm25: BM25 of the given queries on the documents (extra `bm25`).
        translator: a translation model for the queries, which the teacher then answers; null: that row says `no model`.
        translator_languages: language to the two codes that a model of many languages wants.
    """

    bm25: bool = True
    translator: str | None = None
    translator_languages: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for language, codes in self.translator_languages.items():
            if len(codes) != 2:
                raise ValueError(f"translator_languages.{language} needs two codes, from and to; got {codes!r}.")


@dataclass
class PreparedCollection:
    """A test collection that the study puts together and splits: documents, and queries in the studied languages.

    Args:
        documents: the collection with documents, judgements, and queries in `language`.
        sentences: instead of `documents`: bitext in each studied language, whose texts search for the ones that they translate.
            Training pairs that repeat them are dropped, as those that repeat any test text.
        max_queries, max_documents: of `sentences`: how many are queries, and how many are searched.
        language: of the queries in `documents`; `en` where the same queries are read in the studied languages.
        queries: where the queries of each language are, under the same ids; null: in `documents`. May contain `{language}`.
        labelled_split: the split of `documents` whose judgements give labelled pairs.
        labelled_share: without such a split, the share of the documents whose queries give them; those queries are not tested.
            0: the collection is for testing only.
        languages: which of the study's languages have queries here; null: all.
    """

    documents: CollectionSource | None = None
    sentences: BitextSource | None = None
    max_queries: int = 200
    max_documents: int = 400
    language: str = "en"
    queries: CollectionSource | None = None
    labelled_split: str | None = None
    labelled_share: float = 0.0
    languages: list[str] | None = None

    def __post_init__(self) -> None:
        if (self.documents is None) == (self.sentences is None):
            raise ValueError("a prepared collection needs either `documents` (a collection) or `sentences` (bitext).")
        if not 0 < self.max_queries <= self.max_documents:
            raise ValueError(
                f"max_queries is {self.max_queries!r}, max_documents {self.max_documents!r}: 1 or more, in that order."
            )
        if self.sentences is not None and self.labelled:
            raise ValueError("`sentences` give no labelled pairs: leave labelled_share and labelled_split out.")
        if not 0 <= self.labelled_share < 1:
            raise ValueError(f"labelled_share is {self.labelled_share!r}; it is a share, from 0 to below 1.")
        if self.labelled_share and self.labelled_split:
            raise ValueError("labelled_share and labelled_split cannot go together: leave one out.")

    def has(self, language: str) -> bool:
        """Whether there are queries in the language."""
        return language != ALL_LANGUAGES and (self.languages is None or language in self.languages)

    @property
    def labelled(self) -> bool:
        """Whether it gives labelled pairs."""
        return self.labelled_split is not None or self.labelled_share > 0


@dataclass
class StudiedNoise:
    """Noise in the test queries: every student and every reference that reads them is measured with it, too.

    Args:
        levels: kind of noise to its levels, the lowest first; see `recipes.studies.query_noise`.
        seed: decides what happens to which query; the same for all systems and seeds of training.
        max_queries: the most queries of a collection that noise is measured on, drawn by their ids; null: all.
    """

    levels: dict[str, list[float]]
    seed: int = 0
    max_queries: int | None = None

    def __post_init__(self) -> None:
        if self.max_queries is not None and self.max_queries < 1:
            raise ValueError(f"max_queries is {self.max_queries!r}; it must be at least 1, or null for all.")
        for kind, levels in self.levels.items():
            for level in levels:
                check_noise(kind, level)
            if not levels or levels != sorted(set(levels)):
                raise ValueError(f"levels.{kind} is {levels!r}; give levels once each, the lowest first.")


@dataclass
class Study:
    """A whole study.

    Args:
        name: short name.
        question: what it answers, in one sentence.
        report: which report is written: `adversarial`, `domain`, `domains`, `image_text`, `low_resource`, `ranking` or
            `variance`.
        output: its folder; it may contain `{name}` and `{profile}`.
        paths: names for what differs from machine to machine; `{paths.NAME}` in any text of the study and its recipes.
        metrics: names of `ir_measures`; `accuracy` for multiple-choice questions; with `image_text`, of its metrics. The first
            one decides.
        languages: code to description.
        seeds: of training, one run each.
        sweeps: each a mapping of `language` and the stages' factors to lists of values; all combinations in one are run, and
            those that several share are run once.
        distil: the distillation.
        causal: the distillation of a causal language model that answers the same questions by likelihood; null: none. Its
            systems are called `causal_NAME`.
        fine_tune: fine-tuning on labelled pairs of each prepared collection, starting from the systems of `fine_tuned`.
        fine_tuned: which systems of the distillation are fine-tuned.
        systems: system of the distillation to the name that the report shows, in its order.
        collections: name to the collection to prepare; recipes find it as `{paths.prepared}/NAME`.
        image_text: test on images and their captions, with students of CLIP's text tower; replaces test collections.
        references: systems that the students are compared with.
        query_noise: noise in the test queries that students and references are measured with, too.
        limits: what the answer does not show, a sentence each, for the report.
        would_change: what would change the answer, a sentence each, for the end of the report.
        synthetic_data: make a tiny teacher, bitext and collections, and point `paths` to them.
        emoji_pictures: draw emoji, write their names as captions, train a small joint space, and point `paths` to them.
        synthetic_images: make pictures, captions and a tiny CLIP, and point `paths` to them.
        keep_models: keep the weights of all students; else they are deleted when no run needs them.
        report_options: of the report, see its module.
        folder: where its file lies; paths of recipes count from there. Set by `load_study`, as the next two.
        file: its file's name.
        profile: the profile chosen.
    """

    name: str
    question: str
    report: str
    distil: Stage
    output: str = "runs/study-{name}-{profile}"
    paths: dict[str, str | None] = field(default_factory=dict)
    metrics: list[str] = field(default_factory=lambda: ["nDCG@10", "AP@100", "RR@10", "R@100"])
    languages: dict[str, StudiedLanguage] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    sweeps: list[dict[str, list[Any]]] = field(default_factory=list)
    causal: Stage | None = None
    fine_tune: Stage | None = None
    fine_tuned: list[str] = field(default_factory=list)
    systems: dict[str, str] = field(default_factory=dict)
    collections: dict[str, PreparedCollection] = field(default_factory=dict)
    image_text: ImageTextSource | None = None
    references: References = field(default_factory=References)
    query_noise: StudiedNoise | None = None
    limits: list[str] = field(default_factory=list)
    would_change: list[str] = field(default_factory=list)
    synthetic_data: bool = False
    emoji_pictures: EmojiPictures | None = None
    synthetic_images: SyntheticImages | None = None
    keep_models: bool = False
    report_options: dict[str, Any] = field(default_factory=dict)
    folder: str = ""
    file: str = "study.yaml"
    profile: str = ""

    @property
    def factors(self) -> dict[str, Any]:
        """Every factor of the stages, and the value with which its stage is left out (None if it never is)."""
        stages = [stage for stage in (self.distil, self.causal, self.fine_tune) if stage is not None]
        return {factor: stage.left_out.get(factor) for stage in stages for factor in stage.factors}

    @property
    def root(self) -> Path:
        """The study's folder."""
        return Path(self.output).expanduser()

    def to_yaml(self) -> str:
        """The study as YAML, its profile chosen."""
        return write_values(dataclasses.asdict(self))


def load_study(path: str | Path, profile: str = "full", overrides: Sequence[str] = (), output: str | None = None) -> Study:
    """Reads a study, lays the profile's values and then `key=value` overrides over it, checks every key and value.

    Raises:
        ValueError: naming file and key, with the nearest known key for an unknown one.
    """
    values, file = read_values(path)
    if "profiles" not in values or "distil" not in values:
        raise ValueError(
            f"{file} is no study: it needs the keys `distil` and `profiles`. Recipes are started with `optical run`."
        )
    profiles = values.pop("profiles")
    if not isinstance(profiles, dict) or profile not in profiles:
        known = ", ".join(profiles) if isinstance(profiles, dict) else "none"
        raise ValueError(f"{file} has no profile {profile!r}. Profiles: {known}.")
    try:
        values = merged(values, profiles[profile] or {})
        for item in overrides:
            override(values, item)
        if output is not None:
            values["output"] = output
        return _resolve(values | {"profile": profile, "folder": str(file.parent.absolute()), "file": file.name})
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _resolve(values: dict[str, Any]) -> Study:
    study = build(Study, values, "")
    study.output = substitute(study.output, {"name": study.name, "profile": study.profile})
    _check_sweeps(study)
    _check_languages(study)
    if study.fine_tune is not None and study.fine_tune.times_updates:
        raise ValueError("fine_tune.times_updates: only a distillation has baselines; set distil.times_updates.")
    if study.query_noise is not None and study.fine_tune is not None:
        raise ValueError("query_noise and fine_tune cannot go together: noise is measured with distilled students only.")
    return study


def _check_sweeps(study: Study) -> None:
    if not study.sweeps or not study.seeds:
        raise ValueError("a study needs at least one sweep and one seed.")
    known = ("language", *study.factors)
    for number, sweep in enumerate(study.sweeps):
        for key, items in sweep.items():
            if key not in known:
                raise ValueError(unknown_key(f"sweeps.{number}.{key}", key, known))
            if not items:
                raise ValueError(f"sweeps.{number}.{key} is empty.")
        for key in known:
            if key not in sweep:
                raise ValueError(f"sweeps.{number} lacks `{key}`: give its values, [VALUE] for one.")
        for language in sweep["language"]:
            if language not in study.languages:
                raise ValueError(unknown_key(f"sweeps.{number}.language", str(language), study.languages))

    for name, collection in study.collections.items():
        for language in collection.languages or ():
            if language not in study.languages:
                raise ValueError(unknown_key(f"collections.{name}.languages", language, study.languages))


def _check_languages(study: Study) -> None:
    import langcodes

    for code in study.languages:
        if not langcodes.tag_is_valid(code):
            raise ValueError(f"languages.{code}: {code!r} is no language code (ISO 639, such as sw or de).")
