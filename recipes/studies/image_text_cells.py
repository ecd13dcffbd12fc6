"""Cells of a study of images and captions: vectors of the images, recall of students and references, image by image."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as functional

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.evaluation import Collection, NotRun, save_run
from modeling_optical.evaluation.image_text import (
    METRICS,
    CaptionedImages,
    ImageFiles,
    ImageVectors,
    image_text_recall,
    image_text_runs,
)
from modeling_optical.evaluation.image_text.image_vectors import check_images
from modeling_optical.evaluation.references import translate
from modeling_optical.files.json_files import write_json

from ..checked_yaml import unknown_key
from ..runs.distillation_run import load_start, load_teacher
from .cells import Cell, Places, cells_of, distillation_recipe, tested_languages
from .image_text_source import ImageTextSource
from .reference_systems import COLLECTIONS, NOT_RUN
from .reporting.results_table import CELL_VALUES, write_frame
from .study import Study


def check_image_text(study: Study) -> None:
    """Checks metrics, captions and images before anything is computed.

    Raises:
        ValueError, FileNotFoundError: naming the wrong value or the missing file.
    """
    if study.image_text is None:
        return
    for metric in study.metrics:
        if metric not in METRICS:
            raise ValueError(unknown_key("metrics", metric, METRICS))
    files = study.image_text.located(study.paths).files()
    for captioned in _sets(study):
        check_images(files, captioned.images)
    for recipe in (distillation_recipe(study, cell) for cell in cells_of(study) if cell.stage == "distil"):
        if recipe.student.start != "teacher" and not recipe.student.config.get("project_pooled"):
            raise ValueError(
                "students that meet images need a pooled vector in CLIP's space: set distil.values.student.config to "
                "{pooling_mode: mean, project_pooled: true, normalize_pooled: true}."
            )


def prepare_images(study: Study, say: Callable[[str], None]) -> None:
    """Encodes all images once, below the study's folder; resumes where it was stopped.

    Raises:
        FileNotFoundError, ValueError, OSError: for images that are missing or no images, or a full disk.
    """
    if study.image_text is not None:
        source = study.image_text.located(study.paths)
        names = dict.fromkeys(name for captioned in _sets(study) for name in captioned.images)
        files = source.files()
        made = _vectors(study, source).build(files, list(names), batch_size=source.batch_size)
        say(f"Images: {len(names):,} of {files.label}, {made:,} encoded now")


def _sets(study: Study) -> list[CaptionedImages]:
    assert study.image_text is not None
    source = study.image_text.located(study.paths)
    trained = dict.fromkeys(one for sweep in study.sweeps for one in sweep["language"])
    tested = [code for language in trained for code in tested_languages(study, language)]
    return [source.load(code, split) for split in source.splits for code in tested]


def _vectors(study: Study, source: ImageTextSource) -> ImageVectors:
    return ImageVectors(study.root / "image_vectors", source.clip, revision=source.revision)


def measure_image_text(study: Study, cell: Cell) -> None:
    """Measures a cell's systems and keeps TREC runs and the values of every image beside it.

    A distillation's students are tested in all languages of the study, with or without bitext; a reference in its language.

    Raises:
        FileNotFoundError, ValueError: for captions or a model that cannot be read.
    """
    assert study.image_text is not None
    source = study.image_text.located(study.paths)
    folder = Places(study.root).cell(cell)
    sets = [source.load(language, split) for split in source.splits for language in tested_languages(study, cell.language)]
    measured = _Measured(folder, source.files(), _vectors(study, source))
    if cell.stage == "distil":
        _measure_students(study, cell, sets, measured)
    else:
        for captioned, split in zip(sets, source.splits, strict=True):  # a reference has one language
            english = source.load(distillation_recipe(study, cell).teacher.language, split)
            _measure_references(study, cell, captioned, english, measured)
    rows = pd.concat(measured.rows, ignore_index=True)
    write_frame(folder / CELL_VALUES, rows[["system", "collection", "language", "query", *study.metrics]])
    # First 16 digits of the SHA-256 of images' names and captions.
    digests = [hashlib.sha256(json.dumps(captioned.captions).encode()).hexdigest()[:16] for captioned in sets]
    names = [f"{captioned.name}.{captioned.language}" for captioned in sets]
    write_json(folder / COLLECTIONS, dict(zip(names, digests, strict=True)))
    write_json(folder / NOT_RUN, [dataclasses.asdict(one) for one in measured.not_run])


class _Measured:
    """The results of a cell so far."""

    def __init__(self, folder: Path, files: ImageFiles, vectors: ImageVectors):
        self.rows: list[pd.DataFrame] = []
        self.not_run: list[NotRun] = []
        self._folder, self._files, self._vectors = folder, files, vectors

    def add(self, system: str, captioned: CaptionedImages, model: OpticalModel, texts: list[str], length: int) -> None:
        """Measures a system with these texts for a set's captions."""
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        encoded = model.encode_pooled(texts, max_length=length, show_progress_bar=False)
        unit = functional.normalize(encoded, dim=-1)
        runs = image_text_runs(captioned, unit, self._vectors.of(self._files, captioned.images))
        captions = dict(zip(runs["text_to_image"][0], captioned.texts, strict=True))
        queries = {"text_to_image": captions, "image_to_text": {image: image for image in captioned.images}}
        for way, (qrels, run) in runs.items():
            collection = Collection(f"{captioned.name}-{way}", captioned.language, {}, queries[way], qrels)
            save_run(self._folder / "runs", system, collection, run)
        frame = pd.DataFrame(image_text_recall(captioned, runs))
        frame.index.name = "query"
        self.rows.append(frame.reset_index().assign(system=system, collection=captioned.name, language=captioned.language))

    def leave_out(self, system: str, captioned: CaptionedImages, reason: str) -> None:
        """Notes a system that is not measured."""
        self.not_run.append(NotRun(system, captioned.language, captioned.name, reason))


def _measure_students(study: Study, cell: Cell, sets: list[CaptionedImages], measured: _Measured) -> None:
    recipe, places = distillation_recipe(study, cell), Places(study.root)
    for system in ("optical", *recipe.baselines):
        student = load_checkpoint(places.student(cell, system), precision=recipe.precision)
        for captioned in sets:
            measured.add(system, captioned, student, captioned.texts, recipe.student.max_length)


def _measure_references(
    study: Study, cell: Cell, captioned: CaptionedImages, english: CaptionedImages, measured: _Measured
) -> None:
    recipe = distillation_recipe(study, cell)
    length = recipe.student.max_length
    teacher = load_teacher(recipe)
    if english.image_of == captioned.image_of and english.images == captioned.images:
        measured.add("ceiling", captioned, teacher, english.texts, length)
    else:
        measured.leave_out("ceiling", captioned, "the set has other images or numbers of captions in English")
    if captioned.language != recipe.teacher.language:
        measured.add("clip", captioned, teacher, captioned.texts, length)
        translator = study.references.translator
        if translator is None:
            measured.leave_out("translation", captioned, "no model")
        else:
            source, target = study.references.translator_languages.get(captioned.language, (None, None))
            device = "cuda" if torch.cuda.is_available() else "cpu"
            texts = translate(captioned.texts, translator, source=source, target=target, device=device)
            measured.add("translation", captioned, teacher, texts, length)
    if recipe.student.start != "teacher":  # else it is CLIP's own text tower
        untrained = load_start(recipe, teacher.config.vector_dim).eval()
        measured.add("floor", captioned, untrained, captioned.texts, length)
