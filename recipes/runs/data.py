"""The data of a run: bitext to train on and to hold out, collections to search."""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datasets import Dataset, IterableDataset
from transformers.utils import logging

from modeling_optical.evaluation import Collection
from modeling_optical.evaluation.collections import by_corpus
from modeling_optical.evaluation.questions import QuestionSet
from trainer.bitext import (
    BitextReport,
    Cleaning,
    KeptOut,
    LanguageDetector,
    NearDuplicateIndex,
    NearDuplicateOptions,
    add_short_pairs,
    draw_mixture,
    fingerprint,
    load_bitext,
    mix_languages,
    sample_bitext,
    split_bitext,
    stream_bitext,
)
from trainer.vocabulary import word_translations
from trainer.vocabulary.code_switching import add_switched_pairs

from .annotations import load_annotations
from .recipe.distillation import Recipe
from .recipe.evaluation import CollectionSource, check_distinct

logger = logging.get_logger(__name__)

# Pairs of a language below which students lost what they began with, on texts of other domains (benchmarks/quality.md).
FEW_PAIRS = 10_000


@dataclass
class DataReport:
    """Counts of a run's data, for its record.

    Attributes:
        training_pairs: distinct pairs that are trained on.
        training_pairs_in_updates: how many of them the updates go through, where these are fewer.
        training_pairs_by_language: all of them by language.
        training_pairs_by_group: pairs drawn from each group of a mixture.
        training_pairs_with_repetitions: pairs of an epoch in which small languages are repeated.
        short_pairs: pairs that were cut from others and added.
        switched_pairs: pairs of a text and the same text with translated words that were added.
        held_out_pairs: pairs that are never trained on.
        fingerprint: of the training pairs.
        annotations: counts of `load_annotations`.
        bitext: counts of `load_bitext`.
        collections: name of a test collection to where it was read from.
        questions_left_out: set of questions, with its language, to how many were left out and why.
    """

    training_pairs: int = 0
    training_pairs_in_updates: int | None = None
    training_pairs_by_language: dict[str, int] = field(default_factory=dict)
    training_pairs_by_group: dict[str, int] = field(default_factory=dict)
    training_pairs_with_repetitions: int | None = None
    short_pairs: int | None = None
    switched_pairs: int | None = None
    held_out_pairs: int = 0
    fingerprint: str = ""
    annotations: dict[str, int] = field(default_factory=dict)
    bitext: dict[str, Any] = field(default_factory=dict)
    collections: dict[str, dict[str, Any]] = field(default_factory=dict)
    questions_left_out: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The content of `run.json`: the names in words, without those that do not apply."""
        values = dataclasses.asdict(self)
        return {_words(name): value for name, value in values.items() if value not in (None, {})}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataReport:
        """Reads what `to_dict` gave."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: values[_words(name)] for name in names if _words(name) in values})


def _words(name: str) -> str:
    return name.replace("held_out", "held-out").replace("_", " ")


@dataclass
class Data:
    """Bitext and collections of a run.

    Attributes:
        train: the training pairs, after `for_updates` as many as the updates go through.
        sample: all training pairs, in memory; of a stream a part.
        held_out: pairs that are never trained on.
        collections: test collections with queries in the student's languages.
        ceilings: the same with queries in the teacher's language.
        questions: multiple-choice questions in the student's languages.
        report: counts, for the record of the run.
    """

    train: Dataset | IterableDataset
    sample: Dataset
    held_out: Dataset
    collections: list[Collection] = field(default_factory=list)
    ceilings: list[Collection] = field(default_factory=list)
    questions: list[QuestionSet] = field(default_factory=list)
    report: DataReport = field(default_factory=DataReport)


