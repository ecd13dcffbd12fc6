"""Students and references measured on noisy queries: the same noise for all, what it changed, values query by query."""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.evaluation import Collection, Evaluator, per_query
from modeling_optical.evaluation.references import bm25
from modeling_optical.evaluation.trec import run_name
from modeling_optical.files.atomic_write import write_text
from recipes.studies.query_noise import NoisyQueries, add_noise
from trainer.vocabulary import word_translations

from ..runs.data import in_languages, load_data
from ..runs.distillation_run import load_start, load_teacher
from ..runs.recipe.distillation import Recipe
from .cells import Cell, Places, cells_of, distillation_recipe
from .reporting.results_table import NOISE, NOISE_COUNTS, write_frame
from .study import StudiedNoise, Study

Found = dict[str, dict[str, float]]
Answer = Callable[[Collection, Mapping[str, str]], Found]
"""Takes a collection and queries to it, gives a run."""


def prepare_word_translations(study: Study, say: Callable[[str], None]) -> None:
    """Learns the words that `code_switching` puts in, from each language's bitext, once for all seeds; skips existing ones.

    Raises:
        FileNotFoundError, ValueError: for bitext that cannot be read, or if the folder holds words of other data.
    """
    if study.query_noise is None or "code_switching" not in study.query_noise.levels:
        return
    for language in dict.fromkeys(cell.language for cell in cells_of(study) if cell.stage == "reference"):
        recipe = distillation_recipe(study, Cell("reference", language))
        if not recipe.data.bitext:
            continue  # a language that students have no bitext in: there is nothing to learn words from
        file = _translations_file(study, language)
        wanted = json.loads(json.dumps(dataclasses.asdict(recipe.data)))
        if file.is_file():
            if json.loads(file.read_text(encoding="utf-8"))["asked for"] != wanted:
                raise ValueError(f"{file} was learnt from other bitext. Choose another folder with --output, or remove it.")
            continue
        sample = load_data(recipe, lambda text: None).sample
        words = word_translations(sample["target"], sample["source"])
        say(f"Words to switch in {language}: {len(words):,}, from {len(sample):,} pairs")
        write_text(file, json.dumps({"asked for": wanted, "words": words}, indent=1, ensure_ascii=False) + "\n")


def _translations_file(study: Study, language: str) -> Path:
    return Places(Path(study.output).expanduser()).prepared / "word_translations" / f"{language}.json"


def check_same_noise(study: Study, folder: Path) -> None:
    """Rejects a cell's folder whose values were measured with other noise than the study's.

    Raises:
        ValueError: naming the folder.
    """
    file = folder / NOISE / NOISE_COUNTS
    if file.is_file():
        there = json.loads(file.read_text(encoding="utf-8"))["asked for"]
    elif (folder / "per_query.parquet").is_file():
        there = None
    else:
        return
    if there != (None if study.query_noise is None else dataclasses.asdict(study.query_noise)):
        raise ValueError(
            f"{folder} was measured with other settings of query_noise. Choose another folder with --output, or remove that "
            "one to run it again."
        )


def measure_under_noise(study: Study, cell: Cell, clean: pd.DataFrame) -> None:
    """Measures every system of a cell on its collections' queries with every noise; skips systems that are done.

    Args:
        study: the study.
        cell: the cell.
        clean: its values on the queries as they are (`cell_values`).

    Raises:
        FileNotFoundError, ValueError: for a collection or a model that cannot be read.
    """
    if study.query_noise is None:
        return
    recipe = distillation_recipe(study, cell)
    folder = Places(Path(study.output).expanduser()).cell(cell)
    drawn = [
        collection.reduced(study.query_noise.max_queries)
        for source in recipe.evaluation.collections
        for collection in in_languages(source, recipe.tested_languages)
    ]
    tests = [_NoisyTest(collection, _noise_of(study, study.query_noise, collection)) for collection in drawn]
    _write_counts(study, cell, folder, tests)
    before = {
        (f"{collection}.{language}", system): own.set_index("query")[study.metrics].to_dict()
        for (collection, language, system), own in clean.groupby(["collection", "language", "system"])
    }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    search = _Search(recipe, device)
    for system, load in _systems(study, cell, recipe, folder, device, search):
        file = folder / NOISE / f"{system}.parquet"
        if file.is_file():
            continue
        answer = load()
        rows = [row for test in tests for row in test.rows(study, system, answer, before[test.name, system])]
        write_frame(file, pd.DataFrame(rows))


