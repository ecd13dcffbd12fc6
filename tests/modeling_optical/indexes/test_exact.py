"""The exact engine against brute force, through every change, and through kills."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.indexes import ExactIndex, exact, recall_against_exact

from .conftest import DIM, brute_force, unit_vectors

ROOT = Path(__file__).resolve().parents[3]


def assert_same(found, expected, tolerance=1e-5):
    for found_scores, expected_scores in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(found_scores, expected_scores, atol=tolerance)
    assert found[0] == expected[0]


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(exact, "_SEGMENT_DOCUMENTS", 64)


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("max_elements", [1, 300, None])
def test_search_equals_brute_force_under_any_memory_bound(tmp_path, encoder, collection, queries, max_elements):
    ExactIndex(tmp_path / "i", encoder, "float32").build(collection, collection.values())
    index = ExactIndex.load(tmp_path / "i", max_elements=max_elements)
    assert len(index) == 300
    assert_same(index.search(queries, 17), brute_force(queries, collection, 17))
    assert_same(index.search(queries, 1000), brute_force(queries, collection, 1000))


@pytest.mark.parametrize(("dtype", "tolerance", "recall"), [("float16", 5e-3, 0.99), ("int8", 0.05, 0.95)])
def test_smaller_storage_is_near_and_smaller(tmp_path, encoder, collection, queries, dtype, tolerance, recall):
    full, small = ExactIndex(tmp_path / "full", encoder, "float32"), ExactIndex(tmp_path / "small", encoder, dtype)
    for index in (full, small):
        index.build(collection, collection.values())
    for found, right in zip(small.search(queries, 300)[1], full.search(queries, 300)[1], strict=True):
        np.testing.assert_allclose(found, right, atol=tolerance)
    assert recall_against_exact(small, full, queries, 10) >= recall
    assert recall_against_exact(full, full, queries, 10) == 1.0
    stored = {name: sum(f.stat().st_size for f in (tmp_path / name).glob("segment-*")) for name in ("full", "small")}
    assert stored["small"] < stored["full"]


def test_equal_scores_go_to_the_document_that_came_first(tmp_path, encoder):
    (array,) = unit_vectors([2])
    index = ExactIndex(tmp_path / "i", encoder)
    index.build(["z", "a", "m"], [array, array, array])
    index.add(["b"], [array])
    assert index.search(unit_vectors([3], seed=4), 3)[0] == [["z", "a", "m"]]


@pytest.mark.usefixtures("small_segments")
def test_added_and_removed_documents_leave_the_index_as_if_built_so(tmp_path, encoder, collection, queries):
    items = list(collection.items())
    index = ExactIndex(tmp_path / "i", encoder, "float32")
    index.build([name for name, _ in items[:200]], [array for _, array in items[:200]])
    index.add([name for name, _ in items[200:]], [array for _, array in items[200:]])
    gone = [name for name, _ in items[60:140]]
    index.remove(gone)
    left = {name: array for name, array in items if name not in gone}
    assert len(index) == len(left)
    for opened in (index, ExactIndex.load(tmp_path / "i")):
        assert_same(opened.search(queries, 300), brute_force(queries, left, 300))
    index.add(gone[:1], [collection[gone[0]]])
    assert_same(index.search(queries, 300), brute_force(queries, left | {gone[0]: collection[gone[0]]}, 300))
    np.testing.assert_array_equal(index.document("d150"), collection["d150"])


def test_what_is_wrong_is_named_and_changes_nothing(tmp_path, encoder, collection, queries):
    index = ExactIndex(tmp_path / "i", encoder, "float32")
    index.build(collection, collection.values())
    before = index.search(queries, 10)
    vectors = unit_vectors([2, 2], seed=7)
    with pytest.raises(ValueError, match="'d7' is taken"):
        index.add(["new", "d7"], vectors)
    with pytest.raises(ValueError, match="'new' is taken"):
        index.add(["new", "new"], vectors)
    with pytest.raises(ValueError, match="is empty"):
        index.add(["new", ""], vectors)
    with pytest.raises(ValueError, match="not as many"):
        index.add(["new"], vectors)
    with pytest.raises(ValueError, match=r"'new'.*shape \(2, 5\).*teacher"):
        index.add(["new"], unit_vectors([2], dim=5))
    with pytest.raises(ValueError, match="not numbers"):
        index.add(["new"], [np.full((1, DIM), np.nan)])
    with pytest.raises(KeyError, match="nobody"):
        index.remove(["d1", "nobody"])
    with pytest.raises(ValueError, match=r"teacher \(dimension 8"):
        index.search(unit_vectors([2], dim=5))
    with pytest.raises(ValueError, match="at least one"):
        index.search(queries, 0)
    for opened in (index, ExactIndex.load(tmp_path / "i")):
        assert opened.search(queries, 10) == before
    assert {f.name for f in (tmp_path / "i").iterdir()} == {"index.json", *(s.path.name for s in index.segments)}


def test_a_folder_that_is_no_index_or_a_damaged_one_is_named(tmp_path, encoder, collection):
    with pytest.raises(FileNotFoundError, match="is not an index"):
        ExactIndex.load(tmp_path)
    index = ExactIndex(tmp_path / "i", encoder)
    index.build(collection, collection.values())
    (segment,) = (tmp_path / "i").glob("segment-*")
    segment.write_bytes(segment.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is damaged: it is not what was written"):
        ExactIndex.load(tmp_path / "i")
    (tmp_path / "i" / "index.json").write_text("{")
    with pytest.raises(ValueError, match=r"index\.json cannot be read"):
        ExactIndex.load(tmp_path / "i")


def test_a_saved_copy_stands_on_its_own(tmp_path, encoder, collection, queries):
    index = ExactIndex(tmp_path / "i", encoder)
    index.build(collection, collection.values())
    index.save(tmp_path / "copy")
    before = index.search(queries, 5)
    index.remove(list(collection))
    assert len(index) == 0
    assert index.search(queries, 5) == ([[]] * 4, [[]] * 4)
    assert ExactIndex.load(tmp_path / "copy").search(queries, 5) == before
    with pytest.raises(FileExistsError):
        index.save(tmp_path / "copy")


def test_a_full_disk_leaves_the_index_as_it_was(tmp_path, encoder, collection, queries, monkeypatch):
    index = ExactIndex(tmp_path / "i", encoder)
    index.build(collection, collection.values())
    before = index.search(queries, 5)
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr("modeling_optical.encoding.vector_shards.shutil.disk_usage", lambda folder: usage)
    for change in (index.add, index.build):
        with pytest.raises(OSError, match="no space"):
            change(["new"], unit_vectors([40]))
    assert ExactIndex.load(tmp_path / "i").search(queries, 5) == before


_KILLED = """
import os, signal, sys
import numpy as np
from modeling_optical.indexes import ExactIndex, exact
import modeling_optical.encoding.vector_shards as shards, modeling_optical.indexes.manifest as index_module
step, change, path = sys.argv[1:]
exact._SEGMENT_DOCUMENTS = 20
def kill(*arguments, **keywords):
    os.kill(os.getpid(), signal.SIGKILL)
