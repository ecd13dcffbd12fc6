"""`optical evaluate`: measures a query encoder and a document encoder on a collection."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a query encoder and a document encoder on a collection",
        description="Encodes, searches exactly, and writes results.json and a TREC run file.",
    )
    evaluate.add_argument("--queries-model", required=True, help="encodes the queries: folder, Hub id or package:NAME/PATH")
    evaluate.add_argument("--documents-model", help="encodes the documents (default: the queries' model)")
    evaluate.add_argument("--collection", required=True, help="folder in BEIR's layout, or Hub id")
    evaluate.add_argument("--language", default="en", help="which queries (default: en)")
    evaluate.add_argument("--split", default="test", help="which judgements (default: test)")
    evaluate.add_argument("--system", help="name of the system in the results (default: name of the queries' model)")
    evaluate.add_argument("--metrics", nargs="+", help="names as ir_measures writes them")
    evaluate.add_argument("--batch-size", type=int, default=32)
    evaluate.add_argument("--output", required=True, help="folder for results.json and the run file")
    evaluate.set_defaults(work=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from modeling_optical import load_checkpoint
    from modeling_optical.evaluation import (
        METRICS,
        encode_documents,
        format_table,
        load_collection,
        per_query,
        result_rows,
        retrieve,
        write_qrels,
        write_results,
        write_run,
    )

    collection = load_collection(options.collection, options.language, split=options.split)
    queries_model = load_checkpoint(options.queries_model)
    documents_model = queries_model
    if options.documents_model not in (None, options.queries_model):
        documents_model = load_checkpoint(options.documents_model)
    for model in {id(m): m for m in (queries_model, documents_model)}.values():
        model.to(device())
    documents = encode_documents(documents_model, collection.corpus, batch_size=options.batch_size)
    found = retrieve(queries_model, collection.queries, documents, batch_size=options.batch_size)
    system = options.system or Path(options.queries_model.rstrip("/")).name
    rows = result_rows(
        system,
        options.language,
        collection.name,
        per_query(collection.qrels, found, options.metrics or METRICS),
    )
    output = Path(options.output).expanduser()
    write_run(output / f"{collection.name}.{options.language}.trec", found, system)
    write_qrels(output / f"{collection.name}.{options.language}.qrels", collection.qrels)
    write_results(output / "results.json", rows)
    print(format_table(rows, options.metrics or METRICS))
    print(f"results: {output / 'results.json'}")
    return 0


def device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
