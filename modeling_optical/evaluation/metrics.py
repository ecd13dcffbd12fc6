"""Retrieval metrics, all by `ir_measures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..late_interaction import search

UNJUDGED = "unjudged@10"
"""Name of what `unjudged_share` measures, as it stands in results."""

METRICS = ("AP@100", "nDCG@10", "RR@10", "R@10", "R@100", "Success@1")


def per_query(
    qrels: Mapping[str, Mapping[str, int]],
    run: Mapping[str, Mapping[str, float]],
    metrics: Sequence[str] = METRICS,
) -> dict[str, dict[str, float]]:
    """Every metric for every judged query.

    Args:
        qrels: query id to {document id: grade}.
        run: query id to {document id: score}. A judged query without results counts 0.
        metrics: names as `ir_measures` writes them, and `unjudged@10`.

    Returns:
        Metric name to {query id: value in [0, 1]}, in the order of `metrics` and of `qrels`.

    Raises:
        ValueError: for a metric that `ir_measures` does not know.
    """
    import ir_measures

    try:
        measures = {name: ir_measures.parse_measure(name) for name in metrics if name != UNJUDGED}
    except (NameError, ValueError, SyntaxError) as error:
        raise ValueError(f"unknown metric in {list(metrics)}: {error}. Known are the names of ir_measures.") from error
    names: dict[str, list[str]] = {}
    for name, measure in measures.items():
        names.setdefault(str(measure), []).append(name)
    values: dict[str, dict[str, float]] = {name: dict.fromkeys(qrels, 0.0) for name in metrics}
    judgements = {query: dict(grades) for query, grades in qrels.items()}
    for result in ir_measures.iter_calc(set(measures.values()), judgements, {q: dict(run.get(q, {})) for q in qrels}):
        for name in names[str(result.measure)]:
            values[name][result.query_id] = float(result.value)
    if UNJUDGED in values:
        values[UNJUDGED] = unjudged_share(qrels, run)
    return values


def unjudged_share(
    qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]], k: int = 10
) -> dict[str, float]:
    """Share of the first k documents of every judged query that nobody judged: what the metrics take for not relevant.

    Args:
        qrels: query id to {document id: grade}.
        run: query id to {document id: score}.
        k: how many documents.

    Returns:
        Query id to a value in [0, 1]; 0 for a query without results.
    """
    shares = {}
    for query, grades in qrels.items():
        first = sorted(run.get(query, {}).items(), key=lambda item: -item[1])[:k]
        shares[query] = sum(document not in grades for document, _ in first) / max(len(first), 1)
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
