"""Unicode CLDR annotations as bitext and as a collection: search emoji by a name in another language."""

from __future__ import annotations

import hashlib
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset

from modeling_optical.encoding.normal_forms import caseless, comparable, is_blank
from modeling_optical.evaluation import Collection
from modeling_optical.files.lines import json_lines

from .recipe.data import AnnotationsSource

_VALIDATION_SHARE = 0.125  # of the training concepts: a tenth of all


@dataclass
class Annotations:
    """The data of the annotations for one language.

    Attributes:
        bitext: training pairs from the training concepts.
        collections: held-out names that search the English descriptions of all concepts; names equal to their English name
            are a separate collection.
        ceiling: the same queries in English.
        report: counts.
    """

    bitext: Dataset
    collections: list[Collection]
    ceiling: Collection
    report: dict[str, int]


def load_annotations(source: AnnotationsSource, language: str, teacher_language: str = "en") -> Annotations:
    """Reads the annotations and splits them by concept, with a seeded hash.

    Concepts whose English names differ in one word are held out together: a name is not a test where training has its twin.

    Raises:
        FileNotFoundError: if the file is missing. ValueError: for an unreadable line or a language that is not there.
    """
    concepts = _read(source.path, language, teacher_language)
    names = {c["id"]: _clean(c[language]["name"]) for c in concepts}
    english = {c["id"]: _clean(c[teacher_language]["name"]) for c in concepts}
    held, train = _split(concepts, source, teacher_language)
    held_names = {caseless(names[c["id"]]) for c in held}
    rows: dict[tuple[str, str], tuple[str, str, str]] = {}
    candidates = leaked = 0
    for concept in train:
        for english_text, text, strings in _pairs(concept[teacher_language], concept[language]):
            candidates += 1
            if strings & held_names:
                leaked += 1
            else:
                key = comparable(english_text), comparable(text)
                rows.setdefault(key, (english_text, text, concept["id"]))
    count = len(rows)
    bitext = Dataset.from_dict(
        {
            "source": [source for source, _, _ in rows.values()],
            "target": [target for _, target, _ in rows.values()],
            "language": [language] * count,
            "document": [concept for _, _, concept in rows.values()],
            "origin": [Path(source.path).name] * count,
            "kind": ["query"] * count,
        }
    )
    corpus = {c["id"]: _description(c[teacher_language]) for c in concepts}
    same = [c["id"] for c in held if caseless(names[c["id"]]) == caseless(english[c["id"]])]
    different = [c["id"] for c in held if c["id"] not in set(same)]

    def collection(name: str, ids: list[str], texts: dict[str, str], code: str) -> Collection:
        return Collection(name, code, corpus, {f"q-{i}": texts[i] for i in ids}, {f"q-{i}": {i: 1} for i in ids})

    collections = [collection("emoji", different, names, language)]
    if same:
        collections.append(collection("emoji_same_name", same, names, language))
    report = {
        "concepts": len(concepts),
        "training concepts": len(train),
        "held-out names": len(different),
        "held-out names equal to their English name": len(same),
        "training pairs": count,
        "training pairs dropped (held-out name)": leaked,
        "training pairs dropped (repeated)": candidates - leaked - count,
    }
    return Annotations(bitext, collections, collection("emoji", different, english, teacher_language), report)


def _read(path: str, language: str, teacher_language: str) -> list[dict[str, Any]]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"annotations file {path!r} does not exist.")
    concepts, languages = [], set()
    for place, concept in json_lines(path):
        present = {code for code in concept.keys() - {"id"} if _is_annotation(concept[code])}
        languages |= present
        if not isinstance(concept.get("id"), str) or len(present) < len(concept) - 1:
            raise ValueError(
                f"{place}: not an annotation: a concept needs an `id` (text), and every language a `name` (text) and "
                "`keywords` (a list of texts)."
            )
        if {language, teacher_language} <= present:
            concept["id"] = "_".join(concept["id"].split())
            concepts.append(concept)
    if not concepts:
        raise ValueError(f"{path} has no annotations in {language!r}. Languages there: {', '.join(sorted(languages))}.")
    return concepts


