"""One small training on labelled queries through the real trainer; run as a script, also on several processes.

torchrun --nproc_per_node 2 retrieval_run.py BACKBONE CASES.json OUTPUT
"""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from modeling_optical import OpticalModel
from trainer import LabelledDataset, RetrievalTrainer, RetrievalTrainingArguments

WORDS = ["cat", "mat", "dog", "search", "works", "english", "somali", "teacher", "vector", "translation", "good", "same"]


def examples(count: int = 48, negatives: int = 4) -> LabelledDataset:
    """Queries of 2 to 4 words; the positive holds them and more, the negatives some."""
    generator = random.Random(0)
    rows = []
    for _ in range(count):
        query = generator.sample(WORDS, generator.randint(2, 4))
        positive = " ".join([*query, *generator.sample(WORDS, generator.randint(1, 4))])
        others = [" ".join([query[0], *generator.sample(WORDS, generator.randint(2, 7))]) for _ in range(negatives)]
        passages = [positive, *others]
        scores = [generator.uniform(3, 5), *(generator.uniform(-2, 3) for _ in others)]
        rows.append({"query": " ".join(query), "passages": passages, "scores": scores})
    return LabelledDataset.from_list(rows)


def make_model(backbone: str, seed: int, dropout: float = 0.0) -> OpticalModel:
    torch.manual_seed(seed)
    model = OpticalModel.from_backbone(backbone, embedding_dim=8, query_length=12, document_length=16)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = dropout
    return model


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


def train(
    backbone: str,
    folder: Path,
    objectives: dict[str, Any],
    *,
    frozen: bool = False,
    dropout: float = 0.0,
    stop_after: int | None = None,
    resume: bool = False,
    **arguments: Any,
) -> tuple[list[float], np.ndarray]:
    """Trains nine updates of eight queries, which is an epoch and a half; returns logged losses and final weights."""
    model = make_model(backbone, 2, dropout)
    watch = Watch(stop_after)
    values = {
        "output_dir": str(folder),
        "objectives": objectives,
        "passages_per_query": 3,
        "max_steps": 9,
        "per_device_train_batch_size": 8,
        "logging_steps": 1,
        "learning_rate": 0.05,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 5,
        # Plain descent: Adam makes a step of a gradient that is nothing but rounding.
        "optim": "sgd",
        "max_grad_norm": 0.0,
    } | arguments
    trainer = RetrievalTrainer(
        model=model,
        args=RetrievalTrainingArguments(**values),
        train_dataset=examples(),
        document_encoder=make_model(backbone, 1) if frozen else None,
        callbacks=[watch],
    )
    trainer.train(resume_from_checkpoint=resume or None)
    return watch.losses, torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()


def main() -> None:
    backbone, cases, output = sys.argv[1:]
    for name, case in json.loads(Path(cases).read_text()).items():
        losses, weights = train(backbone, Path(output) / "run", **case)
        if torch.distributed.get_rank() == 0:
            np.savez(Path(output) / f"{name}.npz", losses=losses, weights=weights)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
