"""Pictures of a student (extra `plot`): the plan of a pair, losses while training, results by language."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from modeling_optical.evaluation import ResultRow
from modeling_optical.files.atomic_write import replacing_file

from ..languages import language_name
from ..results import CEILING, FLOOR, headline
from .alignment import Alignment
from .fonts import fonts_for

_SUFFIXES = (".png", ".svg", ".pdf")
_COLOURS = {FLOOR: "#b8b8b8", "start": "#8aa8c8", "optical": "#1f4e79", CEILING: "#c9a227"}
# What the trainer logs beside the losses.
_RANKS = {"effective_rank": "student", "teacher_effective_rank": "teacher"}
_COSINES = ("cosine_between_own_tokens", "cosine_between_own_texts", "token_similarity", "pooled_similarity")
_NO_LOSS = ("step", "epoch", "learning_rate", "grad_norm", "unconverged", "loss", "epsilon", *_RANKS, *_COSINES)


def draw_alignment(alignment: Alignment, path: str | os.PathLike) -> Path:
    """Draws the plan as a heat map, rows scaled to 1, with tokens and both marginals on its edges.

    Args:
        alignment: the solved pair.
        path: ends in .png, .svg or .pdf.

    Returns:
        The path of the picture.

    Raises:
        ImportError: without matplotlib. ValueError: for another ending.
    """
    rows, columns = alignment.plan.shape
    text = "".join([*alignment.student_tokens, *alignment.teacher_tokens, alignment.text, alignment.translation])
    with _figure(path, (3.4 + 0.42 * columns, 2.6 + 0.36 * rows), text) as figure:
        top, heat, right = _marginal_axes(figure, rows, columns)
        image = heat.imshow(alignment.shares, cmap="cividis", vmin=0, aspect="auto")
        heat.set_xticks(range(columns), alignment.teacher_tokens, rotation=45, ha="right", rotation_mode="anchor")
        heat.set_yticks(range(rows), alignment.student_tokens)
        heat.set_xlabel("teacher's tokens")
        heat.set_ylabel("student's tokens")
        top.bar(range(columns), alignment.teacher_marginal, color=_COLOURS["start"])
        right.barh(range(rows), alignment.student_marginal, color=_COLOURS["start"])
        for axes in (top, right):
            axes.tick_params(labelsize=6)
            axes.spines[["top", "right"]].set_visible(False)
        top.set_ylabel("mass", fontsize=7)
        right.set_xlabel("mass", fontsize=7)
        figure.suptitle(f"{alignment.translation}\n{alignment.text}\ntransport cost {alignment.cost:.3f}", fontsize=9)
        figure.colorbar(image, ax=right, label="share of the student token's mass", fraction=0.5, pad=0.25)
    return Path(path)


def draw_training(log: Sequence[Mapping[str, Any]], path: str | os.PathLike) -> Path | None:
    """Draws every loss of a training against its updates and, below, how many directions the token vectors fill.

    Args:
        log: the trainer's log history.
        path: ends in .png, .svg or .pdf.

    Returns:
        The path, or None if fewer than two steps were logged.
    """
    steps = [entry for entry in log if "loss" in entry and "step" in entry]
    if len(steps) < 2:
        return None
    names = [key for key in steps[0] if key not in _NO_LOSS and not key.endswith(("_weight", "_accuracy"))]
    evaluated = [entry for entry in log if "eval_loss" in entry and "step" in entry]
    ranks = [name for name in _RANKS if any(name in entry for entry in steps)]
    with _figure(path, (6, 5.2 if ranks else 3.4), "".join(names)) as figure:
        ratios = [3, 1.3] if ranks else [1]
        axes, *below = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0]

        def plot(place: Any, name: str, **style: Any) -> None:
            drawn = [entry for entry in steps if name in entry]
            place.plot([e["step"] for e in drawn], [e[name] for e in drawn], marker="o", markersize=3, **style)

        for name in names:
            plot(axes, name, label=name)
        if len(names) != 1:
            axes.plot([e["step"] for e in steps], [e["loss"] for e in steps], color="black", label="sum")
        if evaluated:
            points = [e["step"] for e in evaluated], [e["eval_loss"] for e in evaluated]
            axes.plot(*points, "k--", marker="s", markersize=3, label="held out")
        axes.set_ylabel("loss")
        for place in below:
            for name in ranks:
                plot(
                    place,
                    name,
                    label=_RANKS[name],
                    color=_COLOURS["ceiling" if name == "teacher_effective_rank" else "optical"],
                )
            place.set_ylabel("effective rank")
        for place in (axes, *below):
            place.set_ylim(bottom=0)
            place.spines[["top", "right"]].set_visible(False)
            place.legend(frameon=False, fontsize=8)
        (below or [axes])[-1].set_xlabel("updates")
    return Path(path)


def draw_languages(
    rows: Sequence[ResultRow], path: str | os.PathLike, *, metric: str | None = None, systems: Sequence[str] | None = None
) -> Path | None:
    """Draws bars by language, a group per collection and language, the systems side by side with their 95 % intervals.

    Args:
        rows: results of all systems.
        path: ends in .png, .svg or .pdf.
        metric: the headline metric if None.
        systems: in this order; all of them, from floor to ceiling, if None.

    Returns:
        The path, or None if there is nothing to draw.
    """
    metric = metric or headline(rows)
    chosen = [row for row in rows if row.metric == metric]
    if not chosen:
        return None
    if systems is None:
        names = list(dict.fromkeys(row.system for row in chosen))
        systems = sorted(names, key=lambda name: (name == CEILING, name == "optical", name != FLOOR))
    groups = list(dict.fromkeys((row.collection, row.language) for row in chosen if row.system != CEILING))
    cells = {(r.system, r.collection, r.language): r for r in chosen if r.system != CEILING}
    ceilings = {r.collection: r for r in chosen if r.system == CEILING}
    width = 0.8 / len(systems)
    labels = [f"{language_name(language)}\n{collection}" for collection, language in groups]
    with _figure(path, (max(4.6, 1.2 + 1.5 * len(groups)), 3.8), "".join(labels)) as figure:
        axes = figure.add_subplot()
        for place, system in enumerate(systems):
            found = [ceilings.get(g[0]) if system == CEILING else cells.get((system, *g)) for g in groups]
            at = [i + (place - (len(systems) - 1) / 2) * width for i, row in enumerate(found) if row is not None]
            told = [row for row in found if row is not None]
            values = np.array([row.value for row in told])
            errors = np.array([[max(row.value - row.low, 0) for row in told], [max(row.high - row.value, 0) for row in told]])
            axes.bar(at, values, width * 0.92, yerr=errors, color=_COLOURS.get(system), label=system, error_kw={"lw": 1})
        axes.set_xticks(range(len(groups)), labels, fontsize=8)
        axes.set_ylabel(metric)
        axes.set_ylim(0, 1)
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside upper center", ncols=min(len(systems), 3), frameon=False, fontsize=8)
    return Path(path)


def _marginal_axes(figure: Any, rows: int, columns: int) -> tuple[Any, Any, Any]:
    """Axes for the teacher's marginal, the plan, the student's marginal."""
    grid = figure.add_gridspec(2, 2, width_ratios=[max(columns, 3), 2.2], height_ratios=[1.4, max(rows, 3)])
    heat = figure.add_subplot(grid[1, 0])
    top = figure.add_subplot(grid[0, 0], sharex=heat)
    right = figure.add_subplot(grid[1, 1], sharey=heat)
    top.tick_params(labelbottom=False)
    right.tick_params(labelleft=False)
    return top, heat, right


@contextmanager
def _figure(path: str | os.PathLike, size: tuple[float, float], text: str) -> Iterator[Any]:
    """A figure with fonts for a text, saved whole when the block ends."""
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"{path} has no ending of a picture: {', '.join(_SUFFIXES)}.")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('pictures need matplotlib: pip install "modeling-optical[plot]"') from error
    # A dollar in a text is a dollar, and begins no formula.
    style = {"font.family": fonts_for(text), "svg.hashsalt": "optical", "text.parse_math": False}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=size, dpi=150, layout="constrained")
        yield figure
        with replacing_file(path) as scratch:
            figure.savefig(scratch, format=path.suffix.removeprefix("."))