def load_data(recipe: Recipe, say: Callable[[str], None]) -> Data:
    """Reads, checks, splits, shortens and mixes what a recipe names; `say` prints what a user wants to see.

    Collections are read first: one that is not there should not cost a training run, and the bitext is checked against them.

    Raises:
        ValueError, FileNotFoundError: naming file, line, field or language.
    """
    report = DataReport()
    collections, ceilings, report.collections = _collections(recipe)
    questions = [
        source.load(language) for source in recipe.evaluation.questions for language in source.of(recipe.tested_languages)
    ]
    index = near_duplicate_index(recipe.data.near_duplicates, [*collections, *ceilings], questions)
    report.questions_left_out = {f"{one.name}.{one.language}": "; ".join(one.notes) for one in questions if one.notes}
    for name, note in report.questions_left_out.items():
        say(f"Questions {name}: {note}")
    parts: list[Dataset] = []
    if recipe.data.annotations is not None:
        found = load_annotations(recipe.data.annotations, recipe.language, recipe.teacher.language)
        parts.append(found.bitext)
        collections = [*found.collections, *collections]
        ceilings = [found.ceiling, *ceilings]
        report.annotations = found.report
        say("Annotations: " + ", ".join(f"{key} {value:,}" for key, value in found.report.items()))
    counts: dict[str, int] = {}
    if recipe.data.bitext:
        bitext, cleaning_report, counts = _read(recipe, index)
        parts.append(bitext)
        report.bitext = cleaning_report.to_dict()
        say(f"Bitext:\n{cleaning_report}")
    if not parts:
        raise ValueError("the recipe has no bitext: set data.bitext (a list of sources) or data.annotations.")
    rows = {name: [value for part in parts for value in part[name]] for name in parts[0].column_names}
    sample, held_out = split_bitext(
        Dataset.from_dict(rows), held_out=recipe.data.held_out, max_held_out=recipe.data.max_held_out, seed=recipe.seed
    )
    if recipe.data.max_training_pairs is not None:
        sample = drawn(sample, recipe.data.max_training_pairs, recipe.seed)
    if recipe.data.mixture is not None:
        sample = draw_mixture(sample, recipe.data.mixture, recipe.data.bitext, seed=recipe.seed)
        report.training_pairs_by_group = recipe.data.mixture.counts
        say("Mixture: " + ", ".join(f"{group} {count:,}" for group, count in recipe.data.mixture.counts.items()))
    train: Dataset | IterableDataset
    if recipe.data.streaming is not None:
        sample = _with_lengths(sample)
        train = stream_bitext(
            recipe.data.bitext,
            _cleaning(recipe, index),
            counts,
            options=recipe.data.streaming,
            held_out=held_out,
            temperature=recipe.data.temperature,
            shortened=recipe.data.shortened,
            seed=recipe.seed,
        )
        report.training_pairs = sum(counts.values()) - len(held_out)
        report.training_pairs_by_language = dict(counts)
    else:
        if recipe.data.shortened is not None:
            kept_out = KeptOut(held_out, index)
            sample, report.short_pairs = add_short_pairs(sample, recipe.data.shortened, seed=recipe.seed, kept_out=kept_out)
            say(f"Short pairs added: {report.short_pairs:,}")
        if recipe.data.code_switching is not None:
            tables = _word_tables(sample)
            sample, report.switched_pairs = add_switched_pairs(sample, recipe.data.code_switching, tables, seed=recipe.seed)
            say(f"Code-switched pairs added: {report.switched_pairs:,}")
        report.training_pairs = len(sample)
        report.training_pairs_by_language = dict(Counter(sample["language"]))
        train = sample = _with_lengths(mix_languages(sample, recipe.data.temperature, seed=recipe.seed))
        if len(train) > report.training_pairs:
            report.training_pairs_with_repetitions = len(train)
            say(f"With small languages repeated: {len(train):,} pairs in an epoch.")
    report.held_out_pairs = len(held_out)
    report.fingerprint = fingerprint(sample)
    say(f"Training on {report.training_pairs:,} pairs; {len(held_out):,} pairs held out.")
    few = {code: pairs for code, pairs in report.training_pairs_by_language.items() if pairs < FEW_PAIRS}
    if recipe.data.bitext and few:
        counted = ", ".join(f"{code} {pairs:,}" for code, pairs in few.items())
        say(
            f"Few pairs ({counted}): below {FEW_PAIRS:,}, a student may find less than it began with on texts of another "
            "domain, which held-out pairs do not show. Measure it and start/, the student before training, on texts of yours: "
            "the run ends with the commands. More bitext, data.annotations and training.start_share help (docs/bitext.md, "
            "docs/objectives.md)."
        )
    return Data(train, sample, held_out, collections, ceilings, questions, report)


