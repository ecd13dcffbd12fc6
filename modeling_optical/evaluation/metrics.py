"""Retrieval metrics, all by `ir_measures`."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..late_interaction import search

UNJUDGED = "unjudged@10"
UNJUDGED_MEANS = f"{UNJUDGED}: share of the first ten documents that nobody has judged; the other metrics count them as wrong."
"""Name of what `unjudged_share` measures, as it is in results."""

METRICS = ("AP@100", "nDCG@10", "RR@10", "R@10", "R@100", "Success@1")


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Document ids from the best down: scores fall, and among equal scores ids fall (as strings: "d2" before "d10").

    This is trec_eval's order. Every measure, table, run file and example of this package takes its ranks from here.

    Raises:
        ValueError: for a score that is not a number.
    """
    for document, score in scores.items():
        if score != score:
            raise ValueError(f"the score of document {document!r} is not a number.")
    return sorted(scores, key=lambda document: (scores[document], document), reverse=True)


def _measures(metrics: Sequence[str]) -> dict[str, Any]:
    """Name to measure of `ir_measures`, of all metrics that it computes.

    Raises:
        ValueError: for a metric that it does not know.
    """
    import ir_measures

    try:
        return {name: ir_measures.parse_measure(name) for name in metrics if name != UNJUDGED}
    except (NameError, ValueError, SyntaxError, AttributeError) as error:
        raise ValueError(f"unknown metric in {list(metrics)}: {error}. Known are the names of ir_measures.") from error


def depth_of(metrics: Sequence[str]) -> int:
    """Documents per query that the metrics look at, at least 100.

    Raises:
        ValueError: for a metric that `ir_measures` does not know.
    """
    cutoffs = [measure.params.get("cutoff") for measure in _measures(metrics).values()]
    return max(100, *(cutoff for cutoff in cutoffs if isinstance(cutoff, int)))


def per_query(
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Mapping[str, float]],
    metrics: Sequence[str] = METRICS,
) -> dict[str, dict[str, float]]:
    """Every metric for every judged query.

    Args:
        qrels: query id to {document id: grade}.
        run: query id to {document id: score}, ranked by `ranked`. A judged query without results counts 0.
        metrics: names as `ir_measures` writes them, and `unjudged@10`.

    Returns:
        Metric name to {query id: value in [0, 1]}, in the order of `metrics` and of `qrels`.

    Raises:
        ValueError: for a metric that `ir_measures` does not know, or cannot compute of these grades or on this machine.
    """
    import ir_measures

    measures = _measures(metrics)
    names: dict[str, list[str]] = {}
    for name, measure in measures.items():
        names.setdefault(str(measure), []).append(name)
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in metrics}
    # The programs behind some measures want numbers for query ids, and ids without spaces: they get numbers.
    queries = list(qrels)
    documents: dict[str, str] = defaultdict(lambda: str(len(documents)))
    judgements = {str(n): {documents[d]: grade for d, grade in qrels[q].items()} for n, q in enumerate(queries)}
    # They also break ties differently; scores made of ranks have no ties.
    ranks = {str(n): {documents[d]: -float(r) for r, d in enumerate(ranked(run.get(q, {})))} for n, q in enumerate(queries)}
    try:
        results = list(ir_measures.iter_calc(set(measures.values()), judgements, ranks))
    except (ValueError, AssertionError, OSError, subprocess.CalledProcessError) as error:
        raise ValueError(
            f"the metrics {list(metrics)} cannot be computed ({type(error).__name__}: {error}). Some need a parameter, such as "
            "`SDCG(max_rel=3)@10`, a package or Perl, or grades of at most 4: leave them out, or see the page of ir_measures."
        ) from error
    for result in results:
        for name in names[str(result.measure)]:
            values[name][queries[int(result.query_id)]] = float(result.value)
    if UNJUDGED in values:
        values[UNJUDGED] = unjudged_share(qrels, run)
    return values


def unjudged_share(
    qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]], k: int = 10
) -> dict[str, float]:
    """Share of unjudged documents among the first k of every judged query; the metrics take them for not relevant.

    Args:
        qrels: query id to {document id: grade}.
        run: query id to {document id: score}.
        k: how many documents.

    Returns:
        Query id to a value in [0, 1]; 0 for a query without results.
    """
    shares = {}
    for query, grades in qrels.items():
        first = ranked(run.get(query, {}))[:k]
        shares[query] = sum(document not in grades for document in first) / max(len(first), 1)
    return shares


def translation_retrieval(targets: Sequence[Any], sources: Sequence[Any], gold: Sequence[int]) -> dict[str, float]:
    """How well each target finds the source that it translates, by MaxSim over all sources.

    Args:
        targets: arrays (tokens, dim), the student's.
        sources: arrays (tokens, dim), the teacher's; distinct texts.
        gold: for every target, the position of its source.

    Returns:
        `translation_success_at_1` and `translation_rr_at_10`, in [0, 1].
    """
    found, _ = search(targets, sources, k=10)
    hits = found == torch.as_tensor(gold).unsqueeze(1)
    reciprocal = (hits / torch.arange(1, hits.shape[1] + 1)).sum(1)
    return {
        "translation_success_at_1": hits[:, 0].double().mean().item(),
        "translation_rr_at_10": reciprocal.double().mean().item(),
    }
