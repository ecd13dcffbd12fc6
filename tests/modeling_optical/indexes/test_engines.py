"""What holds for every engine: recall against exact search, changes, refusals, kills."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.indexes import (
    ENGINES,
    ExactIndex,
    Index,
    IndexManifest,
    QdrantIndex,
    TwoStageIndex,
    new_index,
    open_index,
    recall_against_exact,
)

from .conftest import DIM, brute_force, unit_vectors

ROOT = Path(__file__).resolve().parents[3]
PACKAGES = {"lancedb": "lancedb", "qdrant": "qdrant_client", "bm25": "bm25s"}
MAKINGS = {
    "exact": {},
    "lancedb": {"nprobes": 50, "refine_factor": 20, "candidates": 150},
    "qdrant": {},
    "two-stage": {"count": 300},
    "bm25": {"candidates": "bm25", "count": 300},
}


def texts(ids) -> list[str]:
    return [f"word number {identifier}" for identifier in ids]


def make(engine: str, path: Path, encoder: Encoder, collection, **settings) -> Index:
    if engine in PACKAGES:
        pytest.importorskip(PACKAGES[engine])
    name = "two-stage" if engine == "bm25" else engine
    index = new_index(path, encoder, name, dtype="float32", **MAKINGS[engine] | settings)
    index.build(collection, collection.values(), texts(collection))
    return index


def reopen(index: Index) -> Index:
    if isinstance(index, QdrantIndex):
        index.close()
    return open_index(index.path)


@pytest.fixture
def filled(collection):
    """Documents with vectors: not every engine keeps the others."""
    return {name: array for name, array in collection.items() if len(array)}


@pytest.fixture(params=MAKINGS)
def engine(request) -> str:
    return request.param


ASKED = ["word"] * 4


def test_an_engine_finds_what_exact_search_finds_and_its_scores_are_maxsim(tmp_path, encoder, filled, queries, engine):
    index = make(engine, tmp_path / "i", encoder, filled)
    ids, scores = index.search(queries, 10, ASKED)
    for query, row_ids, row_scores in zip(queries, ids, scores, strict=True):
        assert row_scores == sorted(row_scores, reverse=True)
        for name, score in zip(row_ids, row_scores, strict=True):
            assert score == pytest.approx((query @ filled[name].T).max(1).sum(), abs=1e-4)
    exact = ExactIndex(tmp_path / "exact", encoder, "float32")
    exact.build(filled, filled.values())
    right, _ = exact.search(queries, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(ids, right, strict=True)])
    assert recall >= (0.9 if engine == "lancedb" else 1.0)
    if engine != "bm25":
        assert recall_against_exact(index, exact, queries, 10) == pytest.approx(recall, abs=0.05)
    reopened = reopen(index)
    assert reopened.search(queries, 10, ASKED)[0] == ids
    assert len(reopened) == len(filled)
    assert IndexManifest.read(tmp_path / "i").encoder == encoder


def test_documents_come_and_go_in_every_engine(tmp_path, encoder, filled, queries, engine):
    items = list(filled.items())
    index = make(engine, tmp_path / "i", encoder, dict(items[:200]))
    index.add([n for n, _ in items[200:]], [a for _, a in items[200:]], texts(n for n, _ in items[200:]))
    index.remove([n for n, _ in items[:50]])
    left = dict(items[50:])
    for again in (False, True):
        opened = reopen(index) if again else index
        assert len(opened) == len(left)
        assert opened.known(["d1", items[0][0], items[-1][0], "nobody"]) == {items[-1][0]}
        found = opened.search(queries, 5, ASKED)[0]
        right = brute_force(queries, left, 5)[0]
        assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found, right, strict=True)]) >= 0.9
        if isinstance(opened, QdrantIndex):
            opened.close()


def test_what_is_wrong_is_named_in_every_engine(tmp_path, encoder, filled, queries, engine):
    index = make(engine, tmp_path / "i", encoder, filled)
    before = index.search(queries, 5, ASKED)
    some = next(iter(filled))
    two, words = unit_vectors([2, 2], seed=7), ["a", "b"]
    with pytest.raises(ValueError, match=r"taken"):
        index.add(["new", some], two, words)
    with pytest.raises(ValueError, match=r"'new'.*shape \(2, 5\).*teacher"):
        index.add(["new"], unit_vectors([2], dim=5), words[:1])
    with pytest.raises(KeyError, match="nobody"):
        index.remove([some, "nobody"])
    with pytest.raises(ValueError, match=r"teacher \(dimension 8"):
        index.search(unit_vectors([2], dim=5), 5, ["word"])
    assert len(index) == len(filled)
    assert index.search(queries, 5, ASKED) == before


_KILLED = """
import os, signal, sys
import numpy as np
from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.indexes import new_index
def vectors():
    for number in range(400):
        if number == 390:
            os.kill(os.getpid(), signal.SIGKILL)
        yield np.eye(8, dtype=np.float32)[[number % 8, 3]]
