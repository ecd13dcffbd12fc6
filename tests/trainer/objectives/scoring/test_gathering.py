"""Gathering over processes, with different numbers of texts and tokens."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer.objectives.scoring.gathering import gather_rows, gather_vectors

ROOT = Path(__file__).resolve().parents[4]


def test_one_process_gathers_its_own():
    vectors, mask = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    gathered = gather_vectors(vectors, mask)
    assert gathered.vectors is vectors
    assert gathered.first == 0
    assert torch.equal(gather_rows(torch.arange(2)), torch.arange(2))


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gathering")
    script = Path(__file__).with_name("gathering_run.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script), str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def test_ragged_batches_stand_one_after_the_other(ranks):
    first, second = ranks
    assert torch.equal(first["vectors"], second["vectors"])
    assert first["vectors"].shape == (5, 6, 2)
    assert torch.equal(first["vectors"][:3, :4], first["own"])
    assert torch.equal(first["vectors"][3:], second["own"])
    assert not first["vectors"][:3, 4:].any()
    assert first["mask"].sum(1).tolist() == [3, 3, 3, 5, 5]
    assert (first["first"], second["first"]) == (0, 3)
    assert first["keys"].tolist() == [0, 1, 2, 10, 11]


def test_gradients_of_all_processes_come_home(ranks):
    everything = torch.arange(60, dtype=torch.float32).view(5, 6, 2) * 3  # 1 from the first process, 2 from the second
    assert torch.equal(ranks[0]["gradient"], everything[:3, :4])
    assert torch.equal(ranks[1]["gradient"], everything[3:])
