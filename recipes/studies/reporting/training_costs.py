"""The cost of each training of a distillation: updates, forward passes, seconds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.objectives import embedding_adversary_setting

from ...checked_yaml import build
from ...runs.recipe.distillation import Recipe


def training_costs(recipe: Mapping[str, Any], seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    """A row per system of a run.

    Args:
        recipe: the run's, as plain values.
        seconds: what the run's stages took; a training that had ended before the run was resumed is not among them.

    Returns:
        `system`, `updates` (None where the recipe gives epochs), `passes` (forward and backward passes of all updates; those
        that only find a perturbation count like any other) and `seconds` (None where not known).
    """
    run = build(Recipe, recipe, "")
    rows: list[dict[str, Any]] = []
    for system in ("optical", *run.baselines):
        own = run if system == "optical" else run.baseline(system)
        adversary = embedding_adversary_setting(own.objectives)
        updates = own.training.get("max_steps", 0)
        counts = {"updates": updates, "passes": updates * (1 if adversary is None else adversary.options.passes)}
        known = counts if updates > 0 else dict.fromkeys(counts)
        rows.append({"system": system} | known | {"seconds": seconds.get(f"training {system}")})
    return rows
