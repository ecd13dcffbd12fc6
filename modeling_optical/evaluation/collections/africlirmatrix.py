"""AfriCLIRMatrix: English titles as queries over Wikipedia articles in 15 African languages, judgements mined from links.

Files, as the repository https://github.com/castorini/africlirmatrix holds queries and judgements (folder `test/`):

    test/queries/topics.africlirmatrix-v1.0.en.<code>.tsv    query id, tab, English query
    test/qrels/qrels.africlirmatrix-v1.0.en.<code>.txt       query id, Q0, document id, grade 1 to 6

and as the data set `castorini/africlirmatrix` holds the documents on the Hub, which are fetched from there where the folder
does not have them:

    africlirmatrix-v1.0-<name>/corpus.jsonl                  id, contents (packed by gzip or not)

`<code>` has three letters (afr amh ary arz hau ibo nso sna som swa tir twi wol yor zul); two-letter codes are taken too. The
queries are English: `language` says which documents. The repository states no licence; text from Wikipedia (CC-BY-SA).
"""

from __future__ import annotations

import re

from .collection import Collection
from .files import Files, HubFiles, Layout, Request, json_lines, needed, no_queries, with_topics

_TOPICS = re.compile(r"(?:^|/)topics\.africlirmatrix-v1\.0\.en\.([a-z]{3})\.tsv$")
_THREE = {"af": "afr", "am": "amh", "ha": "hau", "ig": "ibo", "sn": "sna", "so": "som", "sw": "swa", "ti": "tir", "tw": "twi",
          "wo": "wol", "yo": "yor", "zu": "zul"}  # fmt: skip
_NAMES = {
    "afr": "afrikaans", "amh": "amharic", "ary": "moroccan-arabic", "arz": "egyptian-arabic", "hau": "hausa", "ibo": "igbo",
    "nso": "northern-sotho", "sna": "shona", "som": "somali", "swa": "swahili", "tir": "tigrinya", "twi": "twi", "wol": "wolof",
    "yor": "yoruba", "zul": "zulu",
}  # fmt: skip


def read(request: Request) -> Collection:
    """Reads English queries over the articles of one language."""
    files, code = request.files, _THREE.get(request.language, request.language)
    there = {found[1] for found in map(_TOPICS.search, files.names) if found}
    if code not in there:
        if isinstance(files, HubFiles):
            raise FileNotFoundError(
                f"collection {files.label}: the Hub has the documents only. Clone https://github.com/castorini/africlirmatrix "
                "and give that folder: queries and judgements are read from it, documents are fetched."
            )
        raise no_queries(files, request.language, there)
    topics = needed(files, f"topics.africlirmatrix-v1.0.en.{code}.tsv")
    qrels = needed(files, f"qrels.africlirmatrix-v1.0.en.{code}.txt")
    own = any("/corpus.jsonl" in name for name in files.names)
    documents = files if own else HubFiles("castorini/africlirmatrix", request.corpus_revision)
    path = documents.path(_corpus(documents, code))
    first = next(json_lines(path))[1]
    identifier, text = ("id" if "id" in first else "docid"), ("contents" if "contents" in first else "text")
    return with_topics(
        "africlirmatrix", request.language, [path], topics, qrels, identifier=identifier, text=text, query_language="en"
    )


def _corpus(documents: Files, code: str) -> str:
    """The path of a language's documents; its folder is named by the language's English name or its code."""
    folder = re.compile(r"(?:^|/)africlirmatrix-v1\.0-([\w-]+)/corpus\.jsonl(?:\.gz)?$")
    found = {match[1].replace("_", "-"): name for name in documents.names if (match := folder.search(name))}
    path = found.get(_NAMES.get(code, code), found.get(code))
    if path is None:
        raise FileNotFoundError(
            f"collection {documents.label}: africlirmatrix-v1.0-{_NAMES.get(code, code)}/corpus.jsonl is missing. Documents "
            f"here: {', '.join(sorted(found)) or 'none'}."
        )
    return path


LAYOUT = Layout(
    "africlirmatrix",
    "topics.africlirmatrix-v1.0.en.CODE.tsv",
    lambda names: any(_TOPICS.search(name) for name in names),
    read,
    hub_ids=("castorini/africlirmatrix",),
)
