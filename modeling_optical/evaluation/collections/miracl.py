"""MIRACL: Wikipedia passages in 18 languages, questions and judgements by native speakers.

Files, as the data sets `miracl/miracl` and `miracl/miracl-corpus` hold them on the Hub (they have loading scripts, which
`datasets` no longer runs, so the raw files are read):

    miracl-v1.0-<language>/topics/topics.miracl-v1.0-<language>-<split>.tsv    query id, tab, query
    miracl-v1.0-<language>/qrels/qrels.miracl-v1.0-<language>-<split>.tsv      query id, Q0, document id, 0 or 1
    miracl-corpus-v1.0-<language>/docs-<number>.jsonl.gz                       docid, title, text

A local folder holds both trees, at any depth (two clones side by side). Splits with published judgements: `train`, `dev` (the
default). Licence: Apache-2.0 (topics, judgements), text from Wikipedia. `miracl/miracl` is gated: accept its terms and log in.
Documented at https://huggingface.co/datasets/miracl/miracl and https://github.com/project-miracl/miracl.
"""

from __future__ import annotations

import re

from .collection import Collection
from .files import Files, HubFiles, Layout, Request, ending, needed, no_queries, with_topics

_TOPICS = re.compile(r"(?:^|/)topics\.miracl-v1\.0-([a-z]+)-([\w-]+)\.tsv$")
_SHARD = "(?:^|/)miracl-corpus-v1\\.0-{}/docs-(\\d+)\\.jsonl(?:\\.gz)?$"


def read(request: Request) -> Collection:
    """Reads one language of MIRACL: its queries over its passages."""
    files, language, split = request.files, request.language, request.split or "dev"
    there = [found.groups() for found in map(_TOPICS.search, files.names) if found]
    if language not in {code for code, _ in there}:
        raise no_queries(files, language, (code for code, _ in there))
    folder = f"miracl-v1.0-{language}"
    topics = f"{folder}/topics/topics.miracl-v1.0-{language}-{split}.tsv"
    qrels = f"{folder}/qrels/qrels.miracl-v1.0-{language}-{split}.tsv"
    judged = sorted(s for code, s in there if code == language and ending(files.names, qrels.replace(f"-{split}.", f"-{s}.")))
    advice = f"Splits with judgements here: {', '.join(judged) or 'none'}."
    topics_path, qrels_path = needed(files, topics, advice), needed(files, qrels, advice)
    documents, shards = _shards(files, language, request.corpus_revision)
    paths = [documents.path(name) for name in shards]
    return with_topics(f"miracl-{split}", language, paths, topics_path, qrels_path)


def _shards(files: Files, language: str, revision: str | None) -> tuple[Files, list[str]]:
    """Where the corpus is, and its shards by their number."""
    documents = HubFiles("miracl/miracl-corpus", revision) if isinstance(files, HubFiles) else files
    shard = re.compile(_SHARD.format(re.escape(language)))
    numbered = {int(found[1]): name for name in documents.names if (found := shard.search(name))}
    if not numbered:
        raise FileNotFoundError(f"collection {documents.label}: miracl-corpus-v1.0-{language}/docs-0.jsonl.gz is missing.")
    if absent := sorted(set(range(max(numbered))) - set(numbered)):
        raise FileNotFoundError(
            f"collection {documents.label}: of miracl-corpus-v1.0-{language}, docs-{absent[0]}.jsonl.gz is missing."
        )
    return documents, [numbered[number] for number in sorted(numbered)]


LAYOUT = Layout(
    "miracl",
    "miracl-v1.0-LANGUAGE/topics/topics.miracl-v1.0-LANGUAGE-SPLIT.tsv",
    lambda names: any(_TOPICS.search(name) for name in names),
    read,
    hub_ids=("miracl/miracl",),
)
