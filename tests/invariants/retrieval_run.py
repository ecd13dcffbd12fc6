"""One small training on labelled queries through the real trainer; run as a script, also on several processes.

torchrun --nproc_per_node 2 retrieval_run.py BACKBONE CASES.json OUTPUT
"""

import random
from pathlib import Path
from typing import Any

import torch
from training_script import Trajectory, arguments, carry_out, trajectory

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


def train(
    backbone: str,
    folder: Path,
    objectives: dict[str, Any],
    *,
    frozen: bool = False,
    dropout: float = 0.0,
    stop_after: int | None = None,
    resume: bool = False,
    **own: Any,
) -> Trajectory:
    """Trains nine updates of eight queries, which is an epoch and a half; returns logged losses and final weights."""
    model = make_model(backbone, 2, dropout)
    values = arguments(
        folder, **{"objectives": objectives, "passages_per_query": 3, "max_steps": 9, "learning_rate": 0.05} | own
    )
    trainer = RetrievalTrainer(
        model=model,
        args=RetrievalTrainingArguments(**values),
        train_dataset=examples(),
        document_encoder=make_model(backbone, 1) if frozen else None,
    )
    return trajectory(trainer, stop_after, resume)


if __name__ == "__main__":
    carry_out(train)
