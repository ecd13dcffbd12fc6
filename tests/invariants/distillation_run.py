"""One small distillation through the real trainer; run as a script, also on several processes.

torchrun --nproc_per_node 2 distillation_run.py BACKBONE CASES.json OUTPUT
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import TrainerCallback

from modeling_optical import OpticalForDistillation, OpticalModel, TransportOptions
from trainer import OpticalTrainer, OpticalTrainingArguments, Teacher

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


class Watch(TrainerCallback):
    """Keeps the logged losses, and stops after a step."""

    def __init__(self, stop_after: int | None):
        self.losses: list[float] = []
        self.stop_after = stop_after

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.stop_after:
            control.should_training_stop = True


def distil(
    backbone: str,
    folder: Path,
    objectives: dict[str, Any],
    *,
    transport: dict[str, Any] | None = None,
    dropout: float = 0.0,
    stop_after: int | None = None,
    resume: bool = False,
    **arguments: Any,
) -> tuple[list[float], np.ndarray]:
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
    watch = Watch(stop_after)
    values = {
        "output_dir": str(folder),
        "objectives": objectives,
        "max_steps": 6,
        "per_device_train_batch_size": 8,
        "logging_steps": 1,
        "learning_rate": 0.02,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "ddp_find_unused_parameters": False,
        "seed": 5,
        # Plain descent: Adam makes a step of a gradient that is nothing but rounding.
        "optim": "sgd",
        "max_grad_norm": 0.0,
    } | arguments
    trainer = OpticalTrainer(
        model=student,
        args=OpticalTrainingArguments(**values),
        teacher=teacher,
        train_dataset=bitext(),
        callbacks=[watch],
    )
    trainer.train(resume_from_checkpoint=resume or None)
    weights = torch.cat([p.detach().flatten() for p in student.parameters()]).numpy()
    return watch.losses, weights


def main() -> None:
    backbone, cases, output = sys.argv[1:]
    for name, case in json.loads(Path(cases).read_text()).items():
        losses, weights = distil(backbone, Path(output) / "run", **case)
        if torch.distributed.get_rank() == 0:
            np.savez(Path(output) / f"{name}.npz", losses=losses, weights=weights)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
