"""The cells of a study's grid: which runs there are, where each lies, and the recipe of each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..checked_yaml import merged, read_values, set_key, unknown_key
from ..runs.recipe.causal import CausalRecipe
from ..runs.recipe.distillation import Recipe
from ..runs.recipe.retrieval import RetrievalRecipe
from ..runs.run_folder import student_of
from .study import ALL_LANGUAGES, Stage, Study

AnyRecipe = Recipe | CausalRecipe | RetrievalRecipe
STAGES = ("reference", "distil", "causal", "fine_tune")


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
        stage: `reference` (not trained), `distil`, `causal` or `fine_tune`.
        language: of the student; for a reference, of the queries.
        seed: of training; None for a reference.
        factors: name and value of what the sweeps vary, for this stage and those before it.
        system: what fine-tuning starts from: a system of the distillation, or `floor`, the untrained student.
        collection: what fine-tuning takes its labelled pairs from.
    """

    stage: str
    language: str
    seed: int | None = None
    factors: tuple[tuple[str, Any], ...] = field(default=())
    system: str | None = None
    collection: str | None = None

    @property
    def name(self) -> str:
        """Its name, and that of its folder."""
        parts = [self.stage, self.language, *(f"{name}_{'all' if value is None else value}" for name, value in self.factors)]
        parts += [part for part in (self.collection, self.system) if part is not None]
        return "-".join(parts + ([] if self.seed is None else [f"seed_{self.seed}"]))


def cells_of(study: Study) -> list[Cell]:
    """All cells, references first, every distillation before the fine-tuning from it; each once."""
    found: dict[str, dict[Cell, None]] = {stage: {} for stage in STAGES}
    for sweep in study.sweeps:
        for language in sweep["language"]:
            found["reference"] |= dict.fromkeys(Cell("reference", one) for one in tested_languages(study, language))
            for values in itertools.product(*(sweep[factor] for factor in study.factors)):
                chosen = dict(zip(study.factors, values, strict=True))
                for seed in study.seeds:
                    for name, stage in (("distil", study.distil), ("causal", study.causal)):
                        if stage is not None and not _is_left_out(stage, chosen):
                            found[name][Cell(name, language, seed, _own_factors(stage, chosen))] = None
                    found["fine_tune"] |= dict.fromkeys(_fine_tune(study, language, seed, chosen))
    return [cell for stage in STAGES for cell in found[stage]]


def tested_languages(study: Study, language: str) -> list[str]:
    """The languages that a student of `language` is tested in."""
    return [language] if language != ALL_LANGUAGES else [code for code in study.languages if code != ALL_LANGUAGES]


