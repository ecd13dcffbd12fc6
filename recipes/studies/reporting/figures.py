"""The figures of a report: panels of lines or of values beside each other, with error bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from modeling_optical.files.atomic_write import replacing_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PanelT = TypeVar("PanelT")
# Okabe and Ito's colours, which the colour-blind tell apart; markers and lines differ, too, for print without colours.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (5, 5)))
_STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "figure.dpi": 150,
    "text.parse_math": False,
}


def save_figure(
    path: Path, panels: Mapping[str, PanelT], draw: Callable[[Axes, PanelT], None], *, x: str = "", y: str = ""
) -> None:
    """Draws panels side by side and then below each other, and writes them as PNG and PDF; the same data give the same files.

    Args:
        path: without an ending.
        panels: title to panel.
        draw: draws a panel.
        x, y: labels of the axes.

    Raises:
        ImportError: without matplotlib; says how to install it.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('the figures of a report need matplotlib: pip install "modeling-optical[studies]"') from error
    columns = min(len(panels), 3)
    rows = math.ceil(len(panels) / columns)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(3.4 * columns, 6.5), 2.9 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        legend: dict[str, Any] = {}
        for axis, (title, panel) in zip(axes, panels.items(), strict=False):
            draw(axis, panel)
            axis.set_title(title, fontsize=9)
            axis.set_xlabel(x)
            axis.set_ylabel(y)
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
                legend.setdefault(label, handle)
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=3, fontsize=7, handlelength=3.5)
        for ending, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            with replacing_file(path.with_name(f"{path.name}.{ending}")) as scratch:
                figure.savefig(scratch, format=ending, bbox_inches="tight", metadata=metadata)


def look(number: int) -> dict[str, Any]:
    """Colour, marker and line of the n-th system, for `Axes.errorbar` and `Axes.plot`."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": _LINES[number % len(_LINES)],
        "markersize": 4,
        "linewidth": 1.2,
    }


def reach(data: pd.DataFrame, value: str = "value", low: str = "value_low", high: str = "value_high") -> list[pd.Series]:
    """How far the error bars go below and above the values."""
    return [
        (data[value] - data[low].fillna(data[value])).clip(lower=0),
        (data[high].fillna(data[value]) - data[value]).clip(lower=0),
    ]


def draw_lines(
    axis: Axes, data: pd.DataFrame, x: str, names: Mapping[str, str], *, column: str = "system", **columns: str
) -> None:
    """A line with error bars for each system that has data.

    Args:
        axis: where.
        data: the points: `column`, `x`, and those that `reach` takes.
        x: which column goes from left to right.
        names: the systems and their names in the legend; the n-th has the n-th look.
        column: which column has the systems.
        columns: see `reach`.
    """
    for place, (system, name) in enumerate(names.items()):
        own = data[data[column] == system].sort_values(x)
        if not own.empty:
            values = own[columns.get("value", "value")]
            axis.errorbar(own[x], values, yerr=reach(own, **columns), label=name, capsize=2, **look(place))


def beside(
    axis: Axes, data: pd.DataFrame, languages: Sequence[str], systems: Sequence[str], width: float
) -> Iterator[tuple[int, str, np.ndarray, pd.DataFrame]]:
    """For each system its number, its name, the x positions of its values beside the others', and its rows in `data`."""
    axis.set_xticks(range(len(languages)), list(languages))
    for place, system in enumerate(systems):
        own = data[data["system"] == system].dropna(subset="value")
        if not own.empty:
            x = np.array([languages.index(code) for code in own["language"]]) + (place - (len(systems) - 1) / 2) * width
            yield place, system, x, own


def draw_bars(
    axis: Axes, data: pd.DataFrame, languages: Sequence[str], names: Mapping[str, str], hatches: Sequence[str]
) -> None:
    """Bars with error bars, those of a language beside each other; `names` are the systems and their names in the legend."""
    width = 0.8 / max(len(names), 1)
    for place, system, x, own in beside(axis, data, languages, list(names), width):
        axis.bar(x, own["value"], width * 0.92, color=look(place)["color"], label=names[system],
                 hatch=hatches[place % len(hatches)], edgecolor="white", linewidth=0.4)  # fmt: skip
        axis.errorbar(x, own["value"], yerr=reach(own), color="black", linewidth=0.7, capsize=1, linestyle="none")
