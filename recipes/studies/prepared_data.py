"""Collections that a study puts together once: English documents, queries in other languages, labelled pairs held apart."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping

from modeling_optical.evaluation import Collection, load_collection, texts_of
from modeling_optical.files.atomic_write import replacing_folder, write_text
from modeling_optical.files.json_files import read_json, write_json, write_json_lines

from ..checked_yaml import substitute
from ..runs.recipe.evaluation import CollectionSource
from .cells import Places
from .study import PreparedCollection, Study

_RECORD = "prepared.json"
Judgements = dict[str, dict[str, int]]


def prepare_collections(study: Study, say: Callable[[str], None]) -> None:
    """Writes every collection of the study in BEIR's layout below its folder, and the labelled pairs; skips what is there.

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
            counts = _prepare(study, name, collection, languages, wanted)
        say(f"Collection {name}: " + ", ".join(f"{key} {value:,}" for key, value in counts.items()))
        if collection.labelled:
            _write_pairs(study, name, languages, places)


def _prepare(
    study: Study, name: str, collection: PreparedCollection, languages: list[str], wanted: Mapping[str, object]
) -> dict[str, int]:
    folder = Places(study.root).prepared / name
    english, labelled, counts = _judged(study, collection)
    queries = {"en": dict(english.queries)}
    for split in (None, collection.labelled_split) if collection.labelled_split else (None,):
        if split is not None:
            queries["en"] |= _source(study, collection.documents, "en", split).load("en").queries
        for language in languages:
            queries.setdefault(language, {}).update(
                _source(study, collection.queries or collection.documents, language, split).load(language).queries
            )
    judged = [english.qrels, labelled]
    with replacing_folder(folder) as scratch:
        documents = ({"_id": identifier, "text": text} for identifier, text in english.corpus.items())
        write_json_lines(scratch / "corpus.jsonl", documents)
        for language, texts in queries.items():
            known = [query for grades in judged for query in grades if query in texts]
            write_json_lines(scratch / f"queries.{language}.jsonl", ({"_id": query, "text": texts[query]} for query in known))
            counts[f"test queries in {language}"] = sum(query in texts for query in english.qrels)
        for split, grades in (("test", english.qrels), ("train", labelled)):
            lines = [f"{query}\t{document}\t{grade}" for query, own in grades.items() for document, grade in own.items()]
            write_text(scratch / "qrels" / f"{split}.tsv", "\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
        counts = {"documents": len(english.corpus)} | counts
        write_json(scratch / _RECORD, {"asked for": wanted, "counts": counts})
    return counts


def _judged(study: Study, collection: PreparedCollection) -> tuple[Collection, Judgements, dict[str, int]]:
    """The English collection with the judgements that are tested on, those that give labelled pairs, and counts."""
    english = _source(study, collection.documents, "en", None).load("en")
    if collection.labelled_split is not None:
        labelled = _source(study, collection.documents, "en", collection.labelled_split).load("en").qrels
        labelled = {query: grades for query, grades in labelled.items() if query not in english.qrels}
        return english, labelled, {"labelled queries": len(labelled)}
    if not collection.labelled_share:
        return english, {}, {}
    test, labelled, dropped = split_by_document(english.qrels, collection.labelled_share)
    return dataclasses.replace(english, qrels=test), labelled, {"labelled queries": len(labelled), "in neither part": dropped}


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
    names = {"language": language} | {f"paths.{name}": value for name, value in study.paths.items()}
    values = substitute(dataclasses.asdict(source), names)
    return CollectionSource(**(values | ({"split": split} if split is not None else {})))


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
