"""TREC-style collections (CLEF, NeuCLIR, HC4 and their like): topics, judgements and documents as their tracks publish them.

A folder with the published files, as they are, at any depth:

    topics   a file whose name has `topic` in it. JSONL as NeuCLIR and HC4 publish it (`topic_id`, `topics`: a list with `lang`,
             `source`, `topic_title`, `topic_description`, …), or XML or SGML as TREC and CLEF do (`<top>` or `<topic>`; the
             number in `number=`, `<num>` or `<identifier>`; `<title>`, `<desc>` or `<description>`, also with CLEF's prefix as
             in `<EN-title>`). Of several such files, those with the language's code in their names count.
    qrels    a file whose name has `qrels` in it: topic, iteration, document, grade. Of several, those count whose names have
             the documents' language code in them; in one file for several languages, the lines whose second column is that code
             (NeuCLIR 2022's `2022-qrels.all`).
    documents  every other file in a folder named `documents`, `docs` or `data`: JSONL (`id` or `docid` or `_id`; `title`,
             `text`), as NeuCLIR has it on the Hub (`data/zho-00000-of-00001.jsonl.gz`), or SGML (`<DOC>`, `<DOCNO>`; the text
             of TITLE, HEADLINE, HEAD, HL, TTL, LEADPARA, LP and TEXT). SGML that is not UTF-8 is read as ISO-8859-1, CLEF's.

`language` is the queries'; `en:zh` asks for English queries over Chinese documents where documents of several languages lie
there (files named by `zho`, `fas`, `rus` …). A query is the title; with `format="trec-td"`, title and description.
`split` (HC4: train, dev, test) is a part of the names of topics and qrels.
Layouts: https://neuclir.github.io, https://github.com/hltcoe/HC4, https://trec.nist.gov/data/topics_eng/,
http://www.clef-initiative.eu. Licences: the tracks'; CLEF's documents are sold by ELRA.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from transformers.utils import logging

from ...files.lines import MAX_LINE_BYTES, columns, json_lines, text_lines
from .collection import Collection, assemble, read_queries
from .files import (
    Files,
    Layout,
    Request,
    json_documents,
    no_queries,
    unpacked_bytes,
)
from .judgements import judgement_lines

logger = logging.get_logger(__name__)

_THREE = {"ar": "ara", "cs": "ces", "de": "deu", "en": "eng", "es": "spa", "fa": "fas", "fi": "fin", "fr": "fra", "it": "ita",
          "nl": "nld", "pt": "por", "ru": "rus", "so": "som", "sv": "swe", "sw": "swa", "tl": "tgl", "zh": "zho"}  # fmt: skip
_FOLDERS = {"documents", "docs", "data"}
_FIELDS = "TITLE|HEADLINE|HEAD|HL|TTL|LEADPARA|LP|TEXT"


def read(request: Request, with_description: bool = False) -> Collection:
    """Reads topics, judgements and documents."""
    files = request.files
    spoken, _, written = request.language.partition(":")
    topics, qrels, documents = _sorted_files(files)
    if request.split is not None:
        topics, qrels = (_of_split(files, names, request.split) for names in (topics, qrels))
    documents_here = [name for name in documents if _speaks(name, written or spoken)]
    marked = bool(documents_here) and len(documents_here) < len(documents)
    if written and not documents_here:
        raise FileNotFoundError(f"collection {files.label}: no file of documents has {written!r} in its name.")
    chosen = documents_here if marked or written else documents
    queries = _topics(files, topics, spoken, with_description)
    paths = [files.path(name) for name in chosen]
    qrels_paths = [files.path(name) for name in _of_language(qrels, written or spoken)]
    iteration = _iteration(qrels_paths, written or spoken)
    return assemble(
        request.name,
        request.language.replace(":", "-"),
        read_corpus=lambda: _documents(paths),
        corpus_bytes=unpacked_bytes(paths),
        queries=read_queries(queries),
        judgements=(line for path in qrels_paths for line in judgement_lines(path, iteration)),
        query_language=spoken,
        parallel=not marked and not written,
    )


def _sorted_files(files: Files) -> tuple[list[str], list[str], list[str]]:
    """Files of topics, of judgements and of documents.

    Raises:
        FileNotFoundError: if one of the three is missing.
    """
    documents = [name for name in files.names if _FOLDERS & set(Path(name).parts[:-1])]
    others = [name for name in files.names if name not in set(documents)]
    topics = [name for name in others if "topic" in Path(name).name.lower() and "qrels" not in Path(name).name.lower()]
    qrels = [name for name in others if "qrels" in Path(name).name.lower()]
    for found, what in (
        (topics, "a file of topics (`topic` in its name)"),
        (qrels, "a file of judgements (`qrels` in its name)"),
        (documents, f"a folder of documents ({', '.join(sorted(_FOLDERS))})"),
    ):
        if not found:
            raise FileNotFoundError(f"collection {files.label}: {what} is missing; the layout `trec` has one.")
    return topics, qrels, documents


def _of_split(files: Files, names: list[str], split: str) -> list[str]:
    found = [name for name in names if split in re.split(r"[/._-]", name)]
    if not found:
        raise FileNotFoundError(f"collection {files.label}: none of {', '.join(names)} has {split!r} in its name.")
    return found


def _codes(language: str) -> set[str]:
    other = {three: two for two, three in _THREE.items()}
    return {language, _THREE.get(language, language), other.get(language, language)}


def _speaks(name: str, language: str) -> bool:
    return bool(_codes(language) & set(re.split(r"[/._-]", name.lower())))


def _of_language(names: list[str], language: str) -> list[str]:
    """The files named by the language, or all if none is."""
    return [name for name in names if _speaks(name, language)] or names


def _iteration(paths: list[Path], language: str) -> str | None:
    """The value of the second column that means the language, if the judgements are marked so."""
    seconds = {cells[1] for path in paths for _, line in text_lines(path) if len(cells := columns(line)) == 4}
    return next(iter(sorted(_codes(language) & seconds)), None)


def _topics(files: Files, names: list[str], language: str, with_description: bool) -> Iterator[tuple[str, str, str]]:
    there: set[str] = set()
    found = False
    for name in _of_language(names, language):
        path = files.path(name)
        read_topics = _json_topics if path.name.removesuffix(".gz").endswith((".jsonl", ".json")) else _marked_topics
        for place, identifier, spoken, title, description in read_topics(path):
            there.add(spoken)
            if spoken and spoken not in _codes(language):
                continue
            found = True
            text = f"{title} {description}" if with_description else title
            yield place, identifier, " ".join(text.split())
    if not found:
        raise no_queries(files, language, there)


def _json_topics(path: Path) -> Iterator[tuple[str, str, str, str, str]]:
    """(place, number, language, title, description); a human translation goes before a machine's."""
    for place, record in json_lines(path):
        try:
            number = str(record["topic_id"])
            by_language: dict[str, dict[str, str]] = {}
            for one in record["topics"]:
                if one["lang"] not in by_language or "human" in one.get("source", ""):
                    by_language[one["lang"]] = one
            for language, one in by_language.items():
                yield place, number, language, one["topic_title"], one.get("topic_description") or ""
        except (KeyError, TypeError) as error:
            raise ValueError(f"{place}: not a topic in NeuCLIR's format ({type(error).__name__}: {error}).") from None


