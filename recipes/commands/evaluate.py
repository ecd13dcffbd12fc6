"""`optical evaluate`: measures a query encoder and a document encoder on a collection, beside references."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from .encoders import add_encoder_options, add_rival_option, device, encoder_arguments, say_who_encodes

if TYPE_CHECKING:
    from modeling_optical import OpticalModel
    from modeling_optical.evaluation import Collection, Evaluator, NotRun

    Run = dict[str, dict[str, float]]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a query encoder, a document encoder and references on a collection",
        description="Encodes, searches exactly, and writes results.json and TREC runs, which `optical compare` takes.",
    )
    evaluate.add_argument("--queries-model", help="encodes the queries: folder, Hub id or package:NAME/PATH")
    evaluate.add_argument("--documents-model", help="encodes the documents (default: the queries' model)")
    evaluate.add_argument(
        "--collection",
        required=True,
        action="append",
        help="folder in a published layout, or Hub id; may be repeated; see docs/evaluation.md",
    )
    evaluate.add_argument("--format", help="name of the layout, where the files do not tell")
    evaluate.add_argument("--language", nargs="+", default=["en"], help="which queries; several are summed up (default: en)")
    evaluate.add_argument("--split", help="which queries and judgements (default: the layout's own choice)")
    evaluate.add_argument("--revision", help="of a collection on the Hub")
    evaluate.add_argument("--corpus-revision", help="of its documents, where they are another data set")
    evaluate.add_argument("--system", help="name of the system in the results (default: name of the queries' model)")
    evaluate.add_argument("--metrics", nargs="+", help="names as ir_measures writes them")
    evaluate.add_argument("--batch-size", type=int, default=32)
    add_encoder_options(evaluate)
    evaluate.add_argument(
        "--reference",
        nargs="+",
        default=[],
        choices=("bm25", "dense", "translation"),
        help="measured too: BM25; dense: this same model with its token vectors averaged, not another model (--rival measures "
        "one); translation: the queries translated and read by --documents-model",
    )
    evaluate.add_argument("--stemmer", help="for bm25: a Snowball stemmer, for instance finnish (default: none)")
    evaluate.add_argument("--translator", help="for translation: a Marian, NLLB or M2M100 model, folder or Hub id")
    evaluate.add_argument(
        "--translator-languages", nargs=2, metavar=("FROM", "TO"), help="its codes, for instance swh_Latn eng_Latn"
    )
    add_rival_option(evaluate)
    evaluate.add_argument("--output", required=True, help="folder for results.json and runs/")
    evaluate.set_defaults(work=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from modeling_optical.evaluation import (
        METRICS,
        UNJUDGED,
        UNJUDGED_MEANS,
        Evaluator,
        format_summaries,
        format_table,
        load_collection,
        read_results,
        summarise_languages,
        write_summaries,
    )

    from ..runs.recipe.evaluation import EvaluationRecipe, check_distinct, named_rivals
    from ..runs.reporting.rivals import check_rivals, measure_rivals
    from ..runs.reporting.verdict import verdicts
    from ..runs.run_folder import is_run

    rivals = EvaluationRecipe(rivals=named_rivals(options.rival), batch_size=options.batch_size)
    if options.queries_model is None and not options.reference and not rivals.rivals:
        raise ValueError("there is nothing to measure: give --queries-model, --reference or --rival.")
    if options.translator_languages and len(options.language) > 1:
        raise ValueError("--translator-languages holds for one --language; measure the others by further commands.")
    _check_names([_name_of_model(options), *options.reference, *rivals.rivals])
    check_rivals(rivals)
    if "bm25" in options.reference:
        from modeling_optical.evaluation.references import check_bm25

        check_bm25(options.stemmer)
    metrics = [*(options.metrics or METRICS), UNJUDGED]
    output = Path(options.output).expanduser()
    if is_run(output):
        raise ValueError(
            f"{output} is the folder of a run and keeps its results. Choose another --output, such as {output}-more."
        )
    if (output / "results.json").exists():
        read_results(output / "results.json")  # so that a file of another program stops the command before it computes anything
    evaluator = Evaluator(output, metrics, batch_size=options.batch_size)
    systems, not_run, notes, collections = _Systems(options, evaluator), [], [], []
    for name, language in product(options.collection, dict.fromkeys(options.language)):
        collection = load_collection(
            name,
            language,
            format=options.format,
            split=options.split,
            revision=options.revision,
            corpus_revision=options.corpus_revision,
        )
        notes += collection.notes
        collections.append(collection)
        check_distinct(collections)
        for system, measure in systems.named().items():
            found = measure(collection)
            if isinstance(found, dict):
                evaluator.record(system, collection, found)
            else:
                not_run.append(found)
    measure_rivals(evaluator, rivals, collections, device(), options.precision)
    file, rows = evaluator.write_results(keep=True), evaluator.rows
    others = [name for name in options.reference if name != "dense"]  # that is the same model
    answers = verdicts(evaluator, metrics[0], [*rivals.rivals, *others], systems.name or "")
    told = evaluator.told()
    notes += [UNJUDGED_MEANS] if any(row.metric == UNJUDGED for row in told) else []
    print("\n".join([format_table(told, metrics, not_run), *notes, "", *answers]))
    if len(set(options.language)) > 1:
        summaries = summarise_languages(rows)
        write_summaries(output / "languages.json", summaries)
        print("\n" + format_summaries(summaries))
    print(f"results: {file}")
    return 0


def _name_of_model(options: argparse.Namespace) -> str | None:
    return None if options.queries_model is None else options.system or Path(options.queries_model.rstrip("/")).name


def _check_names(names: Sequence[str | None]) -> None:
    """Rejects two systems of one name: the results of one would take the place of the other's.

    Raises:
        ValueError: naming it.
    """
    known = [name for name in names if name is not None]
    if twice := next((name for name in known if known.count(name) > 1), None):
        raise ValueError(
            f"two systems would be called {twice!r}, and one's results would replace the other's. Name the model of "
            "--queries-model with --system NAME, or a rival with --rival NAME=MODEL."
        )


class _Systems:
    """The systems to measure; every model is loaded once."""

    def __init__(self, options: argparse.Namespace, evaluator: Evaluator):
        self._options, self._evaluator = options, evaluator
        self._models: dict[str, OpticalModel] = {}

    @property
    def name(self) -> str | None:
        """Of the system whose encoders the command names."""
        return _name_of_model(self._options)

    def named(self) -> dict[str, Callable[[Collection], Run | NotRun]]:
        """System name to what measures it, in the order of the table."""
        options = self._options
        systems: dict[str, Callable[[Collection], Run | NotRun]] = {}
        if self.name is not None:
            systems[self.name] = self._model
        references = {"bm25": self._bm25, "dense": self._dense, "translation": self._translation}
        return systems | {name: references[name] for name in options.reference}

    def _load(self, name: str) -> OpticalModel:
        from modeling_optical import load_checkpoint

        if name not in self._models:
            self._models[name] = load_checkpoint(name, **encoder_arguments(self._options))
            self._models[name].to(device())
        return self._models[name]

    def _model(self, collection: Collection) -> Run:
        queries, documents = self._options.queries_model, self._options.documents_model or self._options.queries_model
        if documents not in self._models:
            say_who_encodes(self._load(documents).config, documents)
        return self._evaluator.retrieve(self._load(queries), collection.queries, collection.corpus, self._load(documents))

    def _bm25(self, collection: Collection) -> Run:
        from modeling_optical.evaluation.references import bm25

        return bm25(collection.queries, collection.corpus, k=self._evaluator.depth, stemmer=self._options.stemmer)

    def _dense(self, collection: Collection) -> Run | NotRun:
        from modeling_optical.evaluation.references import dense

        options = self._options
        if options.queries_model is None:
            return _not_run("dense", collection, "no model (--queries-model)")
        documents = self._load(options.documents_model or options.queries_model)
        queries = self._load(options.queries_model)
        depth = self._evaluator.depth
        return dense(queries, collection.queries, documents, collection.corpus, k=depth, batch_size=options.batch_size)

    def _translation(self, collection: Collection) -> Run | NotRun:
        from modeling_optical.evaluation.references import translate

        options = self._options
        if options.translator is None:
            return _not_run("translation", collection, "no model (--translator)")
        if options.documents_model is None:
            return _not_run("translation", collection, "no teacher (--documents-model)")
        source, target = options.translator_languages or (None, None)
        translated = translate(
            list(collection.queries.values()), options.translator, source=source, target=target, device=device()
        )
        queries = dict(zip(collection.queries, translated, strict=True))
        return self._evaluator.retrieve(self._load(options.documents_model), queries, collection.corpus)


def _not_run(system: str, collection: Collection, reason: str) -> NotRun:
    from modeling_optical.evaluation import NotRun

    return NotRun(system, collection.language, collection.name, reason)
