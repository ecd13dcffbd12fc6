"""Systems that a study compares its students with: the untrained student, the English teacher, BM25, query translation."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from itertools import chain
from pathlib import Path

import torch

from modeling_optical import OpticalModel
from modeling_optical.evaluation import Collection, Evaluator, NotRun, save_run
from modeling_optical.evaluation.references import bm25, check_bm25, translate
from modeling_optical.files.atomic_write import write_text

from ..runs.causal_run import answer_all, load_causal
from ..runs.distillation_run import load_start, load_teacher
from ..runs.recipe.causal import CausalRecipe
from ..runs.recipe.distillation import Recipe
from ..runs.recipe.evaluation import CollectionSource
from ..runs.reporting.answering import QuestionAnswerer
from .cells import Cell, Places, causal_recipe, distillation_recipe
from .study import References, Study

NOT_RUN = "not_run.json"
COLLECTIONS = "collections.json"
Found = dict[str, dict[str, float]]


def measure_references(study: Study, cell: Cell) -> None:
    """Measures all references on a language's collections; leaves runs and, for what could not be run, the reasons.

    Raises:
        FileNotFoundError, ValueError: for a collection or a model that cannot be read.
    """
    recipe = distillation_recipe(study, cell)
    folder = Places(Path(study.output).expanduser()).cell(cell)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    teacher = load_teacher(recipe).to(device)
    untrained = (
        teacher if recipe.student.start == "teacher" else load_start(recipe, teacher.config.vector_dim).eval().to(device)
    )
    evaluator = Evaluator(batch_size=recipe.evaluation.batch_size)
    reader = untrained if recipe.student.encodes_documents else teacher
    not_run: list[NotRun] = []
    seen: dict[str, str] = {}
    for source in recipe.evaluation.collections:
        if not source.of([cell.language]):
            continue
        collection = source.load(cell.language)
        seen[f"{collection.name}.{cell.language}"] = _fingerprint(collection)
        answers: dict[str, Found | str] = {
            "ceiling": _ceiling(recipe, teacher, collection, _in_teachers_language(recipe, source, collection), evaluator),
            "translation": _translation(study.references, cell.language, teacher, collection, evaluator, device),
            "bm25": _bm25(study.references, collection),
            "floor": evaluator.retrieve(untrained, collection.queries, collection.corpus, reader),
        }
        for system, found in answers.items():
            if isinstance(found, str):
                not_run.append(NotRun(system, cell.language, collection.name, found))
            else:
                save_run(folder / "runs", system, collection, found)
    answerer = QuestionAnswerer(
        recipe, [one.load(cell.language) for one in recipe.evaluation.questions if one.of([cell.language])], teacher, folder
    )
    seen |= {f"{one.name}.{cell.language}": one.fingerprint for one in answerer.questions}
    answerer("floor", untrained)
    answerer.ceilings()
    not_run += answerer.not_run
    if study.causal is not None:
        _measure_causal(causal_recipe(study, cell), folder, device)
    write_text(folder / COLLECTIONS, json.dumps(seen, indent=1) + "\n")
    write_text(folder / NOT_RUN, json.dumps([dataclasses.asdict(one) for one in not_run], indent=1) + "\n")


def _measure_causal(recipe: CausalRecipe, folder: Path, device: str) -> None:
    """The causal model as it comes, on the language's questions and on the same ones in English."""
    model, tokenizer = load_causal(recipe.model)
    model = model.to(device)
    own = [source.load(recipe.language) for source in recipe.evaluation.questions]
    answer_all(recipe, "causal_floor", model, tokenizer, own, folder)
    for source in recipe.evaluation.questions:
        try:
            english = source.load(recipe.language, in_english=True)
        except FileNotFoundError:
            continue  # the encoder's ceiling has been noted as not run for the same reason
        answer_all(recipe, "causal_ceiling", model, tokenizer, [english], folder)


def _fingerprint(collection: Collection) -> str:
    """First 16 digits of the SHA-256 of documents, queries and judgements."""
    digest = hashlib.sha256()
    for identifier, text in chain(collection.queries.items(), collection.corpus.items()):
        digest.update(f"{identifier}\t{text}\n".encode())
    digest.update(json.dumps(collection.qrels, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def _in_teachers_language(recipe: Recipe, source: CollectionSource, collection: Collection) -> Collection | None:
    """The collection with the same queries in the teacher's language; None if it has none."""
    if not collection.parallel:
        return None
    try:
        return source.load(recipe.teacher.language)
    except FileNotFoundError:
        return None


def _ceiling(
    recipe: Recipe, teacher: OpticalModel, collection: Collection, english: Collection | None, evaluator: Evaluator
) -> Found | str:
    """The teacher with the same queries in its language."""
    if english is None:
        return f"no parallel queries in {recipe.teacher.language!r}"
    missing = [query for query in collection.queries if query not in english.queries]
    if missing:
        return f"{len(missing)} of {len(collection.queries)} queries have no counterpart in {recipe.teacher.language!r}"
    queries = {query: english.queries[query] for query in collection.queries}
    return evaluator.retrieve(teacher, queries, collection.corpus)


def _bm25(references: References, collection: Collection) -> Found | str:
    if not references.bm25:
        return "not asked for"
    try:
        check_bm25()
    except ImportError as error:
        return str(error)
    return bm25(collection.queries, collection.corpus)


def _translation(
    references: References,
    language: str,
    teacher: OpticalModel,
    collection: Collection,
    evaluator: Evaluator,
    device: str,
) -> Found | str:
    if references.translator is None:
        return "no model"
    source, target = references.translator_languages.get(language, (None, None))
    texts = translate(list(collection.queries.values()), references.translator, source=source, target=target, device=device)
    return evaluator.retrieve(teacher, dict(zip(collection.queries, texts, strict=True)), collection.corpus)
