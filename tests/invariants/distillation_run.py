"""One small distillation through the real trainer; run as a script, also on several processes.

torchrun --nproc_per_node 2 distillation_run.py BACKBONE CASES.json OUTPUT
"""

import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from training_script import Trajectory, arguments, carry_out, trajectory

from modeling_optical import OpticalForDistillation, OpticalModel, TransportOptions
from trainer import OpticalTrainer, OpticalTrainingArguments, Teacher, TeacherCache

SOURCE = ["cat", "mat", "dog", "search", "works", "english", "somali", "teacher", "vector", "translation", "good", "same"]
TARGET = [word[::-1] for word in SOURCE]


def bitext(pairs: int = 48) -> Dataset:
    """Sentences of 2 to 9 words, translated word by word, in two languages and of both kinds."""
    generator = random.Random(0)
    rows = []
    for index in range(pairs):
        chosen = [generator.randrange(len(SOURCE)) for _ in range(generator.randint(2, 9))]
        row = {"source": " ".join(SOURCE[i] for i in chosen), "target": " ".join(TARGET[i] for i in chosen)}
        rows.append(row | {"language": ("sw", "so")[index % 2], "kind": ("query", "query", "document")[index % 3]})
    return Dataset.from_list(rows)


def distil(
    backbone: str,
    folder: Path,
    objectives: dict[str, Any],
    *,
    transport: dict[str, Any] | None = None,
    dropout: float = 0.0,
    cached: bool = False,
    stop_after: int | None = None,
    resume: bool = False,
    **own: Any,
) -> Trajectory:
    """Trains six updates of eight pairs, or as the arguments say; returns logged losses and final weights."""
    options = TransportOptions(**(transport or {}))
    torch.manual_seed(1)
    teacher = Teacher(
        OpticalModel.from_backbone(backbone, embedding_dim=8, document_length=24),
        24,
        weigh_tokens_by=[options.marginals] if options.marginals in ("norm", "attention") else [],
        expand=options.tokens == "with_expansion",
    )
    torch.manual_seed(2)
    student = OpticalForDistillation.from_backbone(backbone, embedding_dim=8, document_length=24, transport=options)
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
        elif isinstance(getattr(module, "dropout_prob", None), float):
            module.dropout_prob = dropout
    values = arguments(
        folder, **{"objectives": objectives, "max_steps": 6, "learning_rate": 0.02, "ddp_find_unused_parameters": False} | own
    )
    pairs = bitext()
    trainer = OpticalTrainer(
        model=student,
        args=OpticalTrainingArguments(**values),
        teacher=_cache(folder, teacher, pairs) if cached else teacher,
        train_dataset=pairs,
    )
    return trajectory(trainer, stop_after, resume)


def _cache(folder: Path, teacher: Teacher, pairs: Dataset) -> TeacherCache:
    cache = TeacherCache(folder / "cache", teacher, dtype="float32", shard_size=7)
    for kind in ("query", "document"):
        cache.build(pairs["source"], kind, show_progress_bar=False)
    return cache


if __name__ == "__main__":
    carry_out(distil)
