"""CIRAL: English questions over news passages in Hausa, Somali, Swahili and Yoruba.

Files, as the data sets `CIRAL/ciral` and `CIRAL/ciral-corpus` hold them on the Hub:

    ciral-<name>/topics/topics.ciral-v1.0-<code>-<split>.tsv    query id, tab, English query
    ciral-<name>/qrels/qrels.ciral-v1.0-<code>-<split>.tsv      query id, Q0, document id, grade
    passages-v1.0/<name>_passages.jsonl                         docid, title, text, url

A local folder holds both trees, at any depth. `<code>` is ha, so, sw or yo, `<name>` the language's English name. Splits:
`dev`, `test-a` (the default), `test-b`; `test-a-pools` are the pooled judgements of test-a. The queries are English:
`language` says which passages, and documents must be encoded by a model that knows that language. Licence: Apache-2.0.
Documented at https://huggingface.co/datasets/CIRAL/ciral and https://github.com/ciralproject/ciral.
"""

from __future__ import annotations

import re

from .collection import Collection
from .files import HubFiles, Layout, Request, ending, needed, no_queries, with_topics

_NAMES = {"ha": "hausa", "so": "somali", "sw": "swahili", "yo": "yoruba"}
_TOPICS = re.compile(r"(?:^|/)topics\.ciral-v1\.0-([a-z]+)-[\w-]+\.tsv$")


def read(request: Request) -> Collection:
    """Reads English queries over the passages of one language."""
    files, code, split = request.files, request.language, request.split or "test-a"
    there = {found[1] for found in map(_TOPICS.search, files.names) if found}
    if code not in there or code not in _NAMES:
        raise no_queries(files, code, there)
    topics = needed(files, f"topics.ciral-v1.0-{code}-{split.removesuffix('-pools')}.tsv", "Splits: dev, test-a, test-b.")
    qrels = needed(files, f"qrels.ciral-v1.0-{code}-{split}.tsv", "Splits: dev, test-a, test-a-pools, test-b.")
    documents = HubFiles("CIRAL/ciral-corpus", request.corpus_revision) if isinstance(files, HubFiles) else files
    passages = f"passages-v1.0/{_NAMES[code]}_passages.jsonl"
    if ending(documents.names, passages) is None:
        raise FileNotFoundError(f"collection {documents.label}: {passages} is missing; it is in CIRAL/ciral-corpus on the Hub.")
    path = needed(documents, passages)
    return with_topics(f"ciral-{split}", code, [path], topics, qrels, query_language="en")


LAYOUT = Layout(
    "ciral",
    "topics.ciral-v1.0-LANGUAGE-SPLIT.tsv",
    lambda names: any(_TOPICS.search(name) for name in names),
    read,
    hub_ids=("CIRAL/ciral",),
)