def _noise_of(study: Study, noise: StudiedNoise, collection: Collection) -> list[NoisyQueries]:
    language = collection.query_language
    file = _translations_file(study, language)
    words = json.loads(file.read_text(encoding="utf-8"))["words"] if file.is_file() else {}
    return [
        add_noise(collection.queries, kind, level, language=language, translations=words, seed=noise.seed)
        for kind, levels in noise.levels.items()
        for level in levels
    ]


@dataclass
class _NoisyTest:
    """A collection in one language, and its queries under every noise."""

    collection: Collection
    noise: list[NoisyQueries]

    @property
    def name(self) -> str:
        """The collection with its language, as the files of clean runs have it."""
        return run_name(self.collection)

    def rows(
        self, study: Study, system: str, answer: Answer, before: Mapping[str, Mapping[str, float]]
    ) -> Iterator[dict[str, Any]]:
        """A row per query and noise. A query that a noise leaves as it is keeps its clean value (`before`: metric, query).

        All noisy queries are answered at once, so that a corpus too large to be held is encoded once.
        """
        collection, _, language = self.name.rpartition(".")
        qrels = self.collection.qrels
        asked = {f"{i} {q}": noisy.texts[q] for i, noisy in enumerate(self.noise) for q in noisy.texts if q in noisy.changed}
        found = answer(self.collection, asked) if asked else {}
        for number, noisy in enumerate(self.noise):
            own = {query: found[f"{number} {query}"] for query in noisy.texts if query in noisy.changed}
            after = per_query({query: qrels[query] for query in own}, own, study.metrics) if own else {}
            for query in qrels:
                key = {"system": system, "collection": collection, "language": language}
                values = {m: after[m][query] if query in own else before[m][query] for m in study.metrics}
                yield key | {"query": query, "noise": noisy.kind, "level": noisy.level} | values


class _Search:
    """The corpora that are searched, each encoded once per encoder of documents."""

    def __init__(self, recipe: Recipe, device: str):
        self._own_documents = recipe.student.encodes_documents
        self._evaluator = Evaluator(batch_size=recipe.evaluation.batch_size)
        self.teacher = load_teacher(recipe).to(device)

    def answer(self, model: OpticalModel) -> Answer:
        """Encodes queries with the model and searches the collection's documents."""
        documents = model if self._own_documents else self.teacher
        return lambda collection, queries: self._evaluator.retrieve(model, queries, collection.corpus, documents)


def _systems(
    study: Study, cell: Cell, recipe: Recipe, folder: Path, device: str, search: _Search
) -> Iterator[tuple[str, Callable[[], Answer]]]:
    """The systems of a cell that read the given queries, and what loads each."""
    if cell.stage == "reference":
        untrained = search.teacher
        if recipe.student.start != "teacher":
            untrained = load_start(recipe, search.teacher.config.vector_dim).eval().to(device)
        yield "floor", lambda: search.answer(untrained)
        if any((folder / "runs").glob("bm25.*.trec")):
            yield "bm25", lambda: lambda collection, queries: bm25(queries, collection.corpus)
        return
    places = Places(Path(study.output).expanduser())
    for system in ("start", *recipe.baselines, "optical"):

        def load(system: str = system) -> Answer:
            gc.collect()
            return search.answer(load_checkpoint(places.student(cell, system), precision=recipe.precision).to(device))

        yield system, load


def _write_counts(study: Study, cell: Cell, folder: Path, tests: list[_NoisyTest]) -> None:
    """How many queries each noise changed, and how many of them look different to the student's tokenizer."""
    assert study.query_noise is not None
    places = Places(Path(study.output).expanduser())
    processor = None if cell.stage == "reference" else load_checkpoint(places.student(cell, "start")).get_processor()
    counts: list[dict[str, Any]] = []
    for test in tests if processor is not None else []:
        assert processor is not None
        for noisy in test.noise:
            changed = sorted(noisy.changed)
            before = processor.tokenize([test.collection.queries[query] for query in changed], "query")
            after = processor.tokenize([noisy.texts[query] for query in changed], "query")
            seen = sum(one["input_ids"] != other["input_ids"] for one, other in zip(before, after, strict=True))
            where = dict(zip(("collection", "language"), test.name.rsplit(".", 1), strict=True))
            what = {"noise": noisy.kind, "level": noisy.level, "queries": len(noisy.texts), "applicable": noisy.applicable}
            counts.append(
                where | what | {"changed": len(changed), "seen": seen, "units": noisy.units, "why_not": noisy.why_not}
            )
    record = {"asked for": dataclasses.asdict(study.query_noise), "counts": counts}
    write_text(folder / NOISE / NOISE_COUNTS, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