ids = ["n%d" % i for i in range(400)]
settings = {"candidates": "bm25"} if sys.argv[2] == "bm25" else {}
engine = "two-stage" if settings else sys.argv[2]
index = new_index(sys.argv[1], Encoder("teacher", 8, "f" * 64), engine, dtype="float32", **settings)
index.build(ids, vectors(), ["other words"] * 400)
"""


def test_a_kill_while_an_index_is_built_anew_leaves_the_old_one(tmp_path, encoder, filled, queries, engine):
    index = make(engine, tmp_path / "i", encoder, filled)
    before = index.search(queries, 5, ASKED)
    if isinstance(index, QdrantIndex):
        index.close()
    command = [sys.executable, "-c", _KILLED, str(tmp_path / "i"), engine]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL
    after = open_index(tmp_path / "i").search(queries, 5, ASKED)
    assert after[0] == before[0]
    np.testing.assert_allclose(after[1], before[1], atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "segment-report.csv", "passages-mine.sqlite", "bm25-baseline/run.trec", "encoding/plan.json", "lance-old"],
)
def test_a_folder_with_files_of_somebody_else_is_refused_and_left_alone(tmp_path, encoder, filled, engine, name):
    own = tmp_path / "i" / name
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(FileExistsError, match=f"is no index and holds other files \\({name.split('/')[0]}\\)"):
        make(engine, tmp_path / "i", encoder, filled)
    assert [path.name for path in own.parent.iterdir()] == [own.name]
    assert own.read_text() == "mine"


def test_files_beside_an_index_are_left_alone(tmp_path, encoder, filled, engine):
    index = make(engine, tmp_path / "i", encoder, filled)
    names = ["segment-report.csv", "passages-annotated.sqlite", "passages.sqlite.bak", "bm25-baseline/run.trec", "exact/notes"]
    for name in names:
        (tmp_path / "i" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "i" / name).write_text("mine")
    index.remove(list(filled)[:3])
    index.build(filled, filled.values(), texts(filled))
    assert {(tmp_path / "i" / name).read_text() for name in names} == {"mine"}


SETTINGS = [
    ("two-stage", "count", 2.5),
    ("two-stage", "count", 0),
    ("lancedb", "nprobes", 0),
    ("lancedb", "refine_factor", 0),
    ("lancedb", "candidates", 20.0),
    ("qdrant", "timeout", 30.5),
    ("qdrant", "hnsw", 0),
    ("qdrant", "shards", 0),
]


@pytest.mark.parametrize(("engine", "name", "value"), SETTINGS)
def test_a_setting_that_could_not_be_read_again_is_refused_before_anything_is_encoded(tmp_path, encoder, engine, name, value):
    with pytest.raises(ValueError, match=rf"{name} is {value!r}; it must be "):
        new_index(tmp_path / "i", encoder, engine, **{name: value})
    with pytest.raises(ValueError, match=rf"the engine {engine} has no setting 'foo' here; settings: .*{name}"):
        new_index(tmp_path / "i", encoder, engine, foo=1)


def test_a_folder_whose_name_begins_with_a_dot_may_be_a_qdrant_index(tmp_path, encoder, filled):
    index = make("qdrant", tmp_path / ".index", encoder, filled)
    assert len(reopen(index)) == len(filled)


def test_an_unknown_setting_is_told_when_an_index_is_opened(tmp_path, encoder, filled):
    make("exact", tmp_path / "i", encoder, filled)
    with pytest.raises(ValueError, match="the engine exact has no setting 'count' here; settings: device, max_elements"):
        open_index(tmp_path / "i", count=3)


@pytest.mark.parametrize(("dtype", "factor"), [("float16", 1e5), ("int8", 1e7)])
def test_a_vector_that_the_storage_cannot_hold_is_refused_by_name(tmp_path, encoder, filled, queries, dtype, factor):
    index = new_index(tmp_path / "i", encoder, "exact", dtype=dtype)
    index.build(filled, filled.values())
    with pytest.raises(ValueError, match=rf"document 'big': its vectors have values beyond .*, which {dtype} does not hold"):
        index.add(["big"], [np.full((2, DIM), factor, dtype=np.float32)])
    index.search(queries, 3)


def test_a_removal_from_qdrant_that_is_killed_is_whole(tmp_path, encoder, filled, queries, monkeypatch):
    index = make("qdrant", tmp_path / "i", encoder, filled)
    gone = list(filled)[:100]

    def killed(name, points):
        if points:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(index, "_delete", killed)
        with pytest.raises(KeyboardInterrupt):
            index.remove(gone)
    index = reopen(index)
    assert not index.known(gone)
    assert len(index) == len(filled) - 100
    assert not set(gone) & {name for row in index.search(queries, 200)[0] for name in row}
    index.add(gone[:1], [filled[gone[0]]], texts(gone[:1]))
    assert index.known(gone) == {gone[0]}
    assert len(index) == len(filled) - 99


def test_an_engine_that_is_not_there_is_named(tmp_path, encoder):
    with pytest.raises(ValueError, match="engines: exact, lancedb, qdrant, two-stage"):
        new_index(tmp_path, encoder, "faiss")
    with pytest.raises(ValueError, match="'pooled' or 'bm25'"):
        TwoStageIndex(tmp_path, encoder, candidates="oracle")  # type: ignore[arg-type]
    for engine in ("lancedb", "qdrant"):
        with pytest.raises(ValueError, match="float16 or float32, not as 'int8'"):
            ENGINES[engine](tmp_path, encoder, "int8")


def test_bm25_candidates_need_texts(tmp_path, encoder, filled, queries):
    pytest.importorskip("bm25s")
    index = TwoStageIndex(tmp_path / "i", encoder, candidates="bm25")
    with pytest.raises(ValueError, match="need the texts of the documents"):
        index.build(filled, filled.values())
    index.build(filled, filled.values(), texts(filled))
    with pytest.raises(ValueError, match="need the texts of the queries"):
        index.search(queries, 5)
    some = list(filled)[5]
    assert index.search(queries[:1], 5, [some])[0] == [[some]]
    assert index.search(queries[:1], 5, ["unknown"])[0] == [[]]


def test_fewer_candidates_lose_recall_and_cost_no_score(tmp_path, encoder, filled, queries):
    index = TwoStageIndex(tmp_path / "i", encoder, "float32", count=20)
    index.build(filled, filled.values())
    exact = ExactIndex(tmp_path / "exact", encoder, "float32")
    exact.build(filled, filled.values())
    assert 0 < recall_against_exact(index, exact, queries, 10) < 1
    assert recall_against_exact(TwoStageIndex.load(tmp_path / "i", count=300), exact, queries, 10) == 1
    for lost in (tmp_path / "i" / "exact").glob("pooled-*"):
        lost.unlink()
    assert TwoStageIndex.load(tmp_path / "i").search(queries, 5) == index.search(queries, 5)


def qdrant_url() -> str:
    url = os.environ.get("QDRANT_URL")
    if not url:
        pytest.skip("no Qdrant server: QDRANT_URL is not set")
    return url


@pytest.fixture(params=["local", "server"])
def where(request) -> dict:
    pytest.importorskip("qdrant_client")
    return {"url": qdrant_url()} if request.param == "server" else {}


def test_qdrant_filters_by_payload(tmp_path, encoder, filled, queries, where):
    index = QdrantIndex(tmp_path / "i", encoder, "float32", shards=2, quantization="scalar", **where)
    languages = ["sw" if number % 3 else "so" for number in range(len(filled))]
    index.build(filled, filled.values(), payloads=[{"language": language} for language in languages])
    somali = {name for name, language in zip(filled, languages, strict=True) if language == "so"}
    ids, _ = index.search(queries, 10, conditions={"language": "so"})
    assert all(set(row) <= somali and len(row) == 10 for row in ids)
    assert ids == brute_force(queries, {name: filled[name] for name in filled if name in somali}, 10)[0]
    index.close()


def test_qdrant_goes_on_after_the_last_batch_that_was_taken(tmp_path, encoder, filled, queries, where, monkeypatch):
    index = QdrantIndex(tmp_path / "i", encoder, "float32", batch_size=50, **where)

    def failing():
        for number, array in enumerate(filled.values()):
            if number == 120:
                raise RuntimeError("the plug is pulled")
            yield array

    with pytest.raises(RuntimeError, match="plug"):
        index.build(filled, failing())
    index.close()
    with pytest.raises(FileNotFoundError):
        open_index(tmp_path / "i")
    again = QdrantIndex(tmp_path / "i", encoder, "float32", batch_size=50, **where)
    sent = []
    call = again._call
    monkeypatch.setattr(
        again, "_call", lambda m, *a, **k: (sent.append(len(a[1])) if m == "upsert" else None, call(m, *a, **k))[1]
    )
    again.build(filled, filled.values())
    assert sum(sent) == len(filled) - 100
    assert again.search(queries, 5)[0] == brute_force(queries, filled, 5)[0]
    again.close()


def test_qdrant_leaves_out_documents_without_vectors_and_a_server_that_is_away_is_named(tmp_path, encoder, collection):
    pytest.importorskip("qdrant_client")
    index = QdrantIndex(tmp_path / "i", encoder)
    index.build(collection, collection.values())
    assert len(index) == sum(len(array) > 0 for array in collection.values()) < len(collection)
    index.close()
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:1"):
        QdrantIndex(tmp_path / "j", encoder, url="http://127.0.0.1:1").build(["a"], unit_vectors([2], dim=DIM))
