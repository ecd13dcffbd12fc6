"""The recipe: one YAML file is the whole run. Reading, overriding and checking it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from modeling_optical import TransportOptions
from trainer import OpticalTrainingArguments
from trainer.bitext import BitextSource, ShorteningOptions
from trainer.distillation.selection import SelectionOptions
from trainer.objectives import parse_objectives
from trainer.vocabulary import VocabularyOptions

from ...checked_yaml import build
from .data import DataRecipe, locate_sources
from .evaluation import EvaluationRecipe
from .retrieval import RetrievalRecipe
from .run import CheckpointRecipe, RunRecipe, beside, check_names


@dataclass
class TeacherRecipe(CheckpointRecipe):
    """The frozen teacher, and how it is loaded (see `CheckpointRecipe`).

    Args:
        model: folder, Hub id, or `package:NAME/PATH`.
        recipe: a recipe of `optical train-teacher` that makes the teacher before the student, once for all students that name
            it, with the `paths` of this recipe. Then `model` is left out.
        output: folder of that run; the one that its recipe names if null.
        language: that it encodes well; also the language of the ceiling's queries.
        cache: folder for its vectors; `<output>/teacher_cache` if null.
        cache_dtype: `float16`, `bfloat16` or `float32`, as stored.
        live: compute its vectors in every step instead of the cache.
        license: of the teacher, for the model card; null reads it from the teacher's card.
        config: values of `OpticalConfig` (query_length, query_prompt …) instead of the checkpoint's.
    """

    model: str = ""
    recipe: str | None = None
    output: str | None = None
    language: str = "en"
    cache: str | None = None
    cache_dtype: str = "float16"
    live: bool = False
    license: str | None = None
    config: dict[str, Any] = field(default_factory=dict)

    def load_arguments(self) -> dict[str, Any]:
        """Arguments of `load_checkpoint`."""
        return self.config | super().load_arguments()


@dataclass
class PrealignmentRecipe:
    """The student learns the teacher's space from text in the teacher's language, before it sees any bitext.

    Args:
        texts: where the texts are (`target` is not used); empty takes the teacher's side of the bitext.
        max_texts: the most texts, drawn at random; null takes all.
        shortened: short texts that are cut from them and added; null adds none.
        objectives: as of the recipe.
        training: arguments that differ from the recipe's `training`.
    """

    texts: list[BitextSource] = field(default_factory=list)
    max_texts: int | None = None
    shortened: ShorteningOptions | None = None
    objectives: dict[str, float | dict[str, Any]] = field(default_factory=lambda: {"transport": 1.0, "contrastive": 1.0})
    training: dict[str, Any] = field(default_factory=dict)


@dataclass
class StudentRecipe(CheckpointRecipe):
    """Where the student starts; also how that is read, see `CheckpointRecipe` (a copy of the teacher is read as the teacher).

    Args:
        start: `teacher` (a copy of it), or folder or Hub id of a backbone or student.
        config: values of `OpticalConfig` (embedding_dim, query_length, scored_query_tokens …).
        vocabulary: how its vocabulary is adapted to the language; null keeps it.
        dropout: replaces the backbone's dropout while training; null keeps it.
        prealign: learn the teacher's space from text in the teacher's language first; null goes to the bitext at once.
        max_length: tokens per text of the bitext, on both sides.
        max_document_length: the same for texts that are learnt as documents; null takes each model's document length.
        encodes_documents: each system encodes the documents of the test collections, too, which are in its language (bitext of
            `kind: both` teaches that), instead of the teacher.
        lora: train a LoRA adapter instead of all weights: values of PEFT's `LoraConfig`; null trains all weights. The saved
            student has the adapter merged in.
        license: of what the student starts from, for the model card; null reads it from that model's own card.
    """

    start: str = "teacher"
    config: dict[str, Any] = field(default_factory=dict)
    vocabulary: VocabularyOptions | None = None
    dropout: float | None = None
    prealign: PrealignmentRecipe | None = None
    max_length: int = 64
    max_document_length: int | None = None
    encodes_documents: bool = False
    lora: dict[str, Any] | None = None
    license: str | None = None


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
        selection: which weights the student ends with, chosen on the held-out bitext: never worse there than its start. Null
            takes the last ones.
        baselines: other systems from the same start; each may change `objectives`, `transport` and `training`.
    """

    other_kinds: ClassVar[dict[str, str]] = {
        "model": "a recipe of training on labels: start it with `optical train-teacher {path}`",
        "profiles": "a study, a grid of runs: start it with `optical study {path}`",
    }

    name: str = "optical"
    license: str | None = None
    teacher: TeacherRecipe = field(default_factory=TeacherRecipe)
    student: StudentRecipe = field(default_factory=StudentRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    objectives: dict[str, float | dict[str, Any]] = field(default_factory=lambda: {"transport": 1.0})
    transport: TransportOptions = field(default_factory=TransportOptions)
    selection: SelectionOptions | None = None
    training: dict[str, Any] = field(default_factory=dict, metadata={"arguments": OpticalTrainingArguments})
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)

    @property
    def systems(self) -> dict[str, Recipe]:
        """What is trained from the start, with the recipe of each: the baselines, then `optical`, the student."""
        return {name: self.baseline(name) for name in self.baselines} | {"optical": self}

    @property
    def trainings(self) -> dict[str, dict[str, Any]]:
        """Key in the recipe to training arguments, of the student and of every baseline."""
        own = {f"baselines.{name}.training": self.baseline(name).training for name in self.baselines}
        prealign = self.student.prealign
        first = {} if prealign is None else {"student.prealign.training": self.prealignment().training}
        return {"training": self.training} | own | first

    @property
    def languages(self) -> list[str]:
        """The student's languages: those of its bitext, or `language` where there is only that or where annotations are."""
        own = [self.language] if self.data.annotations is not None or not self.data.bitext else []
        return list(dict.fromkeys([*own, *(str(source.language) for source in self.data.bitext)]))

    @property
    def tested_languages(self) -> list[str]:
        """Those that the student is measured in."""
        return self.languages if self.evaluation.languages is None else self.evaluation.languages

    def baseline(self, name: str) -> Recipe:
        """The recipe of a baseline: this one with some keys changed, without baselines."""
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

    @cached_property
    def teacher_recipe(self) -> RetrievalRecipe | None:
        """The recipe that makes the teacher, with this recipe's paths, read once; None if the teacher is there."""
        if self.teacher.recipe is None:
            return None
        overrides = [f"paths.{name}={json.dumps(folder)}" for name, folder in self.paths.items()]
        overrides += [] if self.teacher.output is None else [f"output={json.dumps(self.teacher.output)}"]
        return RetrievalRecipe.load(self.teacher.recipe, overrides)

    def prealignment(self) -> Recipe:
        """The recipe of the training on text of the teacher's language that comes before the bitext."""
        own = self.student.prealign
        assert own is not None
        # Topics are made for bitext, and a mean with the start is not in the teacher's space.
        training = {key: value for key, value in self.training.items() if key not in ("topics", "start_share")}
        values = self.to_dict() | {"baselines": {}, "objectives": own.objectives, "training": training | own.training}
        return build(Recipe, values, "")

    def check(self) -> None:
        self.data.choose_sources()
        if self.selection is not None and not self.data.held_out and self.data.annotations is None:
            raise ValueError("selection compares weights on held-out bitext: set data.held_out above 0, or selection=null.")
        if self.student.prealign is not None:
            if self.data.streaming is not None and not self.student.prealign.texts:
                raise ValueError("student.prealign needs `texts` where the bitext is a stream.")
            parse_objectives(self.student.prealign.objectives)
        parse_objectives(self.objectives)
        check_names(self.baselines)
        for name in self.baselines:
            try:
                parse_objectives(self.baseline(name).objectives)
            except ValueError as error:
                raise ValueError(f"baselines.{name}: {error}") from None
        if self.data.streaming is None:
            return
        for key, training in self.trainings.items():
            if not training.get("max_steps", 0) > 0:
                raise ValueError(f"data.streaming needs `{key}.max_steps`: nobody knows the length of a stream.")
        if not self.teacher.live:
            raise ValueError("data.streaming needs teacher.live=true: the teacher's vectors of a stream are not kept.")

    def locate(self, folder: Path) -> None:
        if self.teacher.recipe is not None:
            self.teacher.recipe = os.path.normpath(beside(folder, self.teacher.recipe))
            first = self.teacher_recipe
            made = "" if first is None else str(Path(first.output, "model"))
            if self.teacher.model not in ("", made):
                raise ValueError(
                    f"teacher.model is {self.teacher.model!r}, and teacher.recipe makes {made!r}: leave one of them out."
                )
            self.teacher.model = made
        self.data.locate(folder)
        if self.student.prealign is not None:
            locate_sources(self.student.prealign.texts, folder)
        self.evaluation.locate(folder)
        for score_kl in self._with_passages():
            score_kl["passages"] = beside(folder, score_kl["passages"])

    def _with_passages(self) -> list[dict[str, Any]]:
        """The options of `score_kl` that name a file of passages."""
        own = (self.objectives, *(baseline.get("objectives", {}) for baseline in self.baselines.values()))
        options = [objectives.get("score_kl") for objectives in own]
        return [one for one in options if isinstance(one, dict) and one.get("passages")]

    @property
    def passage_files(self) -> list[str]:
        """The files of passages that `score_kl` ranks, each once."""
        return list(dict.fromkeys(str(one["passages"]) for one in self._with_passages()))
