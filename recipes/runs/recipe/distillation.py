"""The recipe: one YAML file is the whole run. Reading, overriding and checking it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeling_optical import TransportOptions
from modeling_optical.evaluation import Collection, load_collection
from modeling_optical.evaluation.questions import QuestionSet, load_questions
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
from trainer.objectives import parse_objectives
from trainer.vocabulary import VocabularyOptions

from ...checked_yaml import build, fill_in_names, override, read_values, unknown_key
from .run import CheckpointRecipe, RunRecipe


@dataclass
class TeacherRecipe(CheckpointRecipe):
    """The frozen teacher; also how it is read, see `CheckpointRecipe`.

    Args:
        model: folder, Hub id, or `package:NAME/PATH`.
        language: what it is good in; also the language of the ceiling's queries.
        cache: folder for its vectors; `<output>/teacher_cache` if null.
        cache_dtype: `float16`, `bfloat16` or `float32`, as stored.
        live: compute its vectors in every step in place of the cache.
        license: of the teacher, for the model card; null reads it from the teacher's own card.
    """

    model: str = ""
    language: str = "en"
    cache: str | None = None
    cache_dtype: str = "float16"
    live: bool = False
    license: str | None = None


@dataclass
class StudentRecipe(CheckpointRecipe):
    """Where the student starts; also how that is read, see `CheckpointRecipe` (a copy of the teacher is read as the teacher).

    Args:
        start: `teacher` (a copy of it), or folder or Hub id of a backbone or student.
        config: values of `OpticalConfig` (embedding_dim, query_length, scored_query_tokens …).
        vocabulary: how its vocabulary is adapted to the language; null keeps it.
        dropout: takes the place of the backbone's dropout while training; null keeps it.
        max_length: tokens per text of the bitext, on both sides.
        max_document_length: alike for texts that are learnt as documents; null takes each model's document length.
        encodes_documents: each system encodes the documents of the test collections, too, which are in its language (bitext of
            `kind: both` teaches that), in place of the teacher.
        license: of what the student starts from, for the model card; null reads it from that model's own card.
    """

    start: str = "teacher"
    config: dict[str, Any] = field(default_factory=dict)
    vocabulary: VocabularyOptions | None = None
    dropout: float | None = None
    max_length: int = 64
    max_document_length: int | None = None
    encodes_documents: bool = False
    license: str | None = None


@dataclass
class AnnotationsSource:
    """Names and keywords of emoji and symbols (Unicode CLDR), as bitext and as a collection of held-out names.

    Args:
        path: a JSONL file with a line per concept: `{"id", "en": {"name", "keywords"}, "sw": …}`.
        held_out: share of the concepts that are queries and never trained on.
        validation: use a part of the training concepts as held-out ones in place of them, to choose settings by.
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
        annotations: names of emoji in place of, or beside, `bitext`.
        held_out: share of the pairs kept for validation, by document where documents are known.
        max_held_out: the most held-out pairs.
        max_training_pairs: train on so many pairs at most, drawn at random by the recipe's seed (fewer are a part of more);
            null takes all. The held-out pairs stay the same.
        mixture: train on a fixed number of pairs, drawn from groups of sources (`group` of a source) by shares; null takes
            them as they are.
        max_length_ratio: pairs whose lengths in characters differ more are dropped.
        max_characters: longer texts are dropped with their pair.
        script_share: the least share of a text's letters in a script of its language; 0 checks nothing.
        detect_language: drop texts that are surely in another language (extra `langid`).
        near_duplicates: when a pair of `bitext` repeats a text of `evaluation.collections` and is dropped; null keeps all.
        shortened: short pairs that are cut from the training pairs and added to them; null adds none.
        temperature: with several languages, language l is seen with a share of `n_l^(1/temperature)`; 1 changes nothing.
        streaming: read the bitext while training goes on, for what is larger than memory; needs `training.max_steps` and
            `teacher.live`. Null reads it into memory.
    """

    bitext: list[BitextSource] = field(default_factory=list)
    languages: str | None = None
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
    temperature: float = 1.0
    streaming: StreamingOptions | None = None

    def __post_init__(self) -> None:
        # Checked by what takes them, so that a wrong value is told when the recipe is read.
        Cleaning(self.max_length_ratio, self.max_characters, self.script_share)
        check_temperature(self.temperature)
        if self.max_training_pairs is not None and self.max_training_pairs < 1:
            raise ValueError(f"max_training_pairs is {self.max_training_pairs}; it must be at least 1, or null for all.")
        if self.max_training_pairs is not None and self.streaming is not None:
            raise ValueError("max_training_pairs and streaming cannot go together: set training.max_steps in place of it.")
        if self.mixture is not None:
            if self.annotations is not None or self.streaming is not None or self.max_training_pairs is not None:
                raise ValueError(
                    "mixture cannot go together with annotations, streaming or max_training_pairs: it draws a fixed number of "
                    "pairs from `bitext`. Leave the others out."
                )
            check_groups(self.mixture, self.bitext)
        if self.streaming is not None and self.annotations is not None:
            raise ValueError("streaming and annotations cannot go together: the annotations are small. Leave one out.")


@dataclass
class CollectionSource:
    """A test collection, see `modeling_optical.evaluation.load_collection`.

    Args:
        path: folder or Hub id.
        format: name of the layout, where the files do not tell.
        split: which queries and judgements (none: the layout's own choice).
        revision: of the Hub data set.
        corpus_revision: of the Hub data set with the documents, where that is another one.
    """

    path: str
    format: str | None = None
    split: str | None = None
    revision: str | None = None
    corpus_revision: str | None = None

    def load(self, language: str) -> Collection:
        """Reads the collection's queries in a language, and its documents."""
        return load_collection(
            self.path,
            language,
            format=self.format,
            split=self.split,
            revision=self.revision,
            corpus_revision=self.corpus_revision,
        )


@dataclass
class QuestionSource:
    """Multiple-choice questions, see `modeling_optical.evaluation.questions.load_questions`.

    Args:
        path: folder or Hub id.
        format: name of the layout, where the files do not tell.
        split: of the questions (none: the layout's own choice).
        revision: of the Hub data set.
        documents, topic: for questions made from documents: which ones, and what they are about.
        max_questions: so many at most, drawn by their ids, the same in every language.
    """

    path: str
    format: str | None = None
    split: str | None = None
    revision: str | None = None
    documents: list[str] = field(default_factory=list)
    topic: str = ""
    max_questions: int | None = None

    def __post_init__(self) -> None:
        if self.max_questions is not None and self.max_questions < 1:
            raise ValueError(f"max_questions is {self.max_questions!r}; it must be at least 1, or null for all.")

    def load(self, language: str, *, in_english: bool = False) -> QuestionSet:
        """Reads the questions of a language, or the same ones in English."""
        return load_questions(
            self.path,
            language,
            in_english=in_english,
            format=self.format,
            split=self.split,
            revision=self.revision,
            documents=self.documents,
            topic=self.topic,
        ).drawn(self.max_questions)


@dataclass
class ChoiceHeadRecipe:
    """Weights of the choice head, learned from the teacher's own English answers and used for all systems and languages.

    Args:
        questions: English questions with their answers; none of them is tested.
    """

    questions: QuestionSource


@dataclass
class EvaluationRecipe:
    """What is measured.

    Args:
        collections: test collections with queries in the student's language.
        questions: multiple-choice questions in the student's language, answered by late interaction.
        question_length: tokens of the longest question; null takes each model's query length.
        choice_head: how the choice head is learned; null: plain normalised MaxSim, zero-shot.
        metrics: names of `ir_measures`; all are in results.json, the first three in the printed table.
        batch_size: texts per batch when encoding.
        examples: example searches that the report shows.
    """

    collections: list[CollectionSource] = field(default_factory=list)
    questions: list[QuestionSource] = field(default_factory=list)
    question_length: int | None = None
    choice_head: ChoiceHeadRecipe | None = None
    metrics: list[str] = field(default_factory=lambda: ["AP@100", "nDCG@10", "RR@10", "R@10", "R@100", "Success@1"])
    batch_size: int = 32
    examples: int = 8

    def __post_init__(self) -> None:
        if self.choice_head is not None and not self.questions:
            raise ValueError("choice_head is for multiple-choice questions: set `questions`, or leave it out.")


@dataclass
class Recipe(RunRecipe):
    """A whole distillation; see `RunRecipe` for what every run has.

    Args:
        language: code of the student's language, `mul` for several.
        license: that the student is published under; null where it is not chosen yet.
        teacher, student, data, evaluation: see their classes.
        objectives: objectives and their weights (numbers or schedules), or mappings of `weight` and options.
        transport: options of the transport.
        training: arguments of `OpticalTrainingArguments`.
        baselines: other systems from the same start; each may change `objectives`, `transport` and `training`.
    """

    name: str = "optical"
    license: str | None = None
    teacher: TeacherRecipe = field(default_factory=TeacherRecipe)
    student: StudentRecipe = field(default_factory=StudentRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    objectives: dict[str, float | dict[str, Any]] = field(default_factory=lambda: {"transport": 1.0})
    transport: TransportOptions = field(default_factory=TransportOptions)
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)

    @property
    def trainings(self) -> dict[str, dict[str, Any]]:
        """Key in the recipe to training arguments, of the student and of every baseline."""
        own = {f"baselines.{name}.training": self.baseline(name).training for name in self.baselines}
        return {"training": self.training} | own

    @property
    def languages(self) -> list[str]:
        """The student's languages: those of its bitext, or `language` where there is only that or where annotations are."""
        own = [self.language] if self.data.annotations is not None or not self.data.bitext else []
        return list(dict.fromkeys([*own, *(str(source.language) for source in self.data.bitext)]))

    def baseline(self, name: str) -> Recipe:
        """The recipe of a baseline: this one with some keys changed, and no baselines of its own."""
        values = self.to_dict()
        changes = values.pop("baselines")[name]
        allowed = ("objectives", "transport", "training")
        for key in changes:
            if key not in allowed:
                raise ValueError(f"baselines.{name}.{key}: a baseline may change {', '.join(allowed)} only.")
        if "objectives" in changes:
            values["objectives"] = changes["objectives"]
        for key in ("transport", "training"):
            change = changes.get(key, {})
            if not isinstance(change, Mapping):
                raise ValueError(f"baselines.{name}.{key} must be a mapping of keys; got {change!r}.")
            values[key] = values[key] | change
        return build(Recipe, values, "")

    def locate(self, folder: Path) -> None:
        """Makes names of files that lie in `folder` paths, in place."""

        def place(path: str) -> str:
            beside = folder / path
            return (
                str(beside) if not Path(path).expanduser().is_absolute() and beside.exists() else str(Path(path).expanduser())
            )

        for source in self.data.bitext:
            if source.path is not None:
                source.path = [place(p) for p in source.path] if isinstance(source.path, list) else place(source.path)
        for objectives in (self.objectives, *(b["objectives"] for b in self.baselines.values() if "objectives" in b)):
            score_kl = objectives.get("score_kl")
            if isinstance(score_kl, dict) and score_kl.get("passages"):
                score_kl["passages"] = place(score_kl["passages"])
        if self.data.annotations is not None:
            self.data.annotations.path = place(self.data.annotations.path)
        for collection in self.evaluation.collections:
            if (folder / collection.path).exists():
                collection.path = str(folder / collection.path)
        for questions in self.evaluation.questions:
            if (folder / questions.path).exists():
                questions.path = str(folder / questions.path)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Reads a recipe, applies `key=value` overrides, checks every key and value.

    Raises:
        ValueError: naming file and key, with the nearest known key for an unknown one.
    """
    values, path = read_values(path, overrides)
    if "model" in values and not {"teacher", "student"} & set(values):
        raise ValueError(f"{path} is a recipe of training on labels: start it with `optical train-teacher {path}`.")
    if "profiles" in values:
        raise ValueError(f"{path} is a study, a grid of runs: start it with `optical study {path}`.")
    try:
        return resolve(values, path.parent)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def resolve_recipe(values: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    """A checked recipe from plain values and `key=value` overrides; files are looked up in the working folder."""
    for item in overrides:
        override(values, item)
    return resolve(values, Path.cwd())


def resolve(values: Mapping[str, Any], folder: Path) -> Recipe:
    """A checked recipe from plain values; names of files are looked up in `folder` first, then in the working folder."""
    recipe = build(Recipe, values, "")
    if not recipe.language:
        raise ValueError("`language` is not set: give the student's language, for instance language=sw.")
    recipe = fill_in_names(recipe)
    _choose_languages(recipe.data)
    parse_objectives(recipe.objectives)
    for name in recipe.baselines:
        try:
            parse_objectives(recipe.baseline(name).objectives)
        except ValueError as error:
            raise ValueError(f"baselines.{name}: {error}") from None
    _check_streaming(recipe)
    recipe.locate(folder)
    return recipe


def _choose_languages(data: DataRecipe) -> None:
    """Leaves the sources of the languages that are asked for."""
    if data.languages is None:
        return
    known = list(dict.fromkeys(str(source.language) for source in data.bitext))
    wanted = data.languages.split("+")
    for language in wanted:
        if language not in known:
            raise ValueError(unknown_key("data.languages", language, known))
    data.bitext = [source for source in data.bitext if source.language in wanted]


def _check_streaming(recipe: Recipe) -> None:
    if recipe.data.streaming is None:
        return
    for key, training in recipe.trainings.items():
        if not training.get("max_steps", 0) > 0:
            raise ValueError(f"data.streaming needs `{key}.max_steps`: nobody knows the length of a stream.")
    if not recipe.teacher.live:
        raise ValueError("data.streaming needs teacher.live=true: the teacher's vectors of a stream are not kept.")
