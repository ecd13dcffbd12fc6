"""Index folders made by somebody else: refused in a sentence, or searched as what they are; nothing else happens."""

import json
import pickle
import sqlite3
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from safetensors.torch import load_file, save_file

from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.encoding.passages import PassageStore
from modeling_optical.files.fingerprint import file_checksum
from modeling_optical.indexes import ExactIndex, new_index, open_index

from .conftest import DIM, unit_vectors

ENCODER = Encoder("teacher", DIM, "f" * 64)
JUNK = some.sampled_from(
    [
        None,
        True,
        False,
        -1,
        0,
        1,
        2**70,
        1.5,
        float("nan"),
        "",
        "x",
        "../x.safetensors",
        "/etc/passwd",
        [],
        {},
        [[0]],
        [[-1, 99]],
    ]
)


def made(folder: Path, engine: str = "exact", **settings) -> Path:
    index = new_index(folder, ENCODER, engine, dtype="float32", **settings)
    index.build(["a", "b", "c"], unit_vectors([2, 3, 1]), ["one", "two", "three"])
    index.remove(["b"])
    return folder


def places(value, path=()):
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


@pytest.fixture(scope="module", params=["exact", "two-stage"])
def index(request, tmp_path_factory) -> Path:
    return made(tmp_path_factory.mktemp("index") / "i", request.param)


@given(data=some.data())
def test_any_manifest_is_refused_in_a_sentence_or_searched(index, data):
    place = index / "index.json"
    whole = place.read_text()
    values = json.loads(whole)
    try:
        path = data.draw(some.sampled_from(list(places(values))[1:]))
        inner = values
        for key in path[:-1]:
            inner = inner[key]
        if data.draw(some.booleans()):
            inner[path[-1]] = data.draw(JUNK)
        elif isinstance(inner, dict):
            del inner[path[-1]]
        else:
            inner.append(inner[path[-1]])
        place.write_text(json.dumps(values))
        try:
            ids, scores, _ = open_index(index).search_passages(unit_vectors([3], seed=4), 9)
        except (ValueError, OSError) as error:
            refusal = str(error)
        else:
            refusal = None
        if refusal is not None:
            assert 20 < len(refusal) < 1500
            return
        assert set(ids[0]) <= {"a", "b", "c"}
        assert all(-3.01 <= score <= 3.01 for score in scores[0])
    finally:
        place.write_text(whole)


HARM = {
    "positions twice": lambda t: t | {"positions": torch.zeros_like(t["positions"])},
    "positions outside": lambda t: t | {"positions": t["positions"] + 5},
    "longer texts": lambda t: t | {"lengths": t["lengths"] + 1},
    "lengths that overflow": lambda t: t | {"lengths": torch.tensor([2**62, 2**62, 2**62 + 3, 2**62 + 3])[: len(t["lengths"])]},
    "negative lengths": lambda t: t | {"lengths": torch.tensor([-1, 4, 3])},
    "ids that end before they begin": lambda t: t | {"id_ends": t["id_ends"].flip(0)},
    "ids that are not UTF-8": lambda t: t | {"id_bytes": torch.full_like(t["id_bytes"], 255)},
    "other dimension": lambda t: t | {"vectors": t["vectors"][:, :4].contiguous()},
    "other type": lambda t: t | {"vectors": t["vectors"].half()},
    "vectors that are not numbers": lambda t: t | {"vectors": t["vectors"] * float("nan")},
    "no lengths": lambda t: {k: v for k, v in t.items() if k != "lengths"},
    "a number for a list": lambda t: t | {"lengths": torch.tensor(6)},
}


