"""`optical run --dry-run`: what a run would do, how long it would take and how large it would become."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from trainer import describe_objectives

from ..speed import in_words, speed_of_this_machine
from .data import Data, examples_seen, for_updates, load_data
from .distillation_run import Run, check_dimension, load_start, load_teacher
from .progress import expected_stages, mean_tokens
from .recipe.distillation import Recipe
from .run_folder import student_of
from .sides import warn_if_swapped

_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4}
# Weights and AdamW's two moments, of 4 bytes each.
_CHECKPOINT = 12
_KEPT = 2  # checkpoints of a training


def describe_run(recipe: Recipe, *, overwrite: bool = False) -> str:
    """Reads the data, loads the models and says what the run would do; nothing is written into its folder.

    Args:
        recipe: the recipe.
        overwrite: as for the run.

    Raises:
        ValueError, FileNotFoundError: whatever the run itself would find wrong before it trains.
    """
    Run.check_training(recipe)
    folder = Path(recipe.output).expanduser()
    run = Run(recipe, overwrite=overwrite)
    run.prepare()
    run.check_folder()
    data = for_updates(load_data(recipe, print), recipe)
    first = recipe.teacher_recipe
    untrained = first is not None and not (Path(recipe.teacher.model) / "config.json").is_file()
    if first is not None and untrained:  # it has the size of what it starts from
        recipe = replace(recipe, teacher=replace(recipe.teacher, model=first.model.start))
    teacher = load_teacher(recipe)
    warn_if_swapped(data.sample, teacher.get_processor().tokenizer, recipe.teacher.language)
    student = load_start(recipe, teacher.config.vector_dim)
    check_dimension(student, teacher.config.vector_dim)
    systems = recipe.systems
    there = () if overwrite else ("prealigned", *systems)
    done = [name for name in there if (student_of(folder, name) / "config.json").is_file()]
    stages = expected_stages(recipe, data, teacher.config.get_text_config(), speed_of_this_machine(recipe.precision), done)
    lines = [f"Dry run: nothing is trained or written. The run in {folder} would"]
    if untrained:
        lines.append(f"  train     the teacher first, by {recipe.teacher.recipe} (its time and disk are not counted below)")
    for name, own in systems.items():
        pairs = examples_seen(own.training, len(data.sample))
        said = "is there already" if name in done else f"{describe_objectives(own.objectives)}, {pairs:,.0f} pairs seen"
        lines.append(f"  train     {name}: {said}")
    measured = [
        f"{one.name} ({one.language}, {len(one.queries):,} queries, {len(one.corpus):,} documents)" for one in data.collections
    ]
    lines.append(f"  evaluate  {', '.join([*measured, f'{len(data.held_out):,} held-out pairs'])}")
    if rivals := [*recipe.evaluation.rivals, *recipe.evaluation.references]:
        lines.append(f"  compare   with {', '.join(rivals)}")
    if recipe.training.get("push_to_hub"):
        lines.append(f"  push      to {recipe.training.get('hub_model_id') or f'{recipe.name}-{recipe.language}'} on the Hub")
    sizes = _sizes(recipe, data, student, len(systems))
    free = shutil.disk_usage(next(p for p in (folder, *folder.absolute().parents) if p.exists())).free
    parts = ", ".join(f"{name} {_in_bytes(size)}" for name, size in sizes.items())
    lines.append(f"  take      about {_in_bytes(sum(sizes.values()))} of disk ({parts}); {_in_bytes(free)} are free")
    each = ", ".join(f"{name} {in_words(seconds)}" for name, seconds in stages.items())
    return "\n".join([*lines, f"and about {in_words(sum(stages.values()))} on this machine: {each}."])


def _sizes(recipe: Recipe, data: Data, student: Any, systems: int) -> dict[str, float]:
    """Bytes of what a run leaves in its folder."""
    added = recipe.student.vocabulary.size * student.config.get_text_config().hidden_size if recipe.student.vocabulary else 0
    weights = student.num_parameters() + added
    kept = recipe.training.get("save_total_limit") or _KEPT
    sizes = {"start and students": 4.0 * weights * (systems + 1), "checkpoints": float(_CHECKPOINT) * weights * kept * systems}
    if not recipe.teacher.live:
        sources = [*data.train["source"], *data.held_out["source"]]
        tokens = mean_tokens(sources[:500]) * len(sources)
        sizes["teacher vectors"] = tokens * student.config.vector_dim * _BYTES[recipe.teacher.cache_dtype]
    return sizes


def _in_bytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
