"""Multiple-choice questions made from translated documents: which English sentence translates this one, which one continues it.

Not a published benchmark, but real text with one right answer, in any language that documents were translated into. Every line
of a file is a JSON object with one sentence, in the order of the document:

    <language>.jsonl      {"id", "document", "en", "<language>"}                       sentences of one language (TICO-19)
    sentences.jsonl       {"id", "article", "domain", "en", "<language>", …}           sentences of many languages (FLORES-200)

A document's kind is its `domain`, or else its name up to the last `_`. The question is a sentence in the language, the choices
are four English sentences:

    <topic>_translation     its English translation; the others are drawn from the same document, then from others of its kind
    <topic>_continuation    the next English sentence of the document; the others are drawn from other documents of its kind

The draw depends on the question's id alone, so it is the same in every language and on every machine. Sentences without three
other texts to draw are left out. In English the first task is trivial: the sentence is one of the choices.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..collections.files import ending, json_lines, no_queries
from .question import Question, QuestionLayout, QuestionRequest, QuestionSet, question_set

_OTHERS = 3


@dataclass(frozen=True)
class _Sentence:
    identifier: str
    document: str
    kind: str
    text: str
    english: str


def read(request: QuestionRequest) -> QuestionSet:
    """Makes the questions of one language."""
    if request.split is not None:
        raise ValueError(f"{request.files.label}: questions made from documents have no split; name `documents`.")
    sentences = _sentences(request)
    wanted = set(request.documents)
    absent = sorted(wanted - {sentence.document for sentence in sentences})
    if absent:
        raise ValueError(f"{request.files.label}: there is no document {absent[0]!r} in {request.language!r}.")
    if wanted:
        sentences = [sentence for sentence in sentences if sentence.document in wanted]
    topic = request.topic or request.name
    questions = _translations(sentences, topic, request.in_english) + _continuations(sentences, topic, request.in_english)
    return question_set(f"{topic}-documents", request.language, questions, "en")


def _sentences(request: QuestionRequest) -> list[_Sentence]:
    files, language = request.files, request.language
    name = ending(files.names, f"{language}.jsonl") or ending(files.names, "sentences.jsonl")
    if name is None:
        raise no_queries(files, language, (one.removesuffix(".jsonl") for one in files.names if one.endswith(".jsonl")))
    found = []
    for place, record in json_lines(files.path(name)):
        document = record.get("document", record.get("article"))
        if not isinstance(document, str) or not isinstance(record.get("id"), str):
            raise ValueError(f"{place}: a sentence needs `id` and `document` (or `article`), both texts.")
        texts = record.get(language), record.get("en")
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{place}: no text in {language!r} or 'en'; it has {', '.join(record)}.")
        kind = record.get("domain") or document.rpartition("_")[0] or document
        text, english = (" ".join(str(one).split()) for one in texts)
        if text and english:
            found.append(_Sentence(record["id"], document, str(kind), text, english))
    return found


def _translations(sentences: Sequence[_Sentence], topic: str, in_english: bool) -> list[Question]:
    return _questions(f"{topic}_translation", [(one, one) for one in sentences], sentences, in_english, from_own=True)


def _continuations(sentences: Sequence[_Sentence], topic: str, in_english: bool) -> list[Question]:
    pairs = [
        (one, following)
        for one, following in itertools.pairwise(sentences)
        if one.document == following.document and one.english != following.english
    ]
    return _questions(f"{topic}_continuation", pairs, sentences, in_english, from_own=False)


def _questions(
    subject: str,
    pairs: Sequence[tuple[_Sentence, _Sentence]],
    sentences: Sequence[_Sentence],
    in_english: bool,
    *,
    from_own: bool,
) -> list[Question]:
    by_kind: dict[str, list[_Sentence]] = {}
    for sentence in sentences:
        by_kind.setdefault(sentence.kind, []).append(sentence)
    found = []
    for asked, right in pairs:
        identifier = f"{subject}/{asked.identifier}".replace(" ", "_")
        generator = random.Random(identifier)
        pool = by_kind[asked.kind]
        own = [one.english for one in pool if one.document == asked.document] if from_own else []
        rest = [one.english for one in pool if one.document != asked.document]
        others: dict[str, None] = {}
        for part in (own, rest):
            candidates = sorted(set(part) - {right.english, asked.english} - set(others))
            others |= dict.fromkeys(generator.sample(candidates, min(_OTHERS - len(others), len(candidates))))
        if len(others) < _OTHERS:
            continue
        choices = [right.english, *others]
        generator.shuffle(choices)
        text = asked.english if in_english else asked.text
        found.append(Question(identifier, text, tuple(choices), choices.index(right.english)))
    return found


LAYOUT = QuestionLayout(
    "parallel-documents",
    "LANGUAGE.jsonl or sentences.jsonl",
    lambda names: any(name.endswith(".jsonl") for name in names),
    read,
)