def load_prealignment(recipe: Recipe, data: Data) -> Dataset:
    """Texts of the teacher's language, each as a pair of itself with itself.

    Raises:
        ValueError, FileNotFoundError: naming file, line or field.
    """
    own, language = recipe.student.prealign, recipe.teacher.language
    assert own is not None
    index = None
    if own.texts or own.shortened is not None:
        index = near_duplicate_index(recipe.data.near_duplicates, [*data.collections, *data.ceilings], data.questions)
    if own.texts:
        sources = [dataclasses.replace(source, target=source.source, language=language) for source in own.texts]
        texts, _ = load_bitext(sources, _cleaning(recipe, index))
    else:
        distinct = list(dict.fromkeys(data.sample["source"]))
        same = {"language": language, "document": "", "origin": "bitext", "kind": "query"}
        texts = Dataset.from_dict(
            {"source": distinct, "target": distinct} | {name: [value] * len(distinct) for name, value in same.items()}
        )
    if own.max_texts is not None:
        texts = drawn(texts, own.max_texts, recipe.seed)
    if own.shortened is not None:
        texts, _ = add_short_pairs(texts, own.shortened, seed=recipe.seed, kept_out=KeptOut(data.held_out, index))
    return _with_lengths(texts)


def _word_tables(pairs: Dataset) -> dict[str, dict[str, str]]:
    """Language to its table of the teacher's words and their translations, learnt from the pairs."""
    return {language: word_translations(own["source"], own["target"]) for language, own in by_language(pairs).items()}


def examples_seen(training: Mapping[str, Any], examples: int, *, batch_size: int = 32, epochs: float = 3.0) -> float:
    """How many examples a training goes through.

    Args:
        training: arguments that a recipe names.
        examples: of the training data.
        batch_size, epochs: where it names none.
    """
    updates = training.get("max_steps", -1)
    if updates > 0:
        batch = training.get("per_device_train_batch_size", batch_size)
        return batch * training.get("gradient_accumulation_steps", 1) * updates
    return training.get("num_train_epochs", epochs) * examples


def for_updates(data: Data, recipe: Recipe, processes: int = 1) -> Data:
    """The data with no more training pairs than updates go through, so that the teacher encodes no text in vain.

    Vocabulary and translations are still made from all pairs (`sample`). All systems of a run train on the same pairs: as many
    as the longest training goes through, drawn at random by the recipe's seed.
    """
    trainings = [own.training for own in recipe.systems.values()]
    if data.train is not data.sample or any(training.get("max_steps", -1) <= 0 for training in trainings):
        return data  # a stream, or epochs, which count all pairs
    seen = math.ceil(processes * max(examples_seen(training, len(data.sample)) for training in trainings))
    if seen >= len(data.sample):
        return data
    report = dataclasses.replace(data.report, training_pairs_in_updates=seen)
    return dataclasses.replace(data, train=drawn(data.sample, seen, recipe.seed), report=report)


def by_language(pairs: Dataset) -> dict[str, Dataset]:
    """Language to its pairs, in their order."""
    rows: dict[str, list[int]] = {}
    for row, language in enumerate(pairs["language"]):
        rows.setdefault(language, []).append(row)
    return {language: pairs.select(places) for language, places in rows.items()}


def drawn(pairs: Dataset, count: int, seed: int) -> Dataset:
    """A random sample of the pairs, in their old order; with the same seed, a smaller one is a subset of a larger one."""
    order = random.Random(seed).sample(range(len(pairs)), len(pairs))
    return pairs.select(sorted(order[:count]))