def _marked_topics(path: Path) -> Iterator[tuple[str, str, str, str, str]]:
    text = "\n".join(line for _, line in text_lines(path, _encoding(path)))
    blocks = list(re.finditer(r"<top(?:ic)?\b([^>]*)>(.*?)</top(?:ic)?>", text, re.DOTALL | re.IGNORECASE))
    if not blocks:
        raise ValueError(f"{path}: no <top> or <topic> in it.")
    for block in blocks:
        place = f"{path}:{text.count(chr(10), 0, block.start()) + 1}"
        attributes, body = block[1], block[2]
        named = re.search(r"\bnumber=[\"']([^\"']+)", attributes)
        number = named[1] if named else _field(body, "num|identifier")[1].removeprefix("Number:")
        prefix, title = _field(body, "title")
        _, description = _field(body, "desc|description")
        spoken = re.search(r"\blang=[\"']([^\"']+)", attributes)
        if not number.strip() or not title:
            raise ValueError(f"{place}: a topic needs a number and a title.")
        language = (spoken[1] if spoken else prefix).lower()
        title = title.removeprefix("Topic:").strip()  # as the old files have it
        yield place, "".join(number.split()), language, title, description.removeprefix("Description:").strip()


def _field(body: str, names: str) -> tuple[str, str]:
    """Language prefix and text of the first such field; TREC's old files leave the closing tag out."""
    found = re.search(rf"<(?:([A-Za-z]{{2}})-)?(?:{names})\b[^>]*>(.*?)(?=<|\Z)", body, re.DOTALL | re.IGNORECASE)
    return (found[1] or "", html.unescape(found[2]).strip()) if found else ("", "")


