"""The model card of a retriever that was trained on labelled queries."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeling_optical.checkpoints.names import shown_name
from modeling_optical.evaluation import ResultRow

from .card_file import LOWEST_TRANSFORMERS, trained_metadata, write_card
from .languages import language_name
from .markdown import Markdown, render
from .results import results_table

TEMPLATE = Path(__file__).parent / "retriever_card.md.jinja"
_SHOWN = ("RR@10", "nDCG@10", "Success@1")


@dataclass
class RetrieverCard:
    """The content of a card, from a run's record and results.

    Attributes:
        name, language: of the model.
        start: the model that was trained.
        documents: encoder of the documents, if it is not the model itself.
        objectives: one line.
        examples: queries with a positive that were trained on.
        sources: names of the data.
        rows: results of the systems `start` and `trained`.
        versions: of the packages.
        precision: of the training, such as `bf16`.
        license: that the model is published under; None if it is not chosen.
    """

    name: str
    language: str
    start: str
    documents: str | None
    objectives: str
    examples: int
    sources: Sequence[str]
    rows: Sequence[ResultRow]
    versions: Mapping[str, str | None]
    precision: str
    license: str | None = None


def write_retriever_card(folder: str | os.PathLike, card: RetrieverCard, repo_id: str | None = None) -> Path:
    """Writes `README.md` into a retriever's folder, with its results as `model-index`; `repo_id` as for `write_model_card`."""
    tags = ["optical", "late-interaction", "colbert", "multi-vector"]
    data = trained_metadata(card, "trained", "feature-extraction", tags, card.license)
    metrics = [metric for metric in _SHOWN if any(row.metric == metric for row in card.rows)]
    content = render(
        TEMPLATE,
        card_data=Markdown(data.to_yaml()),
        card=card,
        start=shown_name(card.start),
        documents=shown_name(card.documents or ""),
        language=language_name(card.language),
        lowest=LOWEST_TRANSFORMERS,
        results_table=results_table(card.rows, metrics),
        versions=", ".join(f"{name} {version}" for name, version in card.versions.items() if version),
    )
    return write_card(folder, content, repo_id)
