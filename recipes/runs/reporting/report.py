"""Evaluation of a run and what it shows: results, run files, a table, example searches, a picture, a card."""

from __future__ import annotations

import gc
import importlib.util
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers.utils import logging

from hub_cards.drawing.symbols import symbol
from hub_cards.model_card import PICTURES
from hub_cards.results import FEWEST_QUERIES
from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.evaluation import UNJUDGED, UNJUDGED_MEANS, Collection, Evaluator, ResultRow, format_table, texts_of
from modeling_optical.evaluation.questions import ACCURACY
from modeling_optical.files.atomic_write import write_text

from ..data import Data
from ..recipe.distillation import Recipe
from ..run_folder import student_of
from .answering import QuestionAnswerer
from .card import BASELINE, SYSTEMS, read_training_log, selection_sentence, write_student_card
from .rivals import describe_rivals, measure_rivals
from .verdict import next_steps, verdicts

logger = logging.get_logger(__name__)


HELD_OUT, HELD_OUT_ANNOTATIONS = HELD_OUTS = ("held_out_bitext", "held_out_annotations")
"""Names of the collections that held-out pairs are made into, sentences and names of emoji apart."""


@dataclass
class Example:
    """A query, what it should find and what the student found first."""

    query: str
    wanted: str
    found: list[str]
    rank: int | None


@dataclass
class Report:
    """Results of a run: rows, the printed text, example searches, and how good the student is in sentences."""

    rows: list[ResultRow]
    text: str
    examples: list[Example] = field(default_factory=list)
    verdict: list[str] = field(default_factory=list)

    def finish(self, recipe: Recipe, folder: Path, record: dict[str, Any]) -> str:
        """Writes report and card once the run's record is complete; returns the text to print."""
        student = student_of(folder, "optical")
        drawn = [f"![{title}](student/{file})" for file, title in PICTURES.items() if (student / file).is_file()]
        title = f"# {recipe.name}, {recipe.language}"
        write_student_card(recipe, record, folder, self.rows)
        # Last: it is how a run is known to be complete.
        write_text(folder / "report.md", "\n\n".join([title, *self.verdict, f"```\n{self.text}\n```", *drawn]) + "\n")
        minutes = f"{record['seconds']['total'] / 60:.1f} minutes. Results: {folder / 'results.json'}"
        return "\n\n".join([self.text, *self.verdict, f"{minutes}\n{next_steps(recipe, folder)}"])


def evaluate_systems(
    recipe: Recipe, folder: Path, data: Data, teacher: OpticalModel, systems: Iterable[tuple[str, OpticalModel]], precision: str
) -> Report:
    """Evaluates systems, and the teacher as their ceiling, on all collections of a run; writes results and run files.

    Args:
        recipe: of the run.
        folder: of the run.
        data: of the run.
        teacher: encodes the documents where the student does not, on the device where all run.
        systems: name and model, loaded one after the other.
        precision: of the rivals.
    """
    collections = [*data.collections, *held_out_collections(recipe, data)]
    evaluator = Evaluator(folder, [*recipe.evaluation.metrics, UNJUDGED], batch_size=recipe.evaluation.batch_size)
    answerer = QuestionAnswerer(recipe, data.questions, teacher, folder)
    examples: list[Example] = []
    student_runs: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for system, model in systems:
        model.to(teacher.device)
        evaluator.rows += answerer(system, model)
        for collection in collections:
            # Held-out bitext has its documents in the teacher's language.
            own_documents = recipe.student.encodes_documents and collection.name not in HELD_OUTS
            found = evaluator.measure(system, model, collection, model if own_documents else teacher)
            if system == "optical":
                student_runs[collection.name, collection.language] = found
            if system == "optical" and not examples and collection.name not in HELD_OUTS:
                examples = _examples(collection, found, recipe.evaluation.examples)
        del model
        gc.collect()
    measure_rivals(evaluator, recipe.evaluation, data.collections, teacher.device, precision, data.sample, student_runs)
    for collection in data.ceilings:
        evaluator.measure("ceiling", teacher, collection)
    evaluator.rows += answerer.ceilings()
    evaluator.write_results()
    drawn = pictures(recipe, folder, data, teacher, evaluator.rows)
    rivals = [name for name in describe_rivals(recipe.evaluation) if name != "fused"]  # the student is a part of it
    chosen = selection_sentence(student_of(folder, "optical"))
    answers = verdicts(evaluator, recipe.evaluation.metrics[0], rivals)
    if chosen:
        favour = "The weights were chosen on these pairs, which favours the student."
        answers = [f"{answer} {favour}" if answer.partition(",")[0] in HELD_OUTS else answer for answer in answers]
    answers = [*chosen, *answers]
    return Report(evaluator.rows, _text(recipe, evaluator.told(), examples, drawn), examples, answers)


def held_out_collections(recipe: Recipe, data: Data) -> list[Collection]:
    """The held-out pairs as collections, by language, those of annotations apart from the bitext."""
    if not len(data.held_out):
        return []
    annotated = None if recipe.data.annotations is None else Path(recipe.data.annotations.path).name
    places: dict[tuple[str, str], list[int]] = {}
    for place, (language, origin) in enumerate(zip(data.held_out["language"], data.held_out["origin"], strict=True)):
        name = HELD_OUT_ANNOTATIONS if origin == annotated else HELD_OUT
        places.setdefault((language, name), []).append(place)
    return [held_out_collection(data.held_out.select(own), *key) for key, own in places.items()]


