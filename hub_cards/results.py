"""Results as a card shows them: a table with floor and ceiling, the `model-index`, and `.eval_results` entries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import yaml
from huggingface_hub import EvalResult, EvalResultEntry, eval_result_entries_to_yaml

from modeling_optical.evaluation import ResultRow

from .markdown import Markdown, code, table

# Fewer tell nothing: a perfect score on six queries is not a result to publish.
FEWEST_QUERIES = 50
# The first of these that was measured stands for a collection.
HEADLINES = ("nDCG@10", "AP@100", "RR@10")
FLOOR, START, CEILING = "floor", "start", "ceiling"


@dataclass(frozen=True)
class CollectionReference:
    """Where a collection is to be found.

    Attributes:
        dataset: id of the data set on the Hub; None for files of one's own.
        split: which queries and judgements.
        revision: commit of the data set.
    """

    dataset: str | None = None
    split: str | None = None
    revision: str | None = None


def of_the_way(student: float, floor: float, ceiling: float) -> float | None:
    """How far a student has come from the floor to the ceiling: (student - floor) / (ceiling - floor); None without a way."""
    return (student - floor) / (ceiling - floor) if ceiling > floor else None


def headline(rows: Sequence[ResultRow]) -> str | None:
    """The metric that stands for the results; None if there are none."""
    measured = list(dict.fromkeys(row.metric for row in rows))
    return next((metric for metric in HEADLINES if metric in measured), measured[0] if measured else None)


def model_index(
    rows: Sequence[ResultRow], system: str, collections: Mapping[str, CollectionReference] | None = None
) -> list[EvalResult]:
    """The results of a system as a card's metadata, where there are enough queries.

    Every metric has the arguments `low`, `high` (95 % interval) and `queries`, and `floor` and `ceiling` where measured.

    Args:
        rows: of all systems.
        system: whose results these are.
        collections: where collections are to be found; others go by their name.
    """
    bounds = _bounds(rows)
    results = []
    for row in rows:
        if row.system != system or row.queries < FEWEST_QUERIES:
            continue
        where = (collections or {}).get(row.collection, CollectionReference())
        results.append(
            EvalResult(
                task_type="text-retrieval",
                task_name="Retrieval",
                dataset_type=where.dataset or row.collection,
                dataset_name=f"{row.collection} ({row.language})",
                dataset_config=row.language,
                dataset_split=where.split,
                dataset_revision=where.revision,
                metric_type=row.metric,
                metric_name=row.metric,
                metric_value=round(row.value, 4),
                metric_args={"low": round(row.low, 4), "high": round(row.high, 4), "queries": row.queries} | bounds(row),
            )
        )
    return results


def eval_results_files(
    rows: Sequence[ResultRow], system: str, collections: Mapping[str, CollectionReference], *, command: str, date: str | None
) -> dict[str, str]:
    """`.eval_results/*.yaml`, a file per collection and language of the Hub's data sets, by path.

    An entry's data set has to be one of the Hub's, so collections of one's own have none. It holds the headline metric; split,
    interval, number of queries, floor, ceiling and the command that made it are in its notes.

    Args:
        rows, system, collections: as for `model_index`.
        command: what made the results.
        date: when, ISO 8601.
    """
    bounds = _bounds(rows)
    metric = headline(rows)
    files = {}
    for row in rows:
        where = collections.get(row.collection)
        if row.system != system or row.metric != metric or row.queries < FEWEST_QUERIES or where is None or not where.dataset:
            continue
        said = [
            row.metric,
            *([f"split {where.split}"] if where.split else []),
            f"95 % interval {row.low:.4f} to {row.high:.4f}",
        ]
        said += [f"{row.queries} queries", *(f"{name} {value}" for name, value in bounds(row).items()), f"made by: {command}"]
        entry = EvalResultEntry(
            dataset_id=where.dataset,
            task_id=row.language,
            value=round(row.value, 4),
            dataset_revision=where.revision,
            date=date,
            notes=", ".join(said),
        )
        name = re.sub(r"[^\w.-]+", "-", f"{row.collection}-{row.language}")
        text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True, width=1000)
        files[f".eval_results/{name}.yaml"] = text
    return files


def comparison_table(rows: Sequence[ResultRow], metrics: Sequence[str], system: str) -> Markdown:
    """A Markdown table with a line per collection, language and metric; the systems side by side, from floor to ceiling.

    The ceiling asks in the teacher's language, so it is beside every language of its collection.
    """
    others = [name for name in dict.fromkeys(row.system for row in rows) if name not in (FLOOR, system, CEILING)]
    present = {row.system for row in rows}
    systems = [name for name in (FLOOR, *others, system, CEILING) if name in present]
    cells = {(row.system, row.collection, row.language, row.metric): row for row in rows if row.system != CEILING}
    ceilings = {(row.collection, row.metric): row for row in rows if row.system == CEILING}
    header = ["collection", "language", "queries", "metric", *(_column(name, system) for name in systems)]
    lines: list[list[str]] = []
    places = sorted(dict.fromkeys((r.collection, r.language, r.queries) for r in rows if r.system != CEILING))
    for collection, language, queries in places:
        for metric in metrics:
            found = [
                ceilings.get((collection, metric)) if name == CEILING else cells.get((name, collection, language, metric))
                for name in systems
            ]
            if any(found):
                values = ["–" if row is None else Markdown(row) for row in found]
                lines.append([collection, language, f"{queries:,}", metric, *values])
    return table(header, lines)


def quality_table(rows: Sequence[ResultRow], system: str, rivals: Sequence[str]) -> Markdown | None:
    """How good a system is, a line per collection and language with enough queries, by the headline metric; None without any.

    Args:
        rows: of all systems.
        system: which one.
        rivals: systems that one could use in its place; the best on a collection is in its line.
    """
    metric = headline(rows)
    values = {(row.system, row.collection, row.language): row.value for row in rows if row.metric == metric}
    ceilings = {row.collection: row.value for row in rows if row.system == CEILING and row.metric == metric}
    own = [row for row in rows if row.system == system and row.metric == metric and row.queries >= FEWEST_QUERIES]
    lines = []
    for row in own:
        floor, start = (values.get((name, row.collection, row.language)) for name in (FLOOR, START))
        ceiling = ceilings.get(row.collection)
        beside = {
            name: values[name, row.collection, row.language]
            for name in rivals
            if (name, row.collection, row.language) in values
        }
        best = max(beside, key=lambda name: beside[name], default=None)
        share = None if floor is None or ceiling is None else of_the_way(row.value, floor, ceiling)
        lines.append(
            [
                f"{row.collection} ({row.language}, {row.queries:,} queries)",
                Markdown(f"**{row.value:.3f}**"),
                *("–" if value is None else f"{value:.3f}" for value in (floor, start)),
                "–" if best is None else f"{best} {beside[best]:.3f}",
                "–" if ceiling is None else f"{ceiling:.3f}",
                "–" if share is None else f"{share:.0%}",
            ]
        )
    header = ["", "this model", "floor", "start", "best rival", "ceiling", "of the way"]
    kept = [0, 1, *(place for place in range(2, len(header)) if any(line[place] != "–" for line in lines))]
    return table([header[place] for place in kept], [[line[place] for place in kept] for line in lines]) if lines else None


def results_table(rows: Sequence[ResultRow], metrics: Sequence[str]) -> Markdown:
    """A Markdown table with a line per collection, language and system."""
    lines = []
    keys = list(dict.fromkeys((row.collection, row.language, row.system, row.queries) for row in rows))
    cells = {(row.collection, row.language, row.system, row.metric): row for row in rows}
    for collection, language, system, queries in sorted(keys, key=lambda key: key[0]):
        found = [cells.get((collection, language, system, metric)) for metric in metrics]
        lines.append([collection, language, system, queries, *("–" if row is None else Markdown(row) for row in found)])
    return table(["collection", "language", "system", "queries", *metrics], lines)


def _column(name: str, system: str) -> Markdown:
    return Markdown("**this model**") if name == system else code(name)


def _bounds(rows: Sequence[ResultRow]) -> Callable[[ResultRow], dict[str, float]]:
    """A function of a row that gives its floor and its ceiling."""
    floors = {(row.collection, row.language, row.metric): row.value for row in rows if row.system == FLOOR}
    ceilings = {(row.collection, row.metric): row.value for row in rows if row.system == CEILING}

    def of(row: ResultRow) -> dict[str, float]:
        found = {
            "floor": floors.get((row.collection, row.language, row.metric)),
            "ceiling": ceilings.get((row.collection, row.metric)),
        }
        return {name: round(value, 4) for name, value in found.items() if value is not None}

    return of
