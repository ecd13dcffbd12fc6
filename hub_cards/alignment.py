"""A picture of a transport plan: which token of the translation meets which token of the source."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib import font_manager
from matplotlib.figure import Figure
from transformers.utils import logging

from modeling_optical import OpticalModel, cosine_cost, solve_transport

logger = logging.get_logger(__name__)


@dataclass
class Alignment:
    """A solved pair.

    Attributes:
        student_tokens, teacher_tokens: the tokens that take mass, as text.
        plan: (student tokens, teacher tokens), sums to 1.
        cost: `<P, C>`.
        text, translation: the teacher's text and the student's.
    """

    student_tokens: list[str]
    teacher_tokens: list[str]
    plan: np.ndarray
    cost: float
    text: str
    translation: str


@torch.inference_mode()
def align(student: OpticalModel, teacher: OpticalModel, translation: str, text: str) -> Alignment:
    """Solves the transport between a text and its translation with the student's own transport options.

    Raises:
        ValueError: if a side has no token that takes mass.
    """
    options = student.config.transport_options
    sides = []
    for model, sentence in ((student, translation), (teacher, text)):
        processor = model.get_processor()
        batch = processor(sentence, "query", max_length=256).to(model.device)
        chosen = batch.pop("content_mask") if options.tokens == "content" else batch["token_mask"]
        vectors = model(batch["input_ids"], batch["attention_mask"], chosen).token_vectors
        if not bool(chosen.any()):
            raise ValueError(f"{sentence!r} has no token that takes mass.")
        tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][chosen].tolist())
        sides.append((vectors[chosen].unsqueeze(0).cpu(), [t.replace("▁", "").replace("Ġ", "") or t for t in tokens]))
    solved = solve_transport(
        cosine_cost(sides[0][0], sides[1][0]),
        solver=options.solver,
        epsilon=options.epsilon,
        tolerance=options.tolerance,
        annealing=options.annealing,
        marginal_penalty=options.marginal_penalty,
        moved_share=options.moved_share,
    )
    return Alignment(sides[0][1], sides[1][1], solved.plan[0].numpy(), float(solved.cost[0]), text, translation)


def draw_alignment(alignment: Alignment, path: str | os.PathLike) -> Path:
    """Draws the plan as a heat map, rows scaled to 1, tokens on the axes.

    Returns:
        The path of the picture.
    """
    path = Path(path)
    rows, columns = alignment.plan.shape
    shares = alignment.plan / np.maximum(alignment.plan.sum(1, keepdims=True), 1e-12)
    fonts = _fonts("".join(alignment.student_tokens + alignment.teacher_tokens + [alignment.text, alignment.translation]))
    with matplotlib.rc_context({"font.family": fonts}):
        figure = Figure(figsize=(2.6 + 0.42 * columns, 1.9 + 0.36 * rows), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        image = axes.imshow(shares, cmap="cividis", vmin=0, aspect="auto")
        axes.set_xticks(range(columns), alignment.teacher_tokens, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(rows), alignment.student_tokens)
        axes.set_xlabel("teacher's tokens")
        axes.set_ylabel("student's tokens")
        axes.set_title(f"{alignment.translation}\n{alignment.text}\ntransport cost {alignment.cost:.3f}", fontsize=9)
        figure.colorbar(image, ax=axes, label="share of the student token's mass", fraction=0.05)
        scratch = path.with_name(f".{path.name}.tmp")
        figure.savefig(scratch, format=path.suffix.removeprefix(".") or "png")
    os.replace(scratch, path)
    return path


def _fonts(text: str) -> list[str]:
    """Installed fonts that together have the characters, the default one first; says so where one is missing."""
    missing = {ord(c) for c in text if not c.isspace()}
    chosen = []
    entries = sorted(font_manager.fontManager.ttflist, key=lambda e: (e.name != "DejaVu Sans", e.name, e.style, e.weight))
    for entry in entries:
        if not missing:
            break
        if entry.style != "normal" or entry.name in chosen:
            continue
        covered = missing & set(font_manager.get_font(entry.fname).get_charmap())
        if covered:
            chosen.append(entry.name)
            missing -= covered
    if missing:
        some = "".join(chr(code) for code in sorted(missing)[:8])
        logger.warning(
            f"no installed font has the characters {some!r} of the alignment; they are drawn as boxes. A Noto font of the "
            "script mends it (on Debian: apt-get install fonts-noto-core)."
        )
    return chosen or ["DejaVu Sans"]
