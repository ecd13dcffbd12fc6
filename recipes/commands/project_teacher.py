"""`optical project-teacher`: a retriever with shorter token vectors, and what that costs."""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from .encoders import add_precision_option, device

if TYPE_CHECKING:
    from modeling_optical import OpticalModel
    from modeling_optical.evaluation import Collection
    from trainer.teachers.projection import TeacherProjection

_DIMENSIONS = (16, 32, 64, 96, 128, 192, 256, 384, 512)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    project = commands.add_parser(
        "project-teacher",
        help="shorten a retriever's token vectors by PCA on its own vectors",
        description="Finds the principal directions of a model's token vectors (PCA without centring, which keeps dot "
        "products) and saves the model with that projection. With --collection: retrieval before and after.",
    )
    project.add_argument("--model", required=True, help="the retriever: folder, Hub id or package:NAME/PATH")
    project.add_argument(
        "--texts", required=True, metavar="FILE", help="JSONL with the field `text`, or a text a line; also .gz"
    )
    project.add_argument("--field", default="text", help="another field of the JSONL (default: text)")
    project.add_argument("--max-texts", type=int, help="only the first so many texts")
    project.add_argument(
        "--kind",
        choices=("query", "document"),
        action="append",
        help="as what the texts are encoded; may be given twice (default: both, weighing alike)",
    )
    project.add_argument("--dim", type=int, default=128, help="size of the new vectors (default: 128)")
    project.add_argument(
        "--collection", help="measure on this: folder in a published layout, or Hub id; see docs/evaluation.md"
    )
    project.add_argument("--language", default="en", help="which queries of the collection (default: en)")
    project.add_argument(
        "--metrics", nargs="+", default=["RR@10", "nDCG@10", "Success@1"], help="names as ir_measures writes them"
    )
    project.add_argument("--batch-size", type=int, default=32, help="texts per forward pass (default: 32)")
    project.add_argument("--output", required=True, help="folder for the projected model")
    project.add_argument("--overwrite", action="store_true", help="replace the output folder if it is there")
    add_precision_option(project)
    project.set_defaults(work=_project)


def _project(options: argparse.Namespace) -> int:
    from modeling_optical import load_checkpoint
    from modeling_optical.checkpoints.names import shown_name
    from trainer.teachers.projection import KINDS, fit_projection, project_model, save_projected
    from trainer.text_files import stream_texts

    output = Path(options.output).expanduser()
    if output.exists() and not options.overwrite:
        raise ValueError(f"{output} exists. Choose another --output, or replace it with --overwrite.")
    collection = None
    if options.collection:
        from modeling_optical.evaluation import load_collection

        collection = load_collection(options.collection, options.language)  # before anything is computed
    kinds = options.kind or list(KINDS)
    model = load_checkpoint(options.model, precision=options.precision)
    model.to(device())
    texts = islice(stream_texts(options.texts, field=options.field), options.max_texts)
    projection = fit_projection(model, texts, options.dim, kinds=kinds, batch_size=options.batch_size)
    projected = project_model(model, projection)
    save_projected(projected, projection, output, source=shown_name(options.model), kinds=kinds)
    print(_spectrum(projection))
    if collection is not None:
        _measure(model, projected, collection, options, output)
    print(f"projected model: {output}")
    return 0


def _spectrum(projection: TeacherProjection) -> str:
    size = len(projection.spectrum)
    dimensions = sorted({projection.dim, *(dim for dim in _DIMENSIONS if dim < size)})
    shares = ", ".join(f"{dim}: {projection.explained(dim):.4f}" for dim in dimensions)
    return (
        f"{projection.texts:,} texts, {projection.tokens:,} token vectors of {size} dimensions.\n"
        f"Squared length kept by {projection.dim} dimensions: {projection.explained():.4f} (by others: {shares})"
    )


def _measure(
    before: OpticalModel, after: OpticalModel, collection: Collection, options: argparse.Namespace, output: Path
) -> None:
    """Retrieval of both models: a table, `results.json` and runs in the folder `evaluation`, and the paired differences."""
    from modeling_optical.evaluation import Evaluator, compare_paired, format_table

    evaluator = Evaluator(output / "evaluation", options.metrics, batch_size=options.batch_size)
    for system, model in (("before", before), ("after", after)):
        evaluator.measure(system, model, collection)
    evaluator.write_results()
    print(format_table(evaluator.rows, options.metrics))
    values = {system: evaluator.values[system, collection.name, collection.language] for system in ("before", "after")}
    for metric in options.metrics:
        found = compare_paired(list(values["after"][metric].values()), list(values["before"][metric].values()))
        interval = "" if found.low is None else f" [{found.low:+.4f}, {found.high:+.4f}]"
        print(f"after - before, {metric}: {found.difference:+.4f}{interval}, {found.wins} better, {found.losses} worse")