def _is_annotation(value: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not isinstance(value.get("keywords"), list):
        return False
    return all(isinstance(keyword, str) for keyword in value["keywords"])


def _split(
    concepts: list[dict[str, Any]], source: AnnotationsSource, teacher_language: str
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Held-out and training concepts; concepts whose English names are made by one template stay together."""
    count = round(len(concepts) * source.held_out)
    if not 0 < count < len(concepts):
        raise ValueError(f"data.annotations.held_out is {source.held_out}; it is a share between 0 and 1.")
    held, train = _taken(_templates(concepts, teacher_language), count, source.seed)
    if source.validation:
        # The test concepts stay out of it altogether.
        rest = sum(map(len, train))
        count = round(rest * _VALIDATION_SHARE)
        if count == 0:
            raise ValueError(f"{len(concepts)} concepts are too few to take validation concepts from.")
        held, train = _taken(train, count, source.seed)
    return [c for group in held for c in group], [c for group in train for c in group]


def _templates(concepts: list[dict[str, Any]], language: str) -> list[list[dict[str, Any]]]:
    """Groups of concepts: two whose names differ in one word at one place ("open mailbox", "closed mailbox") share a group."""
    group_of: dict[tuple[str, ...], int] = {}
    groups: list[list[dict[str, Any]]] = []
    for concept in concepts:
        words = caseless(concept[language]["name"]).split()
        keys = [(*words[:place], "\0", *words[place + 1 :]) for place in range(len(words))] if len(words) > 1 else []
        joined = sorted({group_of[key] for key in keys if key in group_of})
        if not joined:
            joined = [len(groups)]
            groups.append([])
        first, *others = joined
        groups[first].append(concept)
        for other in others:
            groups[first] += groups[other]
            groups[other] = []
        group_of = {key: first if own in others else own for key, own in group_of.items()} if others else group_of
        group_of |= dict.fromkeys(keys, first)
    return [group for group in groups if group]


def _taken(groups: list[list[dict[str, Any]]], count: int, seed: int) -> tuple[list[list[dict]], list[list[dict]]]:
    """About `count` concepts in whole groups, in the order of a seeded hash, and the other groups."""

    def order(group: list[dict[str, Any]]) -> bytes:
        return hashlib.blake2b(f"{seed}\0{min(c['id'] for c in group)}".encode(), digest_size=12).digest()

    taken: list[list[dict]] = []
    rest: list[list[dict]] = []
    missing = count
    for group in sorted(groups, key=order):
        fits = len(group) <= missing
        (taken if fits else rest).append(group)
        missing -= len(group) if fits else 0
    if not taken:
        raise ValueError(
            f"no group of like names is small enough to hold out {count} concepts: the smallest has {min(map(len, groups))}. "
            "Raise data.annotations.held_out."
        )
    return taken, rest


def _pairs(english: dict[str, Any], other: dict[str, Any]) -> list[tuple[str, str, set[str]]]:
    """Pairs of one concept, each with the strings of the other language that it is made of."""
    name, keywords = _clean(other["name"]), [_clean(keyword) for keyword in other["keywords"]]
    pairs = [
        (_clean(english["name"]), name, {caseless(name)}),
        (_description(english), name, {caseless(name)}),
    ]
    if english["keywords"] and keywords:
        pairs.append((_clean(", ".join(english["keywords"])), ", ".join(keywords), {caseless(k) for k in keywords}))
    return [pair for pair in pairs if not is_blank(pair[0]) and not is_blank(pair[1])]


def _description(annotation: dict[str, Any]) -> str:
    keywords = [k for k in annotation["keywords"] if k.casefold() != annotation["name"].casefold()]
    return _clean(annotation["name"] + (": " + ", ".join(keywords) if keywords else ""))


def _clean(text: str) -> str:
    return unicodedata.normalize("NFC", " ".join(text.split()))
