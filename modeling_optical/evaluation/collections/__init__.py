"""Test collections in their published layouts, from a folder or from the Hub's raw files."""

from __future__ import annotations

import os

from . import africlirmatrix, afriqa, beir, belebele, ciral, miracl, mteb, multi30k, trec, xtreme_r
from .collection import Collection, Corpus, StreamedCorpus, by_corpus, same_corpus, texts_of
from .files import CollectionLayout, Request, find_layout

LAYOUTS: list[CollectionLayout] = [
    beir.LAYOUT,
    miracl.LAYOUT,
    mteb.LAYOUT,
    ciral.LAYOUT,
    africlirmatrix.LAYOUT,
    afriqa.LAYOUT,
    belebele.LAYOUT,
    xtreme_r.MEWSLI_X,
    xtreme_r.LAREQA,
    xtreme_r.TATOEBA,
    multi30k.LAYOUT,
    trec.LAYOUT,
    trec.WITH_DESCRIPTION,
]
"""In the order in which a folder is tried; you may add to them (docs/extending.md)."""

__all__ = ["LAYOUTS", "Collection", "Corpus", "StreamedCorpus", "by_corpus", "load_collection", "same_corpus", "texts_of"]


def load_collection(
    path: str | os.PathLike,
    language: str = "en",
    *,
    format: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    corpus_revision: str | None = None,
) -> Collection:
    """Reads a collection.

    Args:
        path: a folder in one of the published layouts (see the modules of this package), or the Hub id of a data set. A data
            set that no layout names is read in BEIR's.
        language: of the queries or, if all queries are English, of the documents.
        format: a layout's name, if it cannot be detected: `beir`, `miracl`, `mteb`, `ciral`, `africlirmatrix`, `afriqa`,
            `belebele`, `mewsli-x`, `lareqa`, `tatoeba`, `multi30k`, `trec`, `trec-td`.
        split: which queries and judgements, where there are several; the default depends on the layout.
        revision: of the Hub data set.
        corpus_revision: of the Hub data set with the documents, where that is another one (MIRACL, CIRAL, AfriCLIRMatrix).

    Raises:
        FileNotFoundError: for a missing folder or file; the message lists the available languages.
        ValueError: for a line that cannot be read (file and line named), duplicate ids, no judged query, an unknown format.
    """
    layout, files, name = find_layout(path, LAYOUTS, "collection", format=format, revision=revision, otherwise=beir.LAYOUT)
    return layout.read(Request(files, name, language, split, corpus_revision))
