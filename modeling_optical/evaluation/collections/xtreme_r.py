"""The retrieval tasks of XTREME-R: Mewsli-X, LAReQA (XQuAD-R) and Tatoeba, from local folders; none is on the Hub as published.

Overview: https://github.com/google-research/xtreme.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...files.lines import json_lines, text_lines
from .collection import Collection, assemble, read_queries
from .files import Layout, Request, needed, no_queries, unpacked_bytes


def read_mewsli_x(request: Request) -> Collection:
    """Mewsli-X: an entity's mention in a news article finds the entity's description, among a million in 50 languages.

    Files, as `get-mewsli-x.sh` of google-research/dense_representations_for_entity_retrieval/mel leaves them
    (documented in its mewsli-x.md):

        wikinews_mentions-<split>.jsonl    {"context": {"language", "text", "sentence_spans", …},
                                            "mentions": [{"example_id", "entity_id", "mention_span": {"start", "end", "text"}}]}
        candidate_set_entities.jsonl       {"entity_id", "title", "description", …}

    Splits: `dev`, `test` (the default). Languages: ar de en es fa ja pl ro ta tr uk. A query is the mention, a colon and the
    sentence that it is in; a document is title and description: the benchmark leaves both to its users. Licence: see
    the archive; text from WikiNews (CC-BY) and Wikipedia (CC-BY-SA).
    """
    split, language = request.split or "test", request.language
    mentions = needed(request.files, f"wikinews_mentions-{split}.jsonl", "Splits: dev, test; get-mewsli-x.sh makes the files.")
    entities = needed(request.files, "candidate_set_entities.jsonl")
    languages: set[str] = set()
    queries: list[tuple[str, str, str]] = []
    judgements: list[tuple[str, str, str, str]] = []
    for place, record in json_lines(mentions):
        try:
            context = record["context"]
            languages.add(context["language"])
            if context["language"] != language:
                continue
            for mention in record["mentions"]:
                query = str(mention["example_id"])
                queries.append((place, query, _mention_in_sentence(place, context, mention["mention_span"])))
                judgements.append((place, query, str(mention["entity_id"]), "1"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{place}: not a Mewsli-X record ({type(error).__name__}: {error}).") from None
    if not queries:
        raise no_queries(request.files, language, languages)
    return assemble(
        f"mewsli-x-{split}",
        language,
        read_corpus=lambda: _entities(entities),
        corpus_bytes=unpacked_bytes([entities]),
        queries=read_queries(queries),
        judgements=judgements,
    )


def _mention_in_sentence(place: str, context: dict[str, Any], span: dict[str, Any]) -> str:
    text = context["text"]
    if not text:
        raise ValueError(
            f"{place}: the article's text is empty. The published archive leaves it out; get-mewsli-x.sh puts it back "
            "(wikinews_mentions-SPLIT.jsonl, not wikinews_mentions_no_text-SPLIT.jsonl)."
        )
    spans = [(one["start"], one["end"]) if isinstance(one, dict) else tuple(one) for one in context["sentence_spans"]]
    around = [(start, end) for start, end in spans if start < span["end"] and span["start"] < end]
    start = min((start for start, _ in around), default=span["start"])
    end = max((end for _, end in around), default=span["end"])
    return " ".join(f"{span['text']}: {text[start:end]}".split())


def _entities(path: Path) -> Iterator[tuple[str, str, str]]:
    for place, record in json_lines(path):
        if not isinstance(record.get("entity_id"), str) or not isinstance(record.get("description"), str):
            raise ValueError(f"{place}: an entity needs `entity_id` and `description`.")
        yield place, record["entity_id"], f"{record.get('title') or ''} {record['description']}".strip()


def read_lareqa(request: Request) -> Collection:
    """LAReQA: a question finds the sentences that answer it, in every language of one pool.

    Files, as https://github.com/google-research-datasets/lareqa holds them: `xquad-r/<language>.json`, SQuAD's format with
    `sentences` and `sentence_breaks` ([start, end) in characters of the context) per paragraph. (The benchmark's other half,
    `mlqa-r`, is no longer published there; the split `mlqa-r` reads a kept copy.) A candidate is a sentence followed by its
    paragraph, as in the benchmark. Relevant are the answers to the question of the same id in all languages. Licence:
    CC-BY-SA-4.0.
    """
    split = request.split or "xquad-r"
    named = re.compile(rf"(?:^|/){re.escape(split)}/([a-z]{{2}})\.json$")
    paths = {found[1]: request.files.path(name) for name in request.files.names if (found := named.search(name))}
    if request.language not in paths:
        raise no_queries(request.files, request.language, paths)
    queries: list[tuple[str, str, str]] = []
    pool: list[tuple[str, str, str]] = []
    answers: dict[str, list[str]] = {}
    for language, path in sorted(paths.items()):
        for number, paragraph in enumerate(_paragraphs(path)):
            place = f"{path}, paragraph {number + 1}"
            names = [f"{language}-{number}-{index}" for index in range(len(paragraph["sentences"]))]
            pool += [(place, n, f"{s} {paragraph['context']}") for n, s in zip(names, paragraph["sentences"], strict=True)]
            for question in paragraph["qas"]:
                if language == request.language:
                    queries.append((place, question["id"], question["question"]))
                for index in _answering(place, paragraph, question):
                    answers.setdefault(question["id"], []).append(names[index])
    return assemble(
        split,
        request.language,
        read_corpus=lambda: iter(pool),
        corpus_bytes=0,  # it is in memory
        queries=read_queries(queries),
        judgements=[(place, query, one, "1") for place, query, _ in queries for one in answers.get(query, [])],
        parallel=True,
    )


def _paragraphs(path: Path) -> Iterator[dict[str, Any]]:
    try:
        articles = json.loads(path.read_bytes())["data"]
        for article in articles:
            for paragraph in article["paragraphs"]:
                if not {"context", "qas", "sentences", "sentence_breaks"} <= set(paragraph):
                    raise KeyError("a paragraph needs context, qas, sentences and sentence_breaks")
                yield paragraph
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not in LAReQA's format ({type(error).__name__}: {error}).") from None


def _answering(place: str, paragraph: dict[str, Any], question: dict[str, Any]) -> list[int]:
    """Positions of the sentences in which an answer to the question begins."""
    starts = [answer["answer_start"] for answer in question["answers"]]
    found = [i for i, (start, end) in enumerate(paragraph["sentence_breaks"]) if any(start <= one < end for one in starts)]
    if not found:
        raise ValueError(f"{place}: the answer to question {question['id']!r} is in no sentence.")
    return found


_TATOEBA = re.compile(r"(?:^|/)tatoeba\.([a-z]{3})-eng\.([a-z]{3})$")
# LASER's codes for the languages of XTREME-R.
_THREE = {
    "af": "afr", "ar": "ara", "az": "aze", "bg": "bul", "bn": "ben", "de": "deu", "el": "ell", "es": "spa", "et": "est",
    "eu": "eus", "fa": "pes", "fi": "fin", "fr": "fra", "he": "heb", "hi": "hin", "hu": "hun", "id": "ind", "it": "ita",
    "ja": "jpn", "jv": "jav", "ka": "kat", "kk": "kaz", "ko": "kor", "lt": "lit", "ml": "mal", "mr": "mar", "nl": "nld",
    "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus", "sw": "swh", "ta": "tam", "te": "tel", "th": "tha", "tl": "tgl",
    "tr": "tur", "uk": "ukr", "ur": "urd", "vi": "vie", "zh": "cmn",
}  # fmt: skip


def read_tatoeba(request: Request) -> Collection:
    """Tatoeba: a sentence finds its English translation among the up to 1,000 of its language.

    Files, as https://github.com/facebookresearch/LASER holds them in `data/tatoeba/v1/`: `tatoeba.<code>-eng.<code>` and
    `tatoeba.<code>-eng.eng`, line by line, three-letter codes; two-letter codes are taken too. (XTREME-R's scripts fetch these
    files and then remove their order, which holds the judgements.) Licence: CC-BY 2.0 FR.
    """
    files, code = request.files, _THREE.get(request.language, request.language)
    there = [found[1] for found in map(_TATOEBA.search, files.names) if found and found[1] == found[2]]
    if code not in there:
        raise no_queries(files, request.language, there)
    targets = _sentences(needed(files, f"tatoeba.{code}-eng.{code}"))
    sources = _sentences(needed(files, f"tatoeba.{code}-eng.eng"))
    if len(targets) != len(sources):
        raise ValueError(
            f"collection {files.label}: tatoeba.{code}-eng.{code} has {len(targets)} lines, tatoeba.{code}-eng.eng "
            f"{len(sources)}: line i must translate line i."
        )
    return assemble(
        "tatoeba",
        request.language,
        read_corpus=lambda: iter(sources),
        corpus_bytes=0,  # it is in memory
        queries=read_queries(targets),
        judgements=[(place, number, number, "1") for place, number, _ in targets],
    )


def _sentences(path: Path) -> list[tuple[str, str, str]]:
    return [(place, str(number), line.strip()) for number, (place, line) in enumerate(text_lines(path))]


def _any(pattern: str) -> Any:
    compiled = re.compile(pattern)
    return lambda names: any(compiled.search(name) for name in names)


MEWSLI_X = Layout(
    "mewsli-x", "wikinews_mentions-SPLIT.jsonl", _any(r"(?:^|/)wikinews_mentions(?:_no_text)?-\w+\.jsonl$"), read_mewsli_x
)
LAREQA = Layout("lareqa", "xquad-r/LANGUAGE.json", _any(r"(?:^|/)(?:xquad|mlqa)-r/[a-z]{2}\.json$"), read_lareqa)
TATOEBA = Layout("tatoeba", "tatoeba.CODE-eng.CODE", lambda names: any(_TATOEBA.search(name) for name in names), read_tatoeba)
