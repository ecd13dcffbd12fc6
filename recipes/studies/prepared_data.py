"""Collections that a study puts together once: documents, queries in other languages, labelled pairs held apart."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

from modeling_optical.evaluation import Collection, load_collection, texts_of
from modeling_optical.files.atomic_write import replacing_folder, write_text
from modeling_optical.files.json_files import read_json, write_json, write_json_lines
from trainer.bitext import BitextSource, load_bitext

from ..checked_yaml import substitute
from ..runs.recipe.evaluation import CollectionSource
from .cells import Places
from .study import PreparedCollection, Study

_RECORD = "prepared.json"
Judgements = dict[str, dict[str, int]]


def prepare_collections(study: Study, say: Callable[[str], None]) -> None:
    """Writes every collection of the study in BEIR's layout below its folder, and the labelled pairs; skips existing ones.

    Raises:
        FileNotFoundError: for a missing folder, file or language. ValueError: for what cannot be read (file and line named), or
            if the folder holds collections that were prepared otherwise.
    """
    places = Places(study.root)
    for name, collection in study.collections.items():
        languages = [language for language in study.languages if collection.has(language)]
        folder = places.prepared / name
        wanted = {"collection": dataclasses.asdict(collection), "paths": study.paths, "languages": languages}
        record = folder / _RECORD
        if record.is_file():
            there = read_json(record)
            if there["asked for"] != wanted:
                raise ValueError(f"{folder} was prepared from other data or languages. Choose another folder with --output.")
            counts = there["counts"]
        else:
            prepare = _prepare if collection.sentences is None else _prepare_sentences
            with replacing_folder(folder) as scratch:
                counts = prepare(study, collection, languages, scratch)
                write_json(scratch / _RECORD, {"asked for": wanted, "counts": counts})
        say(f"Collection {name}: " + ", ".join(f"{key} {value:,}" for key, value in counts.items()))
        if collection.labelled:
            _write_pairs(study, name, languages, places)


def _prepare(study: Study, collection: PreparedCollection, languages: list[str], folder: Path) -> dict[str, int]:
    assert collection.documents is not None
    own = collection.language
    tested, labelled, counts = _judged(study, collection, collection.documents)
    queries = {own: dict(tested.queries)}
    for split in (None, collection.labelled_split) if collection.labelled_split else (None,):
        if split is not None:
            queries[own] |= _source(study, collection.documents, own, split).load(own).queries
        for language in (one for one in languages if one != own):
            queries.setdefault(language, {}).update(
                _source(study, collection.queries or collection.documents, language, split).load(language).queries
            )
    judged = [tested.qrels, labelled]
    documents = ({"_id": identifier, "text": text} for identifier, text in tested.corpus.items())
    write_json_lines(folder / "corpus.jsonl", documents)
    for language, texts in queries.items():
        known = [query for grades in judged for query in grades if query in texts]
        write_json_lines(folder / f"queries.{language}.jsonl", ({"_id": query, "text": texts[query]} for query in known))
        counts[f"test queries in {language}"] = sum(query in texts for query in tested.qrels)
    for split, grades in (("test", tested.qrels), ("train", labelled)):
        _write_judgements(folder / "qrels" / f"{split}.tsv", grades)
    return {"documents": len(tested.corpus)} | counts


def _write_judgements(path: Path, qrels: Judgements) -> None:
    lines = [f"{query}\t{document}\t{grade}" for query, own in qrels.items() for document, grade in own.items()]
    write_text(path, "\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


def _prepare_sentences(study: Study, collection: PreparedCollection, languages: list[str], folder: Path) -> dict[str, int]:
    """A folder for each language: sentences drawn from its bitext that search for the ones that they translate."""
    assert collection.sentences is not None
    counts = {}
    for language in languages:
        values = substitute(dataclasses.asdict(collection.sentences), _names(study, language))
        pairs = load_bitext([BitextSource(**values)])[0]
        one_to_one = dict(zip(pairs["source"], pairs["target"], strict=True))
        drawn = random.Random(0).sample(sorted(one_to_one), min(collection.max_documents, len(one_to_one)))
        if len(drawn) < collection.max_documents:
            raise ValueError(
                f"{pairs['origin'][0]}: {collection.max_documents} sentences are asked for, it has {len(drawn)} different "
                "ones. Lower max_documents."
            )
        place, asked = folder / language, drawn[: collection.max_queries]
        write_json_lines(place / "corpus.jsonl", ({"_id": f"s{n}", "text": text} for n, text in enumerate(drawn)))
        rows = ({"_id": f"s{n}", "text": one_to_one[text]} for n, text in enumerate(asked))
        write_json_lines(place / f"queries.{language}.jsonl", rows)
        _write_judgements(place / "qrels.tsv", {f"s{n}": {f"s{n}": 1} for n in range(len(asked))})
        counts[f"test queries in {language}"] = len(asked)
    return counts


def _judged(
    study: Study, collection: PreparedCollection, source: CollectionSource
) -> tuple[Collection, Judgements, dict[str, int]]:
    """The collection with the judgements that are tested on, those that give labelled pairs, and counts."""
    tested = _source(study, source, collection.language, None).load(collection.language)
    if collection.labelled_split is not None:
        labelling = _source(study, source, collection.language, collection.labelled_split).load(collection.language)
        labelled = {query: grades for query, grades in labelling.qrels.items() if query not in tested.qrels}
        corpus = dict(tested.corpus.items()) | texts_of(labelling.corpus, {d for grades in labelled.values() for d in grades})
        return dataclasses.replace(tested, corpus=corpus), labelled, {"labelled queries": len(labelled)}
    if not collection.labelled_share:
        return tested, {}, {}
    test, labelled, dropped = split_by_document(tested.qrels, collection.labelled_share)
    return dataclasses.replace(tested, qrels=test), labelled, {"labelled queries": len(labelled), "in neither part": dropped}


def split_by_document(qrels: Judgements, share: float, seed: int = 0) -> tuple[Judgements, Judgements, int]:
    """Parts judgements so that no relevant document of a test query is one of a labelled query.

    Args:
        qrels: query id to {document id: grade}.
        share: of the relevant documents, drawn at random, whose queries are labelled ones.
        seed: of the draw.

    Returns:
        Judgements for testing, judgements for labelled pairs, and how many queries had documents in both and are in neither.
    """
    relevant = {query: {d for d, grade in grades.items() if grade > 0} for query, grades in qrels.items()}
    documents = sorted({document for found in relevant.values() for document in found})
    chosen = set(random.Random(seed).sample(documents, round(len(documents) * share)))
    labelled = {query: qrels[query] for query, found in relevant.items() if found <= chosen}
    test = {query: qrels[query] for query, found in relevant.items() if not found & chosen}
    return test, labelled, len(qrels) - len(labelled) - len(test)


def _source(study: Study, source: CollectionSource, language: str, split: str | None) -> CollectionSource:
    """A source with names put in."""
    values = substitute(dataclasses.asdict(source), _names(study, language))
    return CollectionSource(**(values | ({"split": split} if split is not None else {})))


def _names(study: Study, language: str) -> dict[str, str | None]:
    return {"language": language} | {f"paths.{name}": value for name, value in study.paths.items()}


def _write_pairs(study: Study, name: str, languages: list[str], places: Places) -> None:
    """Labelled pairs, a query and one relevant document each, in an order drawn by the seed: fewer are a part of more."""
    folder = places.prepared / name
    for language in languages:
        missing = [seed for seed in study.seeds if not places.pairs(name, language, seed).is_file()]
        if not missing:
            continue
        labelled = load_collection(folder, language, format="beir", split="train")
        best = {query: max(grades, key=grades.__getitem__) for query, grades in labelled.qrels.items()}
        texts = texts_of(labelled.corpus, set(best.values()))
        for seed in missing:
            known = [query for query in best if best[query] in texts]
            random.Random(seed).shuffle(known)
            rows = ({"query": labelled.queries[query], "positive": texts[best[query]]} for query in known)
            write_json_lines(places.pairs(name, language, seed), rows)