def _documents(paths: list[Path]) -> Iterator[tuple[str, str, str]]:
    for path in paths:
        if path.name.removesuffix(".gz").endswith((".jsonl", ".json")):
            first = next(json_lines(path))[1]
            key = next((key for key in ("id", "docid", "_id", "doc_id") if key in first), "id")
            yield from json_documents([path], key, "text")
        else:
            yield from _marked_documents(path)


def _marked_documents(path: Path) -> Iterator[tuple[str, str, str]]:
    encoding = _encoding(path)
    block: list[str] | None = None
    began, size = "", 0
    found = False
    for place, line in text_lines(path, encoding):
        # A line may end a document and begin others.
        for piece in re.split(r"(?<=</DOC>)|(?=<DOC[ >])", line, flags=re.IGNORECASE):
            if block is None and re.match(r"<DOC[ >]", piece, re.IGNORECASE):
                block, began, size = [], place, 0
            if block is None:
                continue
            block.append(piece)
            size += len(piece)
            if size > MAX_LINE_BYTES:
                raise ValueError(f"{began}: the document that begins here has no </DOC> within {MAX_LINE_BYTES} characters.")
            if piece.upper().endswith("</DOC>"):
                yield _marked_document(began, "\n".join(block))
                block, found = None, True
    if block is not None:
        raise ValueError(f"{began}: the document that begins here has no </DOC>.")
    if not found:
        raise ValueError(f"{path}: there is no document in it, between <DOC> and </DOC>.")


def _marked_document(place: str, text: str) -> tuple[str, str, str]:
    number = re.search(r"<DOCNO>(.*?)</DOCNO>", text, re.DOTALL | re.IGNORECASE)
    if number is None:
        raise ValueError(f"{place}: a document without <DOCNO>.")
    parts = re.findall(rf"<({_FIELDS})\b[^>]*>(.*?)</\1>", text, re.DOTALL | re.IGNORECASE)
    plain = " ".join(re.sub(r"<[^>]+>", " ", part) for _, part in parts)
    return place, number[1].strip(), " ".join(html.unescape(plain).split())


def _encoding(path: Path) -> str:
    try:
        for _ in text_lines(path):
            pass
    except ValueError:
        logger.info(f"{path} is not UTF-8: read as ISO-8859-1.")
        return "iso-8859-1"
    return "utf-8"


def _recognises(names: list[str]) -> bool:
    lowered = [name.lower() for name in names]
    return all(any(word in name.rsplit("/", 1)[-1] for name in lowered) for word in ("topic", "qrels"))


LAYOUT = Layout("trec", "a file with `topic` and one with `qrels` in its name, a folder `documents`", _recognises, read)
# Never recognised, only asked for: the same files, longer queries.
WITH_DESCRIPTION = Layout("trec-td", "as trec, by format only", lambda names: False, partial(read, with_description=True))