@pytest.mark.parametrize("harm", HARM)
def test_a_segment_that_does_not_fit_together_is_refused(tmp_path, harm):
    folder = made(tmp_path / "i")
    (segment,) = folder.glob("segment-*")
    save_file({k: v.contiguous() for k, v in HARM[harm](load_file(segment)).items()}, segment)
    values = json.loads((folder / "index.json").read_text())
    values["state"]["segments"][0]["sha256"] = file_checksum(segment)
    (folder / "index.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"damaged|not what the manifest names|are not finite numbers"):
        open_index(folder).search_passages(unit_vectors([3], seed=4), 9)


ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x FROM n) SELECT x AS id, x AS text FROM n WHERE x > 1"
SCHEMES = {
    "an endless view": [f"CREATE VIEW passages AS {ENDLESS}"],
    "a trigger": [
        "CREATE TABLE passages (id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
        f"CREATE TRIGGER t BEFORE INSERT ON passages BEGIN SELECT count(*) FROM ({ENDLESS}); END",
    ],
    "a computed column": ["CREATE TABLE passages (id TEXT PRIMARY KEY, text TEXT AS (printf('%.*c', 1000000000, 'x')))"],
    "no table": ["CREATE TABLE other (x)"],
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_passages_are_one_plain_table(tmp_path, scheme):
    folder = made(tmp_path / "i")
    (texts,) = folder.glob("passages*")
    texts.unlink()
    with sqlite3.connect(texts) as connection:
        for statement in SCHEMES[scheme]:
            connection.execute(statement)
    connection.close()
    started = time.monotonic()
    store = PassageStore(texts)
    for call in (lambda: store.get(["a"]), lambda: len(store), lambda: store.put([("x", "y")]), lambda: store.remove(["a"])):
        with pytest.raises(OSError, match="passages"):
            call()
    with pytest.raises(OSError, match="passages"):
        open_index(folder).search_passages(unit_vectors([3]), 3)
    assert time.monotonic() - started < 10


def test_a_text_that_is_none_is_refused(tmp_path):
    store = PassageStore(tmp_path / "p.sqlite")
    store.put([("a", "x")])
    with sqlite3.connect(store.path) as connection:
        connection.execute("UPDATE passages SET text = x'ff00'")
    connection.close()
    with pytest.raises(OSError, match="'a' has no text"):
        store.get(["a"])


def test_the_key_and_the_queries_go_only_to_an_address_that_the_user_named(tmp_path, monkeypatch):
    pytest.importorskip("qdrant_client")
    got = []

    class Thief(BaseHTTPRequestHandler):
        def do_GET(self):
            got.append(dict(self.headers))
            self.send_error(500)

        do_POST = do_PUT = do_GET

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Thief)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    folder = made(tmp_path / "i", "qdrant")
    values = json.loads((folder / "index.json").read_text())
    values["state"]["url"] = f"http://127.0.0.1:{server.server_port}"
    (folder / "index.json").write_text(json.dumps(values))
    monkeypatch.setenv("QDRANT_API_KEY", "secret")
    monkeypatch.delenv("QDRANT_URL", raising=False)
    with pytest.raises(ValueError, match=r"QDRANT_URL=http://127\.0\.0\.1"):
        open_index(folder)
    assert got == []
    server.shutdown()


def test_points_of_a_local_collection_run_nothing(tmp_path):
    pytest.importorskip("qdrant_client")
    index = new_index(tmp_path / "i", ENCODER, "qdrant", dtype="float32")
    index.build(["a"], unit_vectors([2]))
    index.close()

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (storage,) = (tmp_path / "i").rglob("storage.sqlite")
    with sqlite3.connect(storage) as connection:
        connection.execute("UPDATE points SET point = ?", (pickle.dumps(Bomb()),))
    connection.close()
    with pytest.raises(ValueError, match="not opened"):
        open_index(tmp_path / "i")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("field", ["table", "name", "version", "nprobes"])
@pytest.mark.parametrize("value", ["../../x", None, -1, [], "documents-1"])
@pytest.mark.parametrize("engine", ["lancedb", "qdrant"])
def test_what_an_engine_keeps_is_checked(tmp_path_factory, engine, field, value):
    pytest.importorskip({"lancedb": "lancedb", "qdrant": "qdrant_client"}[engine])
    folder = _once(tmp_path_factory, engine)
    values = json.loads((folder / "whole.json").read_text())
    if field not in values["state"]:
        pytest.skip("of the other engine")
    values["state"][field] = value
    (folder / "index.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"index\.json|missing or damaged|no collection"):
        open_index(folder)


_folders: dict[str, Path] = {}


def _once(tmp_path_factory, engine: str) -> Path:
    if engine not in _folders:
        folder = tmp_path_factory.mktemp(engine) / "i"
        index = new_index(folder, ENCODER, engine, dtype="float32")
        index.build(["a", "b"], unit_vectors([2, 3]))
        if engine == "qdrant":
            index.close()
        (folder / "whole.json").write_text((folder / "index.json").read_text())
        _folders[engine] = folder
    return _folders[engine]


def test_indexes_of_earlier_versions_open_and_change(tmp_path):
    """A manifest without the newer fields; a two-stage index whose segments have a separate manifest."""
    exact = ExactIndex(tmp_path / "two" / "exact", ENCODER, "float32")
    exact.build(["a", "b"], unit_vectors([2, 3]))
    outer = {"format": 1, "engine": "two-stage", "dtype": "float32", "encoder": vars(ENCODER), "documents": 1}
    outer["state"] = {"candidates": "bm25", "count": 5}
    (tmp_path / "two" / "index.json").write_text(json.dumps(outer))
    for folder in (tmp_path / "two" / "exact", tmp_path / "two"):
        values = json.loads((folder / "index.json").read_text())
        values.pop("passages", None)
        values.pop("removals", None)
        (folder / "index.json").write_text(json.dumps(values))
    PassageStore(tmp_path / "two" / "words.sqlite").put([("a", "boat"), ("b", "tree")])
    pytest.importorskip("bm25s")
    index = open_index(tmp_path / "two")
    assert (len(index), index.search(unit_vectors([2]), 5, ["tree"])[0]) == (2, [["b"]])
    index.add(["c"], unit_vectors([1]), ["tree top"])
    index.remove(["b"])
    for opened in (index, open_index(tmp_path / "two")):
        assert opened.search(unit_vectors([2]), 5, ["tree boat"])[0] in ([["a", "c"]], [["c", "a"]])
