"""Arguments of distillation, beyond those of `transformers.TrainingArguments`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..loop.arguments import ObjectiveTrainingArguments
from ..objectives import parse_objectives
from ..option_checks import check_whole


@dataclass
class OpticalTrainingArguments(ObjectiveTrainingArguments):
    r"""
    Arguments of an [`OpticalTrainer`]. Only what differs from [`ObjectiveTrainingArguments`] is listed.

    Args:
        objectives (`dict[str, float | dict]`, defaults to `{"transport": 1.0}`):
            Objectives and their weights: `transport`, `pooled_mse`, `pooled_vector_mse`, `token_mse`, `contrastive`,
            `score_kl`, `language_adversary`, `embedding_adversary`. A weight is a number, or a schedule
            `{"initial": …, "final": …, "steps": …}` (linear; steps below 1 are a share of all steps). With options:
            `{"contrastive": {"weight": 1.0, "temperature": 0.05}}`.
        gradient_cache_chunk_size (`int`, *optional*):
            Texts that are encoded at a time; the gradient of the whole batch is added up exactly (GradCache). Large contrastive
            batches then need the memory of small ones and one more forward pass. `None`: off.
        initial_epsilon (`float`, *optional*):
            Where the transport's epsilon starts; it falls geometrically to `transport.epsilon` of the model's configuration.
            `None`: no annealing.
        epsilon_annealing_steps (`float`, defaults to 0.5):
            Steps until it has fallen; below 1, a share of all steps.
        topics (`int`, *optional*):
            Batches of pairs about one of at most this many topics, which are found on the teacher's vectors (topic-aware
            sampling). The negatives of `contrastive` and `score_kl` are then about the same topic. With
            `train_sampling_strategy="group_by_length"`, texts of a batch have similar lengths, too. `None`: batches of any
            pairs.
        collapse_threshold (`float`, *optional*, defaults to 0.25):
            Log how the student's token vectors are spread, and warn once when they fill fewer directions than this share of
            the teacher's on the same texts. `None`: off.
        learning_rate: as the parent's; default 3e-4.
    """

    gradient_cache_chunk_size: int | None = field(
        default=None, metadata={"help": "texts that are encoded at a time, for batches beyond the memory; null: off"}
    )
    initial_epsilon: float | None = field(default=None, metadata={"help": "epsilon of the first step (annealing)"})
    epsilon_annealing_steps: float = field(default=0.5, metadata={"help": "steps of annealing; below 1, a share of all steps"})
    topics: int | None = field(default=None, metadata={"help": "batches of pairs about one of so many topics; null: off"})
    collapse_threshold: float | None = field(
        default=0.25, metadata={"help": "warn below this share of the teacher's effective rank; null: no monitor"}
    )
    learning_rate: float = field(default=3e-4, metadata={"help": "learning rate"})

    _default_objectives: ClassVar[Mapping[str, float]] = {"transport": 1.0}

    def __post_init__(self) -> None:
        super().__post_init__()
        assert isinstance(self.objectives, dict)
        settings = parse_objectives(self.objectives)  # a wrong name, weight or option fails here
        if self.gradient_cache_chunk_size is not None:
            check_whole(self.gradient_cache_chunk_size, "gradient_cache_chunk_size", 1)
            if "embedding_adversary" in settings:
                raise ValueError("embedding_adversary and gradient_cache_chunk_size cannot go together: leave one of them out.")
        if self.topics is not None:
            check_whole(self.topics, "topics", 2)
            if self.train_sampling_strategy not in ("random", "group_by_length"):
                raise ValueError(
                    f"topics and train_sampling_strategy={str(self.train_sampling_strategy)!r} cannot go together: topics "
                    "decide the order. Use random or group_by_length, or leave topics out."
                )
        if self.initial_epsilon is not None and not self.initial_epsilon > 0:
            raise ValueError(f"initial_epsilon is {self.initial_epsilon!r}; it must be above 0, or null for no annealing.")
        if self.collapse_threshold is not None and not 0 < self.collapse_threshold < 1:
            raise ValueError(
                f"collapse_threshold is {self.collapse_threshold!r}; it must lie between 0 and 1 (a share), or be null for no "
                "monitor."
            )
        if self.epsilon_annealing_steps < 0:
            raise ValueError(f"epsilon_annealing_steps is {self.epsilon_annealing_steps!r}; it cannot be negative.")
