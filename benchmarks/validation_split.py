"""Sets part of the bitext aside, to choose settings by: the test collections are opened once, for the table.

    python benchmarks/validation_split.py BITEXT OUTPUT

BITEXT holds `tico19/LANGUAGE.jsonl` (with `document`), `lafand/sw.dev.jsonl` and further folders of `LANGUAGE.jsonl`. OUTPUT
gets

- `bitext/`: the same folders without the documents of TICO-19 that are set aside, and without LAFAND's dev part;
- `retrieval/tico19_neighbours`, `retrieval/lafand_neighbours` (BEIR's layout): a sentence in the language is to find the
  English sentences before and after it. Every second sentence is a query, the others are the documents, so that no query's
  translation is among them: what counts is what a sentence is about, as in search, not its wording;
- `retrieval/tico19_sentences`, `retrieval/lafand_sentences`: a sentence is to find its own English sentence;
- `retrieval/tico19_SW_passages`, `retrieval/lafand_SW_passages` and so for each language: a clause of 3 to 8 words is to find
  the passage of six English sentences that it comes from, as short questions look for passages. Which clauses there are depends
  on the translation's punctuation, so each language has a collection of its own.

All collections have English queries, too, for the ceiling.
"""

import argparse
import json
import random
import shutil
from pathlib import Path
from typing import Any

from modeling_optical.files.atomic_write import replacing_folder, write_text
from modeling_optical.files.lines import json_lines
from trainer.bitext.shortening import ShorteningOptions, shorten

TEACHER_LANGUAGE = "en"
TICO_SHARE = 0.25
SENTENCES_OF_PASSAGE = 6
CLAUSE = ShorteningOptions(min_words=3, max_words=8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bitext", type=Path)
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    tico = {file.stem: read(file) for file in sorted((options.bitext / "tico19").glob("*.jsonl"))}
    aside = documents_set_aside(next(iter(tico.values())))
    for language, rows in tico.items():
        write_rows(options.output / "bitext/tico19" / f"{language}.jsonl", [r for r in rows if r["document"] not in aside])
    for folder in sorted(path for path in options.bitext.iterdir() if path.is_dir() and path.name != "tico19"):
        for file in sorted(folder.glob("*.jsonl")):
            if file.name != "sw.dev.jsonl":
                (options.output / "bitext" / folder.name).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, options.output / "bitext" / folder.name / file.name)
    held_out = {language: [r for r in rows if r["document"] in aside] for language, rows in tico.items()}
    write_collections(options.output / "retrieval", "tico19", held_out)
    dev = [row | {"document": "dev"} for row in read(options.bitext / "lafand/sw.dev.jsonl")]
    write_collections(options.output / "retrieval", "lafand", {"sw": dev})


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [record for _, record in json_lines(file)]


def documents_set_aside(rows: list[dict[str, Any]]) -> set[str]:
    """Documents at random, until they have their share of the sentences; the same in every language."""
    documents = sorted({row["document"] for row in rows})
    random.Random(0).shuffle(documents)
    aside: set[str] = set()
    for document in documents:
        if sum(row["document"] in aside for row in rows) >= TICO_SHARE * len(rows):
            break
        aside.add(document)
    return aside


def write_collections(folder: Path, name: str, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Writes the collections of one set; the languages have the same rows in the same order."""
    english = next(iter(rows.values()))
    texts = {TEACHER_LANGUAGE: [r[TEACHER_LANGUAGE] for r in english]}
    texts |= {language: [r[language] for r in own] for language, own in rows.items()}
    document = [r["document"] for r in english]

    def joined(one: int, other: int) -> bool:
        return 0 <= other < len(document) and document[one] == document[other]

    neighbours = {i: [j for j in (i - 1, i + 1) if joined(i, j)] for i in range(0, len(document), 2)}
    write_collection(
        folder / f"{name}_neighbours", texts, {i: found for i, found in neighbours.items() if found}, odd_only=True
    )
    write_collection(folder / f"{name}_sentences", texts, {i: [i] for i in range(len(document))}, odd_only=False)
    for language, own in rows.items():
        write_passages(folder / f"{name}_{language}_passages", language, own)


def write_collection(folder: Path, texts: dict[str, list[str]], relevant: dict[int, list[int]], *, odd_only: bool) -> None:
    """Writes a collection of sentences."""
    corpus = [(i, text) for i, text in enumerate(texts[TEACHER_LANGUAGE]) if i % 2 or not odd_only]
    queries = {language: [(i, own[i]) for i in relevant] for language, own in texts.items()}
    write_beir(folder, corpus, queries, [(i, j) for i, found in relevant.items() for j in found])


def write_passages(folder: Path, language: str, rows: list[dict[str, Any]]) -> None:
    """Writes a collection of clauses and passages; a passage lies within one document."""
    passages: list[list[dict[str, Any]]] = []
    for row in rows:
        full = passages and len(passages[-1]) == SENTENCES_OF_PASSAGE
        if not passages or full or passages[-1][-1]["document"] != row["document"]:
            passages.append([])
        passages[-1].append(row)
    place = {id(row): number for number, passage in enumerate(passages) for row in passage}
    clauses = [(place[id(row)], shorten(row[TEACHER_LANGUAGE], row[language], CLAUSE)) for row in rows]
    found = [(number, *pair) for number, pair in clauses if pair is not None]
    queries = {
        TEACHER_LANGUAGE: [(i, english) for i, (_, english, _) in enumerate(found)],
        language: [(i, own) for i, (_, _, own) in enumerate(found)],
    }
    corpus = [(i, " ".join(row[TEACHER_LANGUAGE] for row in passage)) for i, passage in enumerate(passages)]
    write_beir(folder, corpus, queries, [(i, number) for i, (number, _, _) in enumerate(found)])


def write_beir(
    folder: Path, corpus: list[tuple[int, str]], queries: dict[str, list[tuple[int, str]]], qrels: list[tuple[int, int]]
) -> None:
    """Writes one collection in BEIR's layout."""
    with replacing_folder(folder) as scratch:
        write_rows(scratch / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": text} for i, text in corpus])
        for language, own in queries.items():
            write_rows(scratch / f"queries.{language}.jsonl", [{"_id": f"q{i}", "text": text} for i, text in own])
        lines = [f"q{i}\td{j}\t1" for i, j in qrels]
        write_text(scratch / "qrels.tsv", "\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    """Writes a JSONL file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


if __name__ == "__main__":
    main()