def near_duplicate_index(
    options: NearDuplicateOptions | None, collections: list[Collection], questions: Sequence[QuestionSet] = ()
) -> NearDuplicateIndex | None:
    """An index of the texts of test collections and questions; None if nothing is to be checked."""
    if options is None or not (collections or questions):
        return None
    index = NearDuplicateIndex(options)
    for sharing in by_corpus(collections):
        for collection in sharing:
            for identifier, text in collection.queries.items():
                index.add(text, f"query {identifier} of {collection.name}")
        if options.documents:
            for identifier, text in sharing[0].corpus.items():
                index.add(text, f"document {identifier} of {sharing[0].name}")
    for own in questions:
        for question in own.questions:
            for text in (question.text, *(question.choices if options.documents else ())):
                index.add(text, f"question {question.identifier} of {own.name}")
    return index


def _cleaning(recipe: Recipe, index: NearDuplicateIndex | None) -> Cleaning:
    data = recipe.data
    return Cleaning(
        max_length_ratio=data.max_length_ratio,
        max_characters=data.max_characters,
        script_share=data.script_share,
        source_language=recipe.teacher.language,
        detector=LanguageDetector() if data.detect_language else None,
        near_duplicates=index,
        remembered=data.streaming.remembered if data.streaming is not None else None,
    )


def _read(recipe: Recipe, index: NearDuplicateIndex | None) -> tuple[Dataset, BitextReport, dict[str, int]]:
    """The clean bitext, or a sample of it where it is streamed; the report; clean pairs per language."""
    if recipe.data.streaming is not None:
        return sample_bitext(recipe.data.bitext, _cleaning(recipe, index), recipe.data.streaming.sample, seed=recipe.seed)
    bitext, report = load_bitext(recipe.data.bitext, _cleaning(recipe, index))
    return bitext, report, {}


def _with_lengths(bitext: Dataset) -> Dataset:
    # What `train_sampling_strategy: group_by_length` groups by.
    return bitext.add_column("length", [len(text) for text in bitext["target"]])


def _collections(recipe: Recipe) -> tuple[list[Collection], list[Collection], dict[str, dict[str, Any]]]:
    """Test collections in the student's languages, in the teacher's, and where each is from."""
    collections: list[Collection] = []
    ceilings: list[Collection] = []
    origins: dict[str, dict[str, Any]] = {}
    for source in recipe.evaluation.collections:
        found = in_languages(source, recipe.tested_languages)
        if not found:
            continue  # `languages` of the source leaves out all of the student's
        collections += found
        origins[found[0].name] = dataclasses.asdict(source)
        if not found[0].parallel:
            logger.warning(f"{source.path} has no parallel queries in {recipe.teacher.language!r}: no ceiling on it.")
            continue
        try:
            ceiling = source.load(recipe.teacher.language)
        except FileNotFoundError:
            logger.warning(f"{source.path} has no queries in {recipe.teacher.language!r}: no ceiling is measured on it.")
            continue
        ceiling.corpus = found[0].corpus  # one corpus, encoded once
        ceilings.append(ceiling)
    check_distinct(collections)
    return collections, ceilings, origins


def in_languages(source: CollectionSource, languages: list[str]) -> list[Collection]:
    """The collection's queries in each of the languages that it has; parallel ones share one corpus, which is encoded once.

    Raises:
        FileNotFoundError: if it has none of those that are to be tested on it.
    """
    found: list[Collection] = []
    missing: FileNotFoundError | None = None
    for language in source.of(languages):
        try:
            collection = source.load(language)
        except FileNotFoundError as error:
            if len(languages) == 1:
                raise
            missing = error
            logger.warning(f"{source.path} has no queries in {language!r}: the student is not measured on it in that language.")
            continue
        if found and collection.parallel:
            collection.corpus = found[0].corpus
        found.append(collection)
    if missing is not None and not found:
        raise missing
    return found
