"""The benchmark for a GPU runs whole, here with tiny sizes on whatever there is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"


def run(folder: Path, *words: str) -> tuple[int, dict]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--tiny", "--output", "gpu.json", *words],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (folder / "gpu.json").is_file(), done.stderr
    return done.returncode, json.loads((folder / "gpu.json").read_text())


@pytest.mark.parametrize("part", ["parity", "transport", "share", "throughput", "search"])
def test_every_part_measures_something(part, tmp_path):
    status, record = run(tmp_path, "--parts", part)
    assert status == 0, record
    assert record["parts"][part]["measured"]
    assert record["precision"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gpu.json"]
    if part == "parity":
        (found,) = record["parts"][part]["measured"].values()
        assert found["greatest difference of a plan"] < 1e-4


def test_a_part_that_runs_out_of_time_is_ended_and_the_next_one_begins(tmp_path):
    status, record = run(tmp_path, "--parts", "parity", "share", "--minutes", "0.0001")
    assert status == 1
    assert [part["status"].startswith("ended after its") for part in record["parts"].values()] == [True, True]
