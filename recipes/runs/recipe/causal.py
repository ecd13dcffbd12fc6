"""The recipe of a causal language model whose hidden states are distilled, and which answers questions by likelihood."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modeling_optical import TransportOptions
from trainer.causal.arguments import parse_causal_objectives

from .data import DataRecipe
from .distillation import Recipe
from .evaluation import EvaluationRecipe
from .run import RunRecipe, check_names


@dataclass
class CausalModelRecipe:
    """The causal language model: frozen it is the teacher that reads English, a copy of it is the student.

    Args:
        start: folder or Hub id of a model that `AutoModelForCausalLM` loads.
        revision: of the Hub repository.
        dtype: of the weights (`float32`, `bfloat16`).
        layers: whose hidden states are compared, from 1, or from -1 backwards; null: the middle layer.
        max_length: tokens of a text of the bitext.
        max_question_length: tokens of question and choice together.
    """

    start: str = ""
    revision: str | None = None
    dtype: str = "float32"
    layers: list[int] | None = None
    max_length: int = 128
    max_question_length: int = 512

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"dtype is {self.dtype!r}; allowed: 'float32', 'bfloat16', 'float16'.")


@dataclass
class CausalRecipe(RunRecipe):
    """A whole distillation of a causal language model; see `RunRecipe` for what every run has.

    Args:
        model, data: see their classes.
        objectives: `transport`, `pooled_mse`, `token_mse`, `contrastive` between hidden states, and `next_token`.
        transport: options of the transport.
        training: arguments of `CausalDistillationArguments`.
        baselines: other systems from the same start; each may change `objectives` and `training`.
        evaluation: its questions; the causal model searches no collections.
    """

    name: str = "causal"
    model: CausalModelRecipe = field(default_factory=CausalModelRecipe)
    data: DataRecipe = field(default_factory=DataRecipe)
    objectives: dict[str, float | dict[str, Any]] = field(default_factory=lambda: {"transport": 1.0, "next_token": 1.0})
    transport: TransportOptions = field(default_factory=TransportOptions)
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    evaluation: EvaluationRecipe = field(default_factory=EvaluationRecipe)

    def system(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Objectives and training arguments of `optical`, the recipe itself, or of a baseline."""
        changes = {} if name == "optical" else self.baselines[name]
        for key in changes:
            if key not in ("objectives", "training"):
                raise ValueError(f"baselines.{name}.{key}: a baseline may change objectives and training only.")
        return changes.get("objectives", self.objectives), self.training | changes.get("training", {})

    @property
    def trainings(self) -> dict[str, dict[str, Any]]:
        """Key in the recipe to training arguments, of the student and of every baseline."""
        own = {f"baselines.{name}.training": self.system(name)[1] for name in self.baselines}
        return {"training": self.training} | own

    @property
    def systems(self) -> list[str]:
        """The systems to train: the baselines, then `optical`."""
        return [*self.baselines, "optical"]

    @property
    def bitext_recipe(self) -> Recipe:
        """A recipe with the same bitext and questions, for what loads them."""
        return Recipe(name=self.name, language=self.language, seed=self.seed, data=self.data, evaluation=self.evaluation)

    def check(self) -> None:
        if not self.model.start:
            raise ValueError("`model.start` is not set: give the causal language model.")
        if self.evaluation.collections or self.evaluation.choice_head is not None:
            raise ValueError(
                "a causal model answers `evaluation.questions` by likelihood; it has no collections and no choice head."
            )
        check_names(self.baselines)
        for name in self.systems:
            try:
                parse_causal_objectives(self.system(name)[0])
            except ValueError as error:
                raise ValueError(str(error) if name == "optical" else f"baselines.{name}: {error}") from None

    def locate(self, folder: Path) -> None:
        self.bitext_recipe.locate(folder)
