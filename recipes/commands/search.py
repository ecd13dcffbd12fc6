"""`optical search`: passages for a query, with the words that matched."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from .encoders import add_encoder_options, device, encoder_arguments, say_who_reads
from .index import engine_settings

if TYPE_CHECKING:
    from modeling_optical import OpticalRetriever
    from modeling_optical.retriever import Passage

# Strong, plain and weak matches: bold green, green, and no colour below the last bound.
_COLOURS = ((0.7, "\033[1;32m"), (0.5, "\033[32m"))
_PLAIN = "\033[0m"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    search = commands.add_parser(
        "search",
        help="search an index",
        description="Prints the k best passages with their scores, and in colour the words that the query met (NO_COLOR turns "
        "it off). A score is a sum of cosines, one for each token of the query: compare scores of one query, not of two. There "
        "are always k passages, however far they are from the query.",
    )
    search.add_argument("index", help="folder of the index")
    search.add_argument("query", nargs="?", help="the query; without it, queries are read line by line")
    search.add_argument("--model", help="encodes the queries: your student (default: the model that made the index)")
    search.add_argument("--documents-model", help="the model that made the index (default: the one that the index names)")
    search.add_argument("-k", type=int, default=5, help="passages per query (5)")
    search.add_argument("--setting", action="append", default=[], metavar="key=value", help="setting of the engine")
    search.add_argument("--json", action="store_true", help="one JSON object per query")
    add_encoder_options(search)
    search.set_defaults(work=_search)


def _search(options: argparse.Namespace) -> int:
    from modeling_optical.retriever import retriever_for_index

    settings = engine_settings(options.setting)
    retriever = retriever_for_index(
        options.index, options.model, options.documents_model, device=device(), **encoder_arguments(options), **settings
    )
    say_who_reads(retriever, options.model)
    if options.query is not None:
        _answer(retriever, options.query, options)
        return 0
    interactive = sys.stdin.isatty()
    while True:
        if interactive:
            print("query: ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return 0
        if line.strip():
            _answer(retriever, line.strip(), options)


def _answer(retriever: OpticalRetriever, query: str, options: argparse.Namespace) -> None:
    from modeling_optical.files.lines import CONTROLS, printable

    (passages,) = retriever.search([query], k=options.k)
    if options.json:
        found = {"query": query, "passages": [vars(p) for p in passages]}
        # Where the output is not Unicode, JSON escapes the other characters.
        unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        answer = json.dumps(found, ensure_ascii=not unicode)
        # JSON leaves some characters that move a terminal's cursor or turn its text as they are.
        print(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", answer), flush=True)
        return
    if not passages:
        print("Nothing found: the index is empty, or nothing of the query is left that scores.", file=sys.stderr)
    colour = _in_colour()
    for number, passage in enumerate(passages, 1):
        print(f"{number}. {printable(passage.id)}  {passage.score:.3f}")
        if passage.text is not None:
            print(f"   {_coloured(retriever, query, passage) if colour else printable(passage.text)}")
    sys.stdout.flush()


def _in_colour() -> bool:
    # no-color.org: a variable that is there and not empty.
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _coloured(retriever: OpticalRetriever, query: str, passage: Passage) -> str:
    from modeling_optical.files.lines import printable

    text = passage.text or ""
    pieces, last = [], 0
    for start, end, similarity in retriever.explain(query, text).spans():
        colour = next((colour for bound, colour in _COLOURS if similarity >= bound), None)
        if colour is not None:
            pieces += [printable(text[last:start]), colour, printable(text[start:end]), _PLAIN]
            last = end
    return "".join([*pieces, printable(text[last:])])
