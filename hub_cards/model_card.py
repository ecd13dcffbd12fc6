"""The model card, written from the run itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from modeling_optical.atomic_write import write_text
from modeling_optical.evaluation import ResultRow

TEMPLATE = Path(__file__).parent / "model_card.md.jinja"
_SHOWN = ("AP@100", "nDCG@10", "RR@10")


@dataclass
class CardData:
    """What a card says; all of it comes from a run's record and results."""

    name: str
    language: str
    teacher_language: str
    teacher: str
    start: str
    objectives: Mapping[str, float]
    transport: Mapping[str, Any]
    training_pairs: int
    sources: Sequence[str]
    rows: Sequence[ResultRow]
    systems: Mapping[str, str]
    versions: Mapping[str, str | None]
    training_seconds: float | None
    device: str


def write_model_card(folder: str | os.PathLike, card: CardData) -> Path:
    """Writes `README.md` into a student's folder, with its results as `model-index`."""
    results = [
        EvalResult(
            task_type="text-retrieval",
            task_name="Retrieval",
            dataset_type=row.collection,
            dataset_name=f"{row.collection} ({row.language})",
            metric_type=row.metric,
            metric_name=row.metric,
            metric_value=round(row.value, 4),
        )
        for row in card.rows
        if row.system == "optical"
    ]
    hub_id = not card.start.startswith(("package:", "/", ".", "~")) and card.start.count("/") <= 1
    data = ModelCardData(
        language=[card.language, card.teacher_language],
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["optical", "late-interaction", "colbert", "multi-vector", "cross-lingual-retrieval"],
        base_model=card.start if hub_id else None,
        model_name=card.name,
        eval_results=results or None,
    )
    metrics = [m for m in _SHOWN if any(row.metric == m for row in card.rows)]
    keys = list(dict.fromkeys((row.collection, row.language, row.system, row.queries) for row in card.rows))
    cells = {(row.collection, row.language, row.system, row.metric): row for row in card.rows}
    table = [
        {
            "collection": collection,
            "language": language,
            "system": system,
            "queries": queries,
            "cells": [cells.get((collection, language, system, metric)) for metric in metrics],
        }
        for collection, language, system, queries in sorted(keys, key=lambda key: key[0])
    ]
    content = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        card=card,
        metrics=metrics,
        table=table,
        present=[(name, what) for name, what in card.systems.items() if any(row.system == name for row in card.rows)],
    )
    return write_text(Path(folder) / "README.md", str(content).rstrip() + "\n")