def held_out_collection(held_out: Any, language: str, name: str = HELD_OUT) -> Collection:
    """Held-out pairs as a collection: each target searches for the source that it translates. It needs no judgements."""
    sources = list(dict.fromkeys(held_out["source"]))
    place = {source: f"s{index}" for index, source in enumerate(sources)}
    queries = {f"t{index}": target for index, target in enumerate(held_out["target"])}
    qrels = {f"t{index}": {place[source]: 1} for index, source in enumerate(held_out["source"])}
    return Collection(name, language, {place[s]: s for s in sources}, queries, qrels)


def _examples(collection: Collection, found: dict[str, dict[str, float]], count: int) -> list[Example]:
    """Every n-th query of the collection: not chosen by how well they do."""
    queries = list(collection.queries)
    chosen = queries[:: max(len(queries) // max(count, 1), 1)][:count]
    relevant = {query: [d for d, grade in collection.qrels[query].items() if grade > 0] for query in chosen}
    shown = {relevant[query][0] for query in chosen} | {d for query in chosen for d in list(found[query])[:5]}
    texts = texts_of(collection.corpus, shown)
    examples = []
    for query in chosen:
        ranking = list(found[query])
        ranks = [ranking.index(d) + 1 for d in relevant[query] if d in ranking]
        examples.append(
            Example(
                _short(collection.queries[query]),
                _show(relevant[query][0], texts),
                [_show(d, texts) for d in ranking[:5]],
                min(ranks) if ranks else None,
            )
        )
    return examples


def _show(identifier: str, texts: dict[str, str]) -> str:
    if identifier.startswith("U+"):
        return symbol(identifier)
    return _short(texts.get(identifier, f"{identifier} (not in the corpus)"))


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def pictures(recipe: Recipe, folder: Path, data: Data, teacher: OpticalModel, rows: list[ResultRow]) -> Path | None:
    """Draws the alignment of one held-out pair, the losses and the results by language, if matplotlib is installed.

    Returns:
        The alignment's picture; None without matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None:
        logger.warning('no pictures: matplotlib is not installed (pip install "modeling-optical[plot]").')
        return None
    from hub_cards.drawing.alignment import align
    from hub_cards.drawing.pictures import draw_alignment, draw_languages, draw_training

    pairs = data.held_out if len(data.held_out) else data.sample
    # A pair that fits on a page: about seven words on either side.
    lengths = [(len(s.split()), len(t.split())) for s, t in zip(pairs["source"], pairs["target"], strict=True)]
    index = min(range(len(pairs)), key=lambda i: abs(lengths[i][0] - 7) + abs(lengths[i][1] - 7))
    student = student_of(folder, "optical")
    alignment = align(load_checkpoint(student), teacher, pairs[index]["target"], pairs[index]["source"])
    drawn = draw_alignment(alignment, student / "pictures" / "alignment.png")
    draw_training(read_training_log(student), student / "pictures" / "training.png")
    draw_languages([row for row in rows if row.queries >= FEWEST_QUERIES], student / "pictures" / "languages.png")
    shutil.copyfile(drawn, folder / "alignment.png")
    return folder / "alignment.png"


def _text(recipe: Recipe, rows: list[ResultRow], examples: list[Example], drawn: Path | None) -> str:
    present = list(dict.fromkeys(row.system for row in rows))
    metrics = recipe.evaluation.metrics
    shown = [m for m in ("AP@100", "RR@10", "Success@1") if m in metrics] or metrics[:3]
    if recipe.evaluation.questions:
        shown = [ACCURACY, *shown]
    rivals = describe_rivals(recipe.evaluation)
    order = {
        name: place
        for place, name in enumerate(["floor", "start", "prealigned", *recipe.baselines, "optical", *rivals, "ceiling"])
    }
    ordered = sorted(rows, key=lambda row: (row.collection, order[row.system]))
    lines = [format_table(ordered, [*shown, UNJUDGED]), ""]
    lines += [UNJUDGED_MEANS] if any(row.metric == UNJUDGED for row in rows) else []
    baselines = dict.fromkeys(recipe.baselines, BASELINE)
    lines += [f"{name}: {(SYSTEMS | baselines | rivals)[name]}" for name in present]
    if few := sorted({row.collection for row in rows if row.queries < FEWEST_QUERIES}):
        lines += ["", f"Too few queries to tell systems apart (fewer than {FEWEST_QUERIES}): {', '.join(few)}."]
    if examples:
        lines += ["", "Searches with the student, every so many queries of the test collection:"]
        width = max(len(example.query) for example in examples)
        lines += [_example_line(example, width) for example in examples]
    if drawn is not None:
        lines += ["", f"Alignment of a held-out pair: {drawn.name}"]
    return "\n".join(lines)


def _example_line(example: Example, width: int) -> str:
    rank = f"rank {example.rank}" if example.rank else "not found"
    symbols = all(len(found) <= 8 for found in example.found)
    found = "  ".join(example.found) if symbols else example.found[0]
    wanted = rank if example.rank == 1 else f"wanted {example.wanted}: {rank}"
    return f"  {example.query.ljust(width)}  ->  {found}   ({wanted})"
