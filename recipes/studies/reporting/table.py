"""The tables of a report: rows of numbers for the CSV, and the same as texts for the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from .estimates import MISSING, Estimate, Row, number

Format = str | Callable[[Row], object]
"""A column as it is, or a function of the row."""


def signed(column: str) -> Format:
    """An estimate or a number with its sign."""
    return lambda row: row[column].signed if isinstance(row[column], Estimate) else number(row[column], sign=True)


def numbers_of(
    rows: Sequence[Row], columns: Sequence[str] = (), *, ends: tuple[str, str] = ("{}_low", "{}_high")
) -> pd.DataFrame:
    """The rows as numbers.

    Args:
        rows: the rows.
        columns: those that are wanted, in this order; all without.
        ends: names of the columns with the ends of an estimate's interval.
    """
    return pd.DataFrame([_expanded(row, columns or list(row), ends) for row in rows])


def _expanded(row: Row, columns: Sequence[str], ends: tuple[str, str]) -> Row:
    found: Row = {}
    for name in columns:
        value = row[name]
        found |= value.columns(name, *(end.format(name) for end in ends)) if isinstance(value, Estimate) else {name: value}
    return found


def shown_table(rows: Sequence[Row], columns: Mapping[str, Format]) -> pd.DataFrame:
    """The rows as texts: heading to column."""
    return pd.DataFrame([{name: _text(row, form) for name, form in columns.items()} for row in rows])


def pivoted(rows: Sequence[Row], keys: Mapping[str, Format], across: Format, cell: Format) -> pd.DataFrame:
    """A row for each combination of the keys' texts, a column for each value of `across`; a dash where there is no row."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        key = {name: _text(row, form) for name, form in keys.items()}
        found.setdefault(tuple(key.values()), key)[_text(row, across)] = _text(row, cell)
    return pd.DataFrame(list(found.values())).fillna(MISSING)


def _text(row: Row, form: Format) -> str:
    value = row[form] if isinstance(form, str) else form(row)
    if value is None:
        return MISSING
    return number(value) if isinstance(value, float) else str(value)


def markdown_table(table: pd.DataFrame) -> str:
    """A table in Markdown; `|` in a cell is escaped."""
    rows = [list(map(str, table.columns)), *([str(cell) for cell in row] for row in table.itertuples(index=False))]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(table.columns), *lines[1:]])
