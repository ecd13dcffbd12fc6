"""A system over several languages: macro mean, worst language, gaps, standard deviation."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files.atomic_write import write_text
from .results import ResultRow


@dataclass
class LanguageSummary:
    """A metric of a system on a collection, over its languages.

    Attributes:
        system, collection, metric: as in the rows.
        values: language to value.
        macro: mean over the languages, each counted once.
        worst: the language with the lowest value.
        gap_to_english: value in English less the mean of the other languages; None without English or without others.
        gap_to_best: value of the best language less that of the worst.
        deviation: standard deviation over the languages (n - 1); None for a single language.
    """

    system: str
    collection: str
    metric: str
    values: dict[str, float]
    macro: float
    worst: str
    gap_to_english: float | None
    gap_to_best: float
    deviation: float | None


def summarise_languages(rows: Sequence[ResultRow]) -> list[LanguageSummary]:
    """A summary per system, collection and metric, in the order of the rows.

    Raises:
        ValueError: if a language appears twice.
    """
    groups: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in rows:
        values = groups.setdefault((row.system, row.collection, row.metric), {})
        if row.language in values:
            raise ValueError(f"{row.system}, {row.collection}, {row.metric}: the language {row.language!r} appears twice.")
        values[row.language] = row.value
    return [_summary(*key, values) for key, values in groups.items()]


def _summary(system: str, collection: str, metric: str, values: dict[str, float]) -> LanguageSummary:
    others = [value for language, value in values.items() if language != "en"]
    return LanguageSummary(
        system,
        collection,
        metric,
        values,
        macro=statistics.fmean(values.values()),
        worst=min(values, key=lambda language: values[language]),
        gap_to_english=values["en"] - statistics.fmean(others) if "en" in values and others else None,
        gap_to_best=max(values.values()) - min(values.values()),
        deviation=statistics.stdev(values.values()) if len(values) > 1 else None,
    )


def write_summaries(path: str | os.PathLike, summaries: Sequence[LanguageSummary]) -> Path:
    """Writes the summaries as a JSON list."""
    return write_text(path, json.dumps([asdict(summary) for summary in summaries], indent=1, ensure_ascii=False) + "\n")


def format_summaries(summaries: Sequence[LanguageSummary]) -> str:
    """A plain-text table with a line per summary."""
    header = ["system", "collection", "metric", "languages", "macro", "worst", "gap to English", "gap to best", "deviation"]
    table = [header]
    for one in summaries:
        english = "-" if one.gap_to_english is None else f"{one.gap_to_english:.3f}"
        deviation = "-" if one.deviation is None else f"{one.deviation:.3f}"
        worst = f"{one.worst} {one.values[one.worst]:.3f}"
        first = [one.system, one.collection, one.metric, str(len(one.values)), f"{one.macro:.3f}", worst]
        table.append([*first, english, f"{one.gap_to_best:.3f}", deviation])
    widths = [max(len(line[column]) for line in table) for column in range(len(header))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table)
