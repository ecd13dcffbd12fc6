"""`optical fine-tune`: a student or retriever and a few labelled pairs, without a recipe file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .run import run_options


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tune = commands.add_parser(
        "fine-tune",
        help="fine-tune a student or retriever on labelled pairs, down to ten",
        description="Trains on queries with relevant passages, without a recipe file. With --documents-model that model "
        "encodes the documents and stays as it is, so its index keeps serving.",
    )
    tune.add_argument("--model", required=True, help="folder, Hub id or package:NAME/PATH of what is fine-tuned")
    tune.add_argument(
        "--documents-model", help="frozen encoder of the documents, a student's teacher (default: the model itself)"
    )
    tune.add_argument("--pairs", metavar="FILE", help="JSONL, TSV or CSV with query, positive and perhaps negatives and scores")
    tune.add_argument("--judged", metavar="COLLECTION", help="instead of --pairs: queries, documents and judgements")
    tune.add_argument("--split", default="train", help="of --judged (default: train)")
    tune.add_argument(
        "--negatives", choices=("judged", "random", "bm25"), default="judged", help="of --judged, beside documents of grade 0"
    )
    tune.add_argument("--examples", type=int, help="how many of them to train on (default: all)")
    tune.add_argument("--language", default="en", help="code of the queries' language (default: en)")
    tune.add_argument("--collection", action="append", default=[], help="test collection; may be repeated")
    tune.add_argument("--held-out", type=float, default=0.0, help="share of the queries to measure on instead (default: 0)")
    tune.add_argument("--output", required=True, help="folder of the run")
    tune.add_argument(
        "overrides", nargs="*", metavar="key=value", help="any key of such a recipe, such as training.learning_rate=1e-5"
    )
    run_options(tune)
    tune.set_defaults(work=_fine_tune)


def _fine_tune(options: argparse.Namespace) -> int:
    from ..runs.recipe.retrieval import RetrievalRecipe
    from .train_teacher import carry_out_training

    if (options.pairs is None) == (options.judged is None):
        raise ValueError("give the labelled data by one of --pairs (a file) and --judged (a collection).")
    source: dict[str, Any] = {"max_examples": options.examples}
    if options.pairs is not None:
        source["path"] = str(Path(options.pairs).expanduser().resolve())
    else:
        source |= {
            "collection": options.judged,
            "split": options.split,
            "language": options.language,
            "mined_negatives": options.negatives,
        }
    values = {
        "name": "fine-tuned",
        "language": options.language,
        "output": str(Path(options.output).expanduser().resolve()),
        "model": {"start": options.model},
        "documents": {"model": options.documents_model} if options.documents_model else None,
        "data": {"train": [source], "held_out": options.held_out},
        "training": {"learning_rate": 3e-5},  # there are few updates
        "evaluation": {"collections": [{"path": path} for path in options.collection]},
    }
    return carry_out_training(RetrievalRecipe.of(values, options.overrides), options)
