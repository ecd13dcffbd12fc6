"""`optical compare`: tests the differences between runs, query by query."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeling_optical.evaluation.comparison import JudgedRuns, PairOfSystems, QueryDifference


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    compare = commands.add_parser(
        "compare",
        help="test the differences between runs, query by query",
        description="Prints a Markdown table: difference with 95 % interval (bootstrap over queries), paired t-test and "
        "randomisation test, both with Holm's correction over all that the table compares, effect size d_z, and wins, ties "
        "and losses.",
    )
    compare.add_argument("runs", nargs="+", help="TREC run files, or folders of `optical run` and `optical evaluate`")
    compare.add_argument("--qrels", help="judgements of run files: `query 0 document grade` a line")
    compare.add_argument("--metric", nargs="+", default=["AP@100"], help="names as ir_measures writes them (default: AP@100)")
    compare.add_argument("--systems", nargs="+", default=[], help="only these systems of folders, in this order")
    compare.add_argument(
        "--collections", nargs="+", default=[], help="only these collections of folders, for instance emoji.sw"
    )
    compare.add_argument("--baseline", help="compare every system with this one only (default: all pairs)")
    compare.add_argument("--queries", help="texts of the queries: a JSON object a line (`_id`, `text`)")
    compare.add_argument("--corpus", help="texts of the documents, likewise")
    compare.add_argument(
        "--examples", type=int, help="largest wins and losses shown per pair (default: 5 with --queries or --corpus, else 0)"
    )
    compare.add_argument("--json", metavar="FILE", help="write all figures there too")
    compare.set_defaults(work=_compare)


def _compare(options: argparse.Namespace) -> int:
    import json
    from dataclasses import asdict

    from modeling_optical.evaluation.comparison import (
        TextFile,
        compare_systems,
        largest_differences,
        read_judged_runs,
        unjudged,
    )
    from modeling_optical.files.atomic_write import write_text

    corpus = TextFile(options.corpus) if options.corpus else None
    queries = dict(TextFile(options.queries).items()) if options.queries else {}
    judged = read_judged_runs(options.runs, options.qrels, options.systems, options.collections)
    for one in judged:
        one.queries |= {query: text for query, text in queries.items() if query in one.qrels}
    pairs = compare_systems(judged, options.metric, baseline=options.baseline)
    shares = {one.collection: unjudged(one) for one in judged}
    print(_table(pairs))
    print("\n" + "\n".join(_notes(judged, pairs, shares)))
    count = options.examples
    if count is None:
        count = 5 if options.queries or options.corpus else 0
    by_name = {one.collection: one for one in judged}
    examples = []
    for pair in pairs if count else []:
        wins, losses = largest_differences(
            by_name[pair.collection], pair.metric, pair.first, pair.second, count=count, corpus=corpus
        )
        print(_examples(pair, wins, losses))
        named = {key: value for key, value in asdict(pair).items() if isinstance(value, str)}
        examples.append(named | {"wins": [asdict(one) for one in wins], "losses": [asdict(one) for one in losses]})
    if options.json:
        record = {
            "pairs": [asdict(pair) for pair in pairs],
            "unjudged@10": shares,
            "notes": [note for one in judged for note in one.notes],
            "examples": examples,
        }
        write_text(Path(options.json).expanduser(), json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return 0


_HEADER = ("collection", "metric", "first", "second", "queries", "first's mean", "second's mean", "difference",
           "t-test p (Holm)", "randomisation p (Holm)", "d_z", "wins / ties / losses")  # fmt: skip


def _table(pairs: Sequence[PairOfSystems]) -> str:
    lines = ["| " + " | ".join(_HEADER) + " |", "|" + "---|" * len(_HEADER)]
    for pair in pairs:
        result = pair.result
        cells = [
            pair.collection,
            pair.metric,
            pair.first,
            pair.second,
            f"{result.queries:,}",
            f"{result.first:.3f}",
            f"{result.second:.3f}",
            f"{result.difference:+.3f}{_interval(result.low, result.high)}",
            _chance(pair.t_test_holm),
            _chance(pair.randomisation_holm),
            "-"
            if result.effect_size is None
            else f"{result.effect_size:+.2f}{_interval(result.effect_low, result.effect_high, 2)}",
            f"{result.wins} / {result.ties} / {result.losses}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _interval(low: float | None, high: float | None, places: int = 3) -> str:
    return "" if low is None or high is None else f" [{low:+.{places}f}, {high:+.{places}f}]"


def _chance(p: float | None) -> str:
    if p is None:
        return "-"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _notes(judged: Sequence[JudgedRuns], pairs: Sequence[PairOfSystems], shares: dict[str, dict[str, float]]) -> list[str]:
    lines = []
    for collection, by_system in shares.items():
        each = ", ".join(f"{system} {share:.1%}" for system, share in by_system.items())
        lines.append(f"Unjudged among the first 10, {collection}: {each}.")
    lines += [note for one in judged for note in one.notes]
    for pair in pairs:
        if pair.result.note:
            lines.append(f"{pair.collection}, {pair.metric}, {pair.first} and {pair.second}: {pair.result.note}.")
    lines.append(f"Holm's correction is over {len(pairs)} comparison{'s' if len(pairs) > 1 else ''}.")
    return lines


def _examples(pair: PairOfSystems, wins: Sequence[QueryDifference], losses: Sequence[QueryDifference]) -> str:
    from modeling_optical.files.lines import printable

    lines = [f"\n## {pair.collection}, {pair.metric}: {pair.first} against {pair.second}"]
    for title, found in ((f"{pair.first} is above", wins), (f"{pair.first} is below", losses)):
        lines.append(f"\n### {title}")
        for one in found:
            lines.append(f"\n- {printable(one.query)}: {_short(one.text)} ({one.first:.3f} and {one.second:.3f})")
            lines += [f"  - relevant: {printable(identifier)} {_short(text)}" for identifier, text in one.relevant]
            for system, ranked in ((pair.first, one.found_first), (pair.second, one.found_second)):
                for rank, (identifier, text, grade) in enumerate(ranked, 1):
                    lines.append(f"  - {system} {rank}: {printable(identifier)} {_short(text)} ({_judged(grade)})")
        if not found:
            lines.append("\nNo query.")
    return "\n".join(lines)


def _judged(grade: int | None) -> str:
    return "unjudged" if grade is None else "relevant" if grade > 0 else "not relevant"


def _short(text: str) -> str:
    """One line of a text, without what would move a terminal's cursor."""
    from modeling_optical.files.lines import printable

    text = printable(" ".join(text.split()))
    return text if len(text) <= 120 else text[:119] + "…"