if step == "rename":
    shards.os.replace = kill
elif step == "second segment":
    write, calls = exact.write_shard, []
    exact.write_shard = lambda *a, **k: (calls.append(1), kill() if len(calls) == 2 else None)[1] or write(*a, **k)
else:
    index_module.write_text = kill
index = ExactIndex.load(path)
getattr(index, change)(["n%d" % i for i in range(50)], [np.eye(8, dtype=np.float32)[:3]] * 50)
"""


@pytest.mark.parametrize("change", ["add", "build"])
@pytest.mark.parametrize("step", ["rename", "second segment", "manifest"])
def test_a_kill_while_writing_leaves_the_index_as_it_was(tmp_path, encoder, collection, queries, step, change):
    index = ExactIndex(tmp_path / "i", encoder)
    index.build(collection, collection.values())
    before = index.search(queries, 5)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _KILLED, step, change, str(tmp_path / "i")]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    assert len(list((tmp_path / "i").iterdir())) > 2, "the kill came too early to show anything"
    opened = ExactIndex.load(tmp_path / "i")
    assert opened.search(queries, 5) == before
    # The next change clears away what the killed one left.
    opened.add(["after"], unit_vectors([2]))
    named = {segment["file"] for segment in json.loads((tmp_path / "i" / "index.json").read_text())["state"]["segments"]}
    assert {f.name for f in (tmp_path / "i").iterdir()} == named | {"index.json"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("device_bytes", [None, 0])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_gpu_finds_what_the_cpu_finds(tmp_path, encoder, collection, queries, dtype, device_bytes):
    index = ExactIndex(tmp_path / "i", encoder, dtype)
    index.build(collection, collection.values())
    there = ExactIndex.load(tmp_path / "i", device="cuda", device_bytes=device_bytes)
    for _ in range(2):
        assert_same(there.search(queries, 10), index.search(queries, 10), tolerance=1e-4)


def test_an_index_of_another_engine_is_not_overwritten(tmp_path, encoder):
    (tmp_path / "index.json").write_text(
        json.dumps({"format": 1, "engine": "other", "dtype": "float16", "encoder": {"name": "x", "dim": 8}})
    )
    with pytest.raises(FileExistsError, match="'other'"):
        ExactIndex(tmp_path, Encoder("x", 8)).build(["a"], unit_vectors([1]))
