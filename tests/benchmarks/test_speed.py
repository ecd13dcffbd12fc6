"""The benchmarks of training precision, threads and serving run with tiny sizes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modeling_optical import OpticalRetriever, load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


def run(script: str, *words: object) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPTICAL_PRECISION": "auto"}
    command = [sys.executable, str(ROOT / "benchmarks" / script), *map(str, words)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_auto_trains_in_fp32_where_the_processor_is_held_to_avx2(tmp_path):
    sizes = ["--texts", 2, "--tokens", 4, "--rounds", 1]
    said = run("training_precision.py", *sizes, "--isa", "AVX2", "--output", tmp_path / "found")
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found) == ["all", "AVX2"]
    assert found["AVX2"]["auto"].startswith("fp32")
    assert all(own["tokens"]["4"]["fp32"] > 0 for own in found.values())
    assert "| AVX2 |" in said


def test_a_server_is_measured_with_every_backend(bert, tmp_path):
    pytest.importorskip("uvicorn")
    load_checkpoint(bert, embedding_dim=8).save_pretrained(tmp_path / "model")
    retriever = OpticalRetriever(load_checkpoint(tmp_path / "model"))
    retriever.index({"a": "the cat sat", "b": "a good teacher"}, tmp_path / "index", show_progress_bar=False)
    (tmp_path / "queries.txt").write_text("the cat\na teacher\n")
    words = ["--queries", tmp_path / "queries.txt", "--requests", 4, "--clients", 1, 2, "--output", tmp_path]
    run("serving.py", tmp_path / "index", *words)
    rows = json.loads((tmp_path / "serving.json").read_text())["rows"]
    assert [(row["backend"], row["clients"], row["requests"]) for row in rows] == [("torch", 1, 4), ("torch", 2, 4)]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in rows)
    assert (tmp_path / "serving.md").read_text().count("| torch |") == 2