def _own_factors(stage: Stage, chosen: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((name, chosen[name]) for name in stage.factors)


def _fine_tune(study: Study, language: str, seed: int, chosen: Mapping[str, Any]) -> list[Cell]:
    if study.fine_tune is None or _is_left_out(study.fine_tune, chosen):
        return []
    systems = ["floor"] if _is_left_out(study.distil, chosen) else study.fine_tuned
    collections = [name for name, one in study.collections.items() if one.labelled and one.has(language)]
    factors = tuple(chosen.items())
    return [Cell("fine_tune", language, seed, factors, system, name) for name in collections for system in systems]


def _is_left_out(stage: Stage, chosen: Mapping[str, Any]) -> bool:
    return any(chosen[factor] == value for factor, value in stage.left_out.items())


@dataclass
class Places:
    """Where things of a study lie, all below its folder."""

    root: Path

    @property
    def prepared(self) -> Path:
        """Prepared collections."""
        return self.root / "data"

    def pairs(self, collection: str, language: str, seed: int) -> Path:
        """Labelled pairs of a collection, drawn by a seed."""
        return self.prepared / "pairs" / f"{collection}.{language}.seed_{seed}.jsonl"

    def cell(self, cell: Cell) -> Path:
        """The folder of a cell."""
        return self.root / "cells" / cell.name

    def student(self, cell: Cell, system: str) -> Path:
        """Where a distillation leaves a system's student."""
        return student_of(self.cell(cell), system)


def source_of(study: Study, cell: Cell) -> Cell | None:
    """The distillation that a fine-tuning starts from; None where it starts from the untrained student."""
    if cell.stage != "fine_tune" or cell.system == "floor":
        return None
    return Cell("distil", cell.language, cell.seed, _own_factors(study.distil, dict(cell.factors)))


def recipe_of(study: Study, cell: Cell) -> AnyRecipe:
    """The recipe of a cell; for a reference, of the distillation whose collections and teacher it shares.

    Raises:
        ValueError: naming the recipe's file and the key.
    """
    if cell.stage == "causal":
        return causal_recipe(study, cell)
    return fine_tuning_recipe(study, cell) if cell.stage == "fine_tune" else distillation_recipe(study, cell)


def distillation_recipe(study: Study, cell: Cell) -> Recipe:
    """The recipe of a distillation, see `recipe_of`."""
    values, file = _values(study, study.distil, cell, study.languages[cell.language].values)
    _multiply_updates(study.distil, values, file)
    values.setdefault("teacher", {}).setdefault("cache", str(study.root / "teacher_cache"))
    with _naming(file, cell):
        return Recipe.resolve(values, file.parent)


def causal_recipe(study: Study, cell: Cell) -> CausalRecipe:
    """The recipe of a causal model's distillation, or, for a reference, of the one whose model and questions it shares."""
    assert study.causal is not None
    values, file = _values(study, study.causal, cell, study.languages[cell.language].values)
    with _naming(file, cell):
        return CausalRecipe.resolve(values, file.parent)


def fine_tuning_recipe(study: Study, cell: Cell) -> RetrievalRecipe:
    """The recipe of a fine-tuning, see `recipe_of`."""
    assert study.fine_tune is not None
    assert cell.collection is not None
    assert cell.seed is not None
    places, source = Places(study.root), source_of(study, cell)
    values, file = _values(study, study.fine_tune, cell, {})
    untrained = distillation_recipe(study, Cell("reference", cell.language))
    teacher, start = untrained.teacher.model, untrained.student.start
    if source is None:
        values.setdefault("model", {}).setdefault("config", {}).update(untrained.student.config)
        student = teacher if start == "teacher" else start
    else:
        student = str(places.student(source, str(cell.system)))
    values["paths"] |= {
        "student": student,
        "teacher": teacher,
        "pairs": str(places.pairs(cell.collection, cell.language, cell.seed)),
        "collection": str(places.prepared / cell.collection),
    }
    with _naming(file, cell):
        return RetrievalRecipe.resolve(values, file.parent)


def _values(study: Study, stage: Stage, cell: Cell, own: Mapping[str, Any]) -> tuple[dict[str, Any], Path]:
    file = Path(study.folder) / stage.recipe
    values, file = _stage_values(file, file.stat().st_mtime_ns) if file.is_file() else read_values(file)
    values = merged(merged(values, stage.values), own)
    if "baselines" in values:  # a profile leaves one out by null
        values["baselines"] = {name: baseline for name, baseline in values["baselines"].items() if baseline is not None}
    factors = dict(cell.factors)
    for name, key in stage.factors.items():
        if name in factors:
            set_key(values, key, factors[name], f"{key}={factors[name]}")
    places = Places(study.root)
    output = str(places.cell(cell))
    values |= {"output": output, "language": cell.language, "name": cell.name, "seed": cell.seed or 0}
    values["paths"] = values.get("paths", {}) | study.paths | {"prepared": str(places.prepared)}
    return values, file


@contextmanager
def _naming(file: Path, cell: Cell) -> Iterator[None]:
    """Names the recipe's file and the cell in an error."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{file}: {error} (cell {cell.name})") from None


def _multiply_updates(stage: Stage, values: dict[str, Any], file: Path) -> None:
    """Gives baselines their multiple of the recipe's updates."""
    updates = values.get("training", {}).get("max_steps", 0)
    for name, times in stage.times_updates.items():
        baselines = values.get("baselines", {})
        if name not in baselines:
            raise ValueError(f"{file}: {unknown_key(f'distil.times_updates.{name}', name, baselines)}")
        if not updates > 0:
            raise ValueError(f"{file}: distil.times_updates needs `training.max_steps`, the number that is multiplied.")
        baselines[name].setdefault("training", {})["max_steps"] = round(updates * times)


@lru_cache(maxsize=16)
def _stage_values(file: Path, changed: int) -> tuple[dict[str, Any], Path]:
    """A recipe's plain values, read once for all cells; never changed in place."""
    return read_values(file)
