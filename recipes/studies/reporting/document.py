"""A report as files: one page of Markdown, each table also for LaTeX and as CSV, each figure as PNG, PDF and CSV."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from modeling_optical.files.atomic_write import replacing_file, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
}
MISSING = "–"


class ReportDocument:
    """A report in the making.

    Args:
        folder: where its files go.
        title: first line.

    Attributes:
        gaps: what was to be there and is not, a line each.
    """

    def __init__(self, folder: Path, title: str):
        self.folder = folder
        self.gaps: list[str] = []
        self._parts = [f"# {title}"]

    def text(self, *paragraphs: str) -> None:
        """Adds paragraphs."""
        self._parts += paragraphs

    def heading(self, text: str) -> None:
        """Adds a heading of a part."""
        self._parts.append(f"## {text}")

    def bullets(self, lines: Sequence[str]) -> None:
        """Adds a list."""
        if lines:
            self._parts.append("\n".join(f"- {line}" for line in lines))

    def table(self, name: str, caption: str, shown: pd.DataFrame, numbers: pd.DataFrame | None = None) -> None:
        """Adds a table.

        Args:
            name: of its files in `tables/`.
            caption: a line above it.
            shown: its cells as they are read, texts.
            numbers: the same as numbers, for the CSV; `shown` if None.
        """
        folder = self.folder / "tables"
        write_text(folder / f"{name}.csv", (shown if numbers is None else numbers).to_csv(index=False))
        plain = shown.astype(str).replace({MISSING: "--"})
        latex = plain.to_latex(index=False, escape=True, caption=_latex(_plain(caption)), label=f"tab:{name}", position="t")
        write_text(folder / f"{name}.tex", latex)
        self._parts.append(f"{caption}\n\n{markdown_table(shown)}")

    def kept_table(self, name: str, numbers: pd.DataFrame) -> str:
        """Writes a table that is too long for the page, and gives its place for a link."""
        write_text(self.folder / "tables" / f"{name}.csv", numbers.to_csv(index=False))
        return f"tables/{name}.csv"

    def figure(
        self, name: str, caption: str, data: pd.DataFrame, draw: Callable[[Sequence[Axes]], None], *, panels: int = 1
    ) -> None:
        """Adds a figure.

        Args:
            name: of its files in `figures/`.
            caption: the line below it.
            data: what is drawn.
            draw: draws it on axes, one a panel.
            panels: how many, side by side and then below each other.

        Raises:
            ImportError: without matplotlib; says how to install it.
        """
        folder = self.folder / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.csv", data.to_csv(index=False))
        with _figure(panels) as (figure, axes):
            draw(axes)
            for ending in ("png", "pdf"):
                with replacing_file(folder / f"{name}.{ending}") as scratch:
                    figure.savefig(scratch, format=ending, bbox_inches="tight", metadata=_undated(ending))
        self._parts.append(
            f"![{_plain(caption)}](figures/{name}.png)\n\n*{caption}* Data: [figures/{name}.csv](figures/{name}.csv)."
        )

    def write(self) -> Path:
        """Writes the page."""
        return write_text(self.folder / "report.md", "\n\n".join(self._parts) + "\n")


def _undated(ending: str) -> dict[str, Any]:
    # So that the same results give the same files.
    return {"CreationDate": None} if ending == "pdf" else {"Software": None}


@contextmanager
def _figure(panels: int) -> Any:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('the figures of a report need matplotlib: pip install "modeling-optical[studies]"') from error
    columns = min(panels, 3)
    rows = math.ceil(panels / columns)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(3.4 * columns, 6.5), 2.9 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        axes = [axis for row in grid for axis in row]
        for axis in axes[panels:]:
            axis.set_visible(False)
        yield figure, axes[:panels]


def legend_below(axes: Sequence[Axes]) -> None:
    """One legend below all panels, of everything that is in any of them."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure = axes[0].get_figure()
    assert figure is not None
    figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=3, fontsize=7, handlelength=3.5)


def look(number: int) -> dict[str, Any]:
    """Colour, marker and line of the n-th system, for `Axes.errorbar` and `Axes.plot`."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": _LINES[number % len(_LINES)],
        "markersize": 4,
        "linewidth": 1.2,
    }


def colour(number: int) -> str:
    """Colour of the n-th system."""
    return _COLOURS[number % len(_COLOURS)]


def markdown_table(table: pd.DataFrame) -> str:
    """A table in Markdown; `|` in a cell is escaped."""
    rows = [list(map(str, table.columns)), *([str(cell) for cell in row] for row in table.itertuples(index=False))]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(table.columns), *lines[1:]])


def number(value: float | None, interval: tuple[float, float] | None = None, *, sign: bool = False, places: int = 3) -> str:
    """A value with its interval as a text; a dash for what there is not."""
    if value is None or not math.isfinite(value):
        return MISSING

    def written(one: float) -> str:
        # What rounds to nothing is not below nothing.
        return f"{one if round(one, places) else 0.0:{'+' if sign else ''}.{places}f}"

    return written(value) if interval is None else f"{written(value)} [{written(interval[0])}, {written(interval[1])}]"


def chance(p: float | None) -> str:
    """A p as a text."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _latex(text: str) -> str:
    """A text with the characters escaped that LaTeX takes for commands; pandas escapes cells, not captions."""
    return re.sub(r"([%&_#$])", r"\\\1", text)


def _plain(text: str) -> str:
    return text.replace("*", "").replace("`", "")
