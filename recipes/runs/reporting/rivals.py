"""Models that one could use instead of the student."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from datasets import Dataset

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.checkpoints.files import CheckpointFiles
from modeling_optical.checkpoints.loading import detect_format
from modeling_optical.checkpoints.names import resolve_model_path, shown_name
from modeling_optical.evaluation import Collection, Evaluator
from modeling_optical.evaluation.collections import by_corpus
from modeling_optical.evaluation.references import bm25, dense
from modeling_optical.evaluation.structured_queries import fused_by_rank, structured_queries
from trainer.vocabulary import word_translation_table

from ..data import by_language
from ..recipe.evaluation import REFERENCES, EvaluationRecipe, RivalRecipe

Run = dict[str, dict[str, float]]


def describe_rivals(evaluation: EvaluationRecipe) -> dict[str, str]:
    """System name to what it is, for reports and cards."""
    kinds = {"pooled": "one vector per text", "maxsim": "MaxSim of its token vectors"}
    found = {name: f"{shown_name(rival.model)}, {kinds[rival.scoring]}" for name, rival in evaluation.rivals.items()}
    return found | {name: REFERENCES[name] for name in evaluation.references}


def check_rivals(evaluation: EvaluationRecipe) -> None:
    """Whether all rivals are to be had, before hours are spent on what they are compared with.

    Raises:
        FileNotFoundError, ValueError: naming the first that is not.
    """
    for rival in evaluation.rivals.values():
        detect_format(CheckpointFiles(rival.model, resolve_model_path(rival.model), rival.load_arguments()))


def measure_rivals(
    evaluator: Evaluator,
    evaluation: EvaluationRecipe,
    collections: Iterable[Collection],
    device: object,
    precision: str,
    pairs: Dataset | None = None,
    student_runs: Mapping[tuple[str, str], Run] | None = None,
) -> None:
    """Measures every rival of a recipe on collections.

    Args:
        evaluator: takes the runs.
        evaluation: the recipe's part.
        collections: the collections to search.
        device, precision: where and in what the rivals run: as the student does.
        pairs: training pairs, from which the table of translations is learnt.
        student_runs: collection and language to the student's run, for `fused`.
    """
    collections = list(collections)
    for name, rival in evaluation.rivals.items():
        model = load_rival(rival, precision).to(device)
        if rival.scoring == "maxsim":
            for collection in collections:
                evaluator.measure(name, model, collection)
        else:
            for collection, run in _dense_runs(model, collections, evaluation.batch_size, evaluator.depth):
                evaluator.record(name, collection, run)
        del model
        gc.collect()
    parts = by_language(pairs) if pairs is not None else {}
    tables: dict[str, dict[str, dict[str, float]]] = {}
    for collection in collections:
        if "bm25" in evaluation.references:
            evaluator.record("bm25", collection, bm25(collection.queries, collection.corpus, k=evaluator.depth))
        if pairs is None or not {"structured_queries", "fused"} & set(evaluation.references):
            continue
        language = collection.language
        if language not in tables:
            own = parts.get(language)
            tables[language] = {} if own is None else word_translation_table(own["target"], own["source"])
        run = structured_queries(collection.queries, collection.corpus, tables[language], k=evaluator.depth)
        if "structured_queries" in evaluation.references:
            evaluator.record("structured_queries", collection, run)
        student = (student_runs or {}).get((collection.name, language))
        if "fused" in evaluation.references and student is not None:
            evaluator.record("fused", collection, fused_by_rank([run, student], k=evaluator.depth))


def _dense_runs(
    model: OpticalModel, collections: Sequence[Collection], batch_size: int, depth: int
) -> Iterator[tuple[Collection, Run]]:
    """Each collection's run by one vector per text; a corpus that several of them share is encoded once."""
    for together in by_corpus(collections):
        # Queries of several languages may have the same ids.
        asked = {f"{n} {query}": text for n, one in enumerate(together) for query, text in one.queries.items()}
        found = dense(model, asked, model, together[0].corpus, k=depth, batch_size=batch_size)
        for n, one in enumerate(together):
            yield one, {query: found[f"{n} {query}"] for query in one.queries}


def load_rival(rival: RivalRecipe, precision: str = "auto") -> OpticalModel:
    """The rival's model, with its prompts and its pooling.

    Raises:
        ValueError: if one vector per text is asked for, and neither its files nor the recipe say how its tokens are pooled.
    """
    settings: dict[str, Any] = rival.config() | rival.load_arguments()
    model: OpticalModel = load_checkpoint(rival.model, backend="torch", precision=precision, **settings)
    if rival.max_length is None and model.config.query_expansion == "none":
        model.config.query_length = model.config.document_length  # our default of 32 tokens is for late interaction
    if rival.scoring == "pooled" and model.config.pooled_dim is None and model.projection is None:
        raise ValueError(f"{rival.model} does not say how it pools its tokens: set `pooling` of this rival, for instance mean.")
    return model
