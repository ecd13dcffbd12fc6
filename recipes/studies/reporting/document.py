"""A report as files: one page of Markdown, each table also for LaTeX and as CSV, each figure as PNG, PDF and CSV."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from modeling_optical.files.atomic_write import write_text

from .estimates import MISSING, Row
from .figures import PanelT, save_figure
from .table import Format, markdown_table, numbers_of, shown_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class ReportDocument:
    """A report in the making.

    Args:
        folder: where its files go.
        title: first line.

    Attributes:
        gaps: planned results that are missing, a line each.
        would_change: what would change the answer, a line each, beside what the study names.
    """

    def __init__(self, folder: Path, title: str):
        self.folder = folder
        self.gaps: list[str] = []
        self.would_change: list[str] = []
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

    def answer(self, first: str, details: Sequence[str] = (), *, lead: str = "", between: str = "; ") -> str:
        """Adds the answer, and gives it: a sentence in bold, then the numbers behind it.

        Args:
            first: the sentence that answers the question for a reader who reads nothing else.
            details: the numbers, one clause each.
            lead: how the details begin.
            between: separates the details.
        """
        first = first[0].upper() + first[1:]
        details = [f"{lead}{between.join(details)}."] if details else []
        details = [one[0].upper() + one[1:] for one in details]
        self.text(f"**{first}**", *details)
        return "\n\n".join([first, *details])

    def table(
        self,
        name: str,
        caption: str,
        rows: Sequence[Row],
        shown: Mapping[str, Format] | pd.DataFrame,
        numbers: Sequence[str] | pd.DataFrame = (),
        **ends: tuple[str, str],
    ) -> None:
        """Adds a table; none without a row.

        Args:
            name: of its files in `tables/`.
            caption: a line above it.
            rows: its data.
            shown: its columns as text, heading to cell format; or the texts.
            numbers: those of the rows' columns that the CSV has; all if empty; or the CSV's table.
            ends: see `numbers_of`.
        """
        texts = shown if isinstance(shown, pd.DataFrame) else shown_table(rows, shown)
        if texts.empty:
            return
        numbers = numbers if isinstance(numbers, pd.DataFrame) else numbers_of(rows, numbers, **ends)
        folder = self.folder / "tables"
        write_text(folder / f"{name}.csv", numbers.to_csv(index=False))
        plain = texts.astype(str).replace({MISSING: "--"})
        latex = plain.to_latex(index=False, escape=True, caption=_latex(_plain(caption)), label=f"tab:{name}", position="t")
        write_text(folder / f"{name}.tex", latex)
        self._parts.append(f"{caption}\n\n{markdown_table(texts)}")

    def kept_table(self, name: str, rows: Sequence[Row] | pd.DataFrame, columns: Sequence[str] = (), **ends: Any) -> str:
        """Writes a table that is too long for the page, and gives a link to it; see `numbers_of`."""
        numbers = rows if isinstance(rows, pd.DataFrame) else numbers_of(rows, columns, **ends)
        place = f"tables/{name}.csv"
        write_text(self.folder / place, numbers.to_csv(index=False))
        return f"[{place}]({place})"

    def figure(
        self,
        name: str,
        caption: str,
        data: pd.DataFrame,
        panels: Mapping[str, PanelT],
        draw: Callable[[Axes, PanelT], None],
        **labels: str,
    ) -> None:
        """Adds a figure.

        Args:
            name: of its files in `figures/`.
            caption: the line below it.
            data: the drawn values, for the CSV.
            panels, draw, labels: see `save_figure`.
        """
        place = f"figures/{name}"
        write_text(self.folder / f"{place}.csv", data.to_csv(index=False))
        save_figure(self.folder / place, panels, draw, **labels)
        self._parts.append(f"![{_plain(caption)}]({place}.png)\n\n*{caption}* Data: [{place}.csv]({place}.csv).")

    def write(self) -> Path:
        """Writes the page."""
        return write_text(self.folder / "report.md", "\n\n".join(self._parts) + "\n")


def _latex(text: str) -> str:
    """A text with the characters escaped that LaTeX takes for commands; pandas escapes cells, not captions."""
    return re.sub(r"([%&_#$])", r"\\\1", text)


def _plain(text: str) -> str:
    return text.replace("*", "").replace("`", "")
