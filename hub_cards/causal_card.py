"""The model card of a causal language model that was distilled from itself, from one language to another."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modeling_optical.checkpoints.names import shown_name
from modeling_optical.evaluation import ResultRow

from .card_file import trained_metadata, write_card
from .markdown import Markdown, render
from .results import results_table

TEMPLATE = Path(__file__).parent / "causal_card.md.jinja"


@dataclass
class CausalCard:
    """The content of a card, from a run's record and results.

    Attributes:
        name, language: of the model.
        start: the model that is both teacher and initial student.
        objectives: one line.
        pairs: pairs of the bitext that were trained on.
        rows: results of all systems; `optical` is this model.
        versions: of the packages.
        precision: of the training, such as `bf16`.
    """

    name: str
    language: str
    start: str
    objectives: str
    pairs: int
    rows: Sequence[ResultRow]
    versions: Mapping[str, str | None]
    precision: str


def write_causal_card(folder: str | os.PathLike, card: CausalCard, repo_id: str | None = None) -> Path:
    """Writes `README.md` into the model's folder, with its results as `model-index`; `repo_id` as for `write_model_card`."""
    data = trained_metadata(card, "optical", "text-generation", ["optical", "distillation"])
    content = render(
        TEMPLATE,
        card_data=Markdown(data.to_yaml()),
        card=card,
        start=shown_name(card.start),
        results_table=results_table(card.rows, list(dict.fromkeys(row.metric for row in card.rows))),
        versions=", ".join(f"{name} {version}" for name, version in card.versions.items() if version),
    )
    return write_card(folder, content, repo_id)
