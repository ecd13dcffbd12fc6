"""The benchmark of encoding runs whole with tiny sizes, and judges what it finds."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from modeling_optical import load_checkpoint

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "encoding.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmarks_encoding", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def collection(tmp_path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    texts = ["the cat sat on the mat", "search works in english", "a good teacher"]
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": f"d{n}", "text": t}) + "\n" for n, t in enumerate(texts)))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{n}", "text": t}) + "\n" for n, t in enumerate(texts)))
    (folder / "qrels.tsv").write_text("q\td\tg\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(len(texts))))
    return folder


def test_it_measures_every_system_beside_peers_and_writes_what_it_finds(benchmark, bert, collection, tmp_path, monkeypatch):
    pytest.importorskip("sentence_transformers")
    load_checkpoint(bert, embedding_dim=8).save_pretrained(tmp_path / "model")
    words = ["--model", tmp_path / "model", "--collection", collection, "--rounds", "1", "--passages", "1", "--queries", "1"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, words), "--only", "torch", "--output", str(tmp_path / "found")])
    assert benchmark.main() == 0
    (measured,) = json.loads((tmp_path / "found.json").read_text()).values()
    fast = measured["milliseconds"]
    graphs = {"onnx", "onnx-int8", "openvino, fp32", "openvino", "auto"}
    assert {*benchmark.OURS} - graphs | {"MultiVectorEncoder, torch"} == set(fast)
    assert all(own[kind] > 0 for own in fast.values() for kind in ("passages", "sentences", "query"))
    assert fast[benchmark.BEFORE]["text to passages"] > 0
    assert measured["quality"]["tiny"][benchmark.EXACT][benchmark.METRIC] == 1.0
    assert (tmp_path / "found.md").read_text().count("| torch, bf16 |") == 1


def test_a_backend_beyond_the_tolerance_is_no_rival_of_auto(benchmark):
    fast = {name: dict.fromkeys(("passages", "sentences", "query"), 10.0) for name in benchmark.OURS}
    fast["onnx-int8"] = dict.fromkeys(fast["auto"], 1.0)
    for moved, ratio in ((0.0, 10.0), (0.003, 1.0)):
        good = {
            "c": {
                name: {benchmark.METRIC: 0.9 - moved * (name == "onnx-int8"), "greatest distance": 0.01}
                for name in benchmark.OURS
                if name not in benchmark.WITHOUT_QUALITY
            }
        }
        found = benchmark.targets({"precision auto": "fp32", "milliseconds": fast}, good)
        assert found["query: auto against the fastest of ours within the tolerance"]["ratio"] == ratio
