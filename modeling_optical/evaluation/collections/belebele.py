"""Belebele as a retrieval collection, as MTEB's task BelebeleRetrieval reads it: a question finds the passage that answers it.

Files, as the data set `facebook/belebele` holds them on the Hub; a language has 900 questions on 488 passages of FLORES-200:

    data/<language>_<Script>.jsonl      link, question_number, flores_passage, question, mc_answer1 to 4, correct_answer_num

`language` is a code of one of the 122 variants: `sw`, `swh` or `swh_Latn`. A code that has several scripts means the language's
usual one; Chinese in simplified characters is `zh`. MTEB names its subsets `DOCUMENTS-QUESTIONS`; the split chooses one:

    english-documents   eng_Latn-swh_Latn   questions in the language over English passages (the default)
    english-questions   swh_Latn-eng_Latn   English questions over passages in the language
    one-language        swh_Latn-swh_Latn   both in the language

As in MTEB, a passage is a `link`, and a question that is asked of several passages has all of them for answers. MTEB counts
such a question once, this reader once for each passage, so that ids are the same in all languages. Licence: CC-BY-SA-4.0. The
passages are text of FLORES-200. Documented at https://huggingface.co/datasets/facebook/belebele and in arXiv 2308.16884.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .collection import Collection, assemble, read_queries
from .files import Files, Layout, Request, json_lines, no_queries

FILE = re.compile(r"(?:^|/)([a-z]{3})_([A-Z][a-z]{3})\.jsonl$")
"""The file of a language."""
SPLITS = ("english-documents", "english-questions", "one-language")
# Languages that ISO 639-3 divides, and the part that Belebele has.
_PART_OF = {
    "ara": "arb", "aze": "azj", "fas": "pes", "fil": "tgl", "ful": "fuv", "kur": "ckb", "lav": "lvs", "mlg": "plt",
    "mon": "khk", "msa": "zsm", "nep": "npi", "nor": "nob", "ori": "ory", "orm": "gaz", "pus": "pbt", "sqi": "als",
    "swa": "swh", "uzb": "uzn",
}  # fmt: skip
_NEEDED = ("link", "question_number", "flores_passage", "question")


def read(request: Request) -> Collection:
    """Reads one language of Belebele, beside English."""
    split = request.split or SPLITS[0]
    if split not in SPLITS:
        raise ValueError(f"collection {request.files.label}: no split {split!r}. Splits: {', '.join(SPLITS)}.")
    own = request.files.path(file_of(request.files, request.language))
    english = own if split == SPLITS[2] else request.files.path(file_of(request.files, "en"))
    asked, searched = (english, own) if split == SPLITS[1] else (own, english)
    passages: dict[str, tuple[str, str]] = {}
    for place, record in records(searched):
        passages.setdefault(_link(record), (place, record["flores_passage"]))
    questions = [(place, record) for place, record in records(asked)]
    answers: dict[str, dict[str, str]] = {}
    for place, record in questions:
        answers.setdefault(record["question"], {})[_link(record)] = place
    return assemble(
        f"belebele-{split}",
        request.language,
        read_corpus=lambda: ((place, link, text) for link, (place, text) in passages.items()),
        corpus_bytes=0,  # it is in memory
        queries=read_queries((place, question_id(record), record["question"]) for place, record in questions),
        judgements=[(place, question_id(r), link, "1") for place, r in questions for link in answers[r["question"]]],
        query_language="en" if split == SPLITS[1] else "",
        parallel=split == SPLITS[0],
    )


def file_of(files: Files, language: str) -> str:
    """The file of a language.

    Raises:
        FileNotFoundError: if there is none; lists the languages that there are.
    """
    import langcodes

    there = {match[0].strip("/").removesuffix(".jsonl"): name for name in files.names if (match := FILE.search(name))}
    if language in there:
        return there[language]
    code = langcodes.Language.get(language).to_alpha3() if langcodes.tag_is_valid(language) else language
    of_code = [name for name in there if name.startswith(f"{_PART_OF.get(code, code)}_")]
    if not of_code:
        raise no_queries(files, language, there)
    # Where there is a transcription in Latin letters, it is not the usual script; Hans stands before Hant.
    return there[min(of_code, key=lambda name: (name.endswith("_Latn"), name))]


def records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, record) of a language's questions.

    Raises:
        ValueError: for a line that is not such a record.
    """
    for place, record in json_lines(path):
        if missing := [name for name in _NEEDED if not isinstance(record.get(name), (str, int))]:
            raise ValueError(f"{place}: `{missing[0]}` is missing; the record has {', '.join(record) or 'nothing'}.")
        yield place, record


def question_id(record: dict[str, Any]) -> str:
    """The id of a question, the same in all languages."""
    return f"{_link(record)}#{record['question_number']}"


def _link(record: dict[str, Any]) -> str:
    return "_".join(str(record["link"]).split())


LAYOUT = Layout(
    "belebele",
    "LANGUAGE_Script.jsonl",
    lambda names: any(FILE.search(name) for name in names),
    read,
    hub_ids=("facebook/belebele",),
)
