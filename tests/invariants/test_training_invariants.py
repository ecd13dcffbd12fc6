"""METHOD §6: the same trajectory, however the batch is cut up, spread, stopped or cached."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("distillation_run.py")
_spec = importlib.util.spec_from_file_location("distillation_run", SCRIPT)
distillation_run = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(distillation_run)
distil = distillation_run.distil

# Logged losses are rounded to 4 decimals.
LOSS, WEIGHT = {"rtol": 1e-4, "atol": 1.1e-4}, {"rtol": 1e-4, "atol": 2e-6}

PER_TEXT = {
    "transport": {"objectives": {"transport": 1.0}},
    "pooled_mse": {"objectives": {"pooled_mse": 1.0}},
    "token_mse": {"objectives": {"token_mse": 1.0, "transport": 0.5}},
    "language_adversary": {"objectives": {"pooled_mse": 1.0, "language_adversary": {"weight": 0.5, "hidden_size": 6}}},
    "ema": {"objectives": {"transport": 1.0}, "transport": {"plan_from": "ema", "marginals": "idf"}},
    "attention": {"objectives": {"transport": 1.0}, "transport": {"marginals": "attention", "tokens": "with_markers"}},
    "fgm": {"objectives": {"transport": 1.0, "embedding_adversary": 0.5}},
    "pgd": {"objectives": {"pooled_mse": 1.0, "embedding_adversary": {"weight": 1.0, "method": "pgd", "steps": 2}}},
    "schedule": {"objectives": {"transport": 1.0, "pooled_mse": {"initial": 1.0, "final": 0.0, "steps": 0.5}}},
}
IN_BATCH = {
    "contrastive": {"objectives": {"contrastive": {"weight": 1.0, "temperature": 0.2}}},
    "bidirectional": {
        "objectives": {"contrastive": {"weight": 0.3, "temperature": 0.2, "bidirectional": True}, "transport": 1.0}
    },
    "score_kl": {"objectives": {"score_kl": {"weight": 1.0, "temperature": 0.1}}},
}
ALL = PER_TEXT | IN_BATCH


@pytest.fixture(scope="module")
def whole(backbones, tmp_path_factory):
    """Name of a case to the trajectory of whole batches on one process, computed once."""
    known: dict = {}

    def trajectory(name):
        if name not in known:
            known[name] = distil(backbones["bert"], tmp_path_factory.mktemp("whole"), **ALL[name])
        return known[name]

    return trajectory


def same(found, wanted):
    np.testing.assert_allclose(found[0], wanted[0], **LOSS)
    np.testing.assert_allclose(found[1], wanted[1], **WEIGHT)


@pytest.mark.parametrize("name", PER_TEXT)
def test_two_accumulated_halves_are_one_batch(backbones, whole, tmp_path, name):
    halves = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    same(distil(backbones["bert"], tmp_path, **PER_TEXT[name], **halves), whole(name))


@pytest.mark.parametrize("name", ALL)
def test_stopping_and_resuming_changes_nothing(backbones, whole, tmp_path, name):
    saving = {"save_strategy": "steps", "save_steps": 3}
    before, _ = distil(backbones["bert"], tmp_path, **ALL[name], **saving, stop_after=3)
    after, weights = distil(backbones["bert"], tmp_path, **ALL[name], **saving, resume=True)
    same((before + after[-3:], weights), whole(name))


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("fgm", "pgd")])
@pytest.mark.parametrize("chunk_size", [3, 8])
def test_gradient_caching_changes_nothing(backbones, whole, tmp_path, name, chunk_size):
    same(distil(backbones["bert"], tmp_path, **ALL[name], gradient_cache_chunk_size=chunk_size), whole(name))


def test_the_trajectories_are_not_standing_still(whole):
    for name in ALL:
        losses, weights = whole(name)
        assert np.ptp(losses) > 1e-3, name
        assert np.isfinite(weights).all()


@pytest.fixture(scope="module")
def on_two_processes(backbones, tmp_path_factory):
    """Trajectories of all cases on two processes with half of each batch, by one launch."""
    folder = tmp_path_factory.mktemp("two")
    cases = {name: case | {"per_device_train_batch_size": 4} for name, case in ALL.items()}
    for name in ("transport", "contrastive", "bidirectional", "score_kl", "language_adversary"):
        cases[f"{name} cached"] = cases[name] | {"gradient_cache_chunk_size": 3}
    (folder / "cases.json").write_text(json.dumps(cases))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launch, str(SCRIPT), backbones["bert"], str(folder / "cases.json"), str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: np.load(folder / f"{name}.npz") for name in cases}


@pytest.mark.parametrize("name", ALL)
def test_two_processes_are_one(on_two_processes, whole, name):
    found = on_two_processes[name]
    same((found["losses"], found["weights"]), whole(name))


@pytest.mark.parametrize("name", ["transport", "contrastive", "bidirectional", "score_kl", "language_adversary"])
def test_two_processes_that_cache_gradients_are_one(on_two_processes, whole, name):
    found = on_two_processes[f"{name} cached"]
    same((found["losses"], found["weights"]), whole(name))
