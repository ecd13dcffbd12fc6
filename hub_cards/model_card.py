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
# Fewer tell nothing: a perfect score on six queries is no result to publish.
FEWEST_QUERIES = 50
_SHOWN = ("AP@100", "nDCG@10", "RR@10")


@dataclass
class CardData:
    """What a card says; all of it comes from a run's record and results."""

    name: str
    language: str
    teacher_language: str
    teacher: str
    start: str
    objectives: str
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
    data = ModelCardData(
        language=[card.language, card.teacher_language],
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["optical", "late-interaction", "colbert", "multi-vector", "cross-lingual-retrieval"],
        base_model=card.start if is_hub_id(card.start) else None,
        model_name=card.name,
        eval_results=results_metadata(card.rows, "optical") or None,
    )
    metrics = [m for m in _SHOWN if any(row.metric == m for row in card.rows)]
    systems = [f"- `{name}`: {what}" for name, what in card.systems.items() if any(row.system == name for row in card.rows)]
    seconds = None if card.training_seconds is None else f"{card.training_seconds:.0f} s on {card.device}"
    content = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        card=card,
        results_table=results_table(card.rows, metrics),
        systems="\n".join(systems),
        objectives=card.objectives,
        transport=", ".join(f"{name} {value}" for name, value in card.transport.items()),
        time=seconds,
        versions=", ".join(f"{name} {version}" for name, version in card.versions.items() if version),
    )
    return write_text(Path(folder) / "README.md", str(content).rstrip() + "\n")


def is_hub_id(name: str) -> bool:
    """Whether a model's name stands for a repository on the Hub."""
    return not name.startswith(("package:", "/", ".", "~")) and name.count("/") <= 1 and not os.path.isdir(name)


def results_metadata(rows: Sequence[ResultRow], system: str) -> list[EvalResult]:
    """The results of a system as a card's metadata, where there are enough queries."""
    return [
        EvalResult(
            task_type="text-retrieval",
            task_name="Retrieval",
            dataset_type=row.collection,
            dataset_name=f"{row.collection} ({row.language})",
            metric_type=row.metric,
            metric_name=row.metric,
            metric_value=round(row.value, 4),
        )
        for row in rows
        if row.system == system and row.queries >= FEWEST_QUERIES
    ]


def results_table(rows: Sequence[ResultRow], metrics: Sequence[str]) -> str:
    """A Markdown table with a line per collection, language and system."""
    lines = ["| collection | language | system | queries |" + "".join(f" {metric} |" for metric in metrics)]
    lines.append("|---" * (4 + len(metrics)) + "|")
    keys = list(dict.fromkeys((row.collection, row.language, row.system, row.queries) for row in rows))
    cells = {(row.collection, row.language, row.system, row.metric): row for row in rows}
    for collection, language, system, queries in sorted(keys, key=lambda key: key[0]):
        line = f"| {collection} | {language} | {system} | {queries} |"
        for metric in metrics:
            row = cells.get((collection, language, system, metric))
            line += f" {'–' if row is None else row} |"
        lines.append(line)
    return "\n".join(lines)
