"""AfriQA: questions in ten African languages find the English or French passage that answers them.

Files, as a clone of https://github.com/masakhane-io/afriqa holds them. (The data sets `masakhane/afriqa` and
`masakhane/afriqa-gold-passages` on the Hub are loading scripts for them, which `datasets` no longer runs.)

    data/gold_passages/<code>/gold_span_passages.afriqa.<code>.<pivot>.<split>.json

A JSON object a line: `id`, `question_lang`, `question_translated`, `title`, `context`, `answer_pivot`, `answer_lang`. `<code>`
has three letters (bem fon hau ibo kin swa twi wol yor zul); two-letter codes are taken too. `<pivot>` is the passages'
language: `fr` for Fon and Wolof, `en` for the others. Splits: `test` (the default), `dev`, `train`; with `-translated`
appended, the same questions in the pivot language, translated by people, for a ceiling. A question's id is its place in the
file.

The benchmark searches all of Wikipedia (`masakhane/afriqa_wiki_en_fr_100`, 19 GB) and has no judgements there, only answers as
texts. Here a question searches the gold passages of every language and split in the folder that share its pivot, so scores are
higher than the paper's and comparable only with each other. Licence: CC-BY-4.0 by the repository, CC-BY-SA-4.0 by the card of
the data set. Documented in arXiv 2305.06897.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .collection import Collection, assemble, read_queries
from .files import Layout, Request, json_lines, no_queries

_FILE = re.compile(r"(?:^|/)gold_span_passages\.afriqa\.([a-z]{3})\.([a-z]{2})\.(\w+)\.json$")
_THREE = {"ha": "hau", "ig": "ibo", "rw": "kin", "sw": "swa", "tw": "twi", "wo": "wol", "yo": "yor", "zu": "zul"}
_TRANSLATED = "-translated"
_NEEDED = ("id", "question_lang", "question_translated", "title", "context")


def read(request: Request) -> Collection:
    """Reads a language's questions over the gold passages of their pivot language."""
    code, asked_split = _THREE.get(request.language, request.language), request.split or "test"
    split = asked_split.removesuffix(_TRANSLATED)
    there = [(*found.groups(), name) for name in request.files.names if (found := _FILE.search(name))]
    splits = sorted(own for one, _, own, _ in there if one == code)
    if not splits:
        raise no_queries(request.files, request.language, (one for one, *_ in there))
    if split not in splits:
        raise FileNotFoundError(
            f"collection {request.files.label}: no split {split!r} in {code!r}. Splits: {', '.join(splits)}."
        )
    pivot, asked = next((pivot, name) for one, pivot, own, name in there if (one, own) == (code, split))
    passages: dict[str, tuple[str, str]] = {}
    for name in (name for _, language, _, name in there if language == pivot):
        for place, record in _records(request.files.path(name)):
            passages.setdefault(_passage(record), (f"p{len(passages)}", place))
    translated = asked_split != split
    own = _records(request.files.path(asked))
    answers: dict[str, set[str]] = {}
    for _, record in own:
        answers.setdefault(record["question_lang"], set()).add(passages[_passage(record)][0])
    question = "question_translated" if translated else "question_lang"
    return assemble(
        f"afriqa-{asked_split}",
        request.language,
        read_corpus=lambda: ((place, identifier, text) for text, (identifier, place) in passages.items()),
        corpus_bytes=0,  # it is in memory
        queries=read_queries((place, str(number), record[question]) for number, (place, record) in enumerate(own)),
        judgements=[
            (place, str(number), passage, "1")
            for number, (place, record) in enumerate(own)
            for passage in sorted(answers[record["question_lang"]])
        ],
        query_language=pivot if translated else "",
    )


def _records(path: Path) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for place, record in json_lines(path):
        if missing := [name for name in _NEEDED if not isinstance(record.get(name), (str, int))]:
            raise ValueError(f"{place}: `{missing[0]}` is missing; the record has {', '.join(record) or 'nothing'}.")
        found.append((place, record))
    return found


def _passage(record: dict[str, Any]) -> str:
    return " ".join(f"{record['title']} {record['context']}".split())


LAYOUT = Layout(
    "afriqa",
    "gold_span_passages.afriqa.CODE.PIVOT.SPLIT.json",
    lambda names: any(_FILE.search(name) for name in names),
    read,
)
