"""What the scripts of small trainings share: their arguments, what is kept of a run, and how several processes start one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Trainer, TrainerCallback

ROOT = Path(__file__).resolve().parents[2]
Trajectory = tuple[list[float], np.ndarray]

# Logged losses are rounded to 4 decimals.
LOSS, WEIGHT = {"rtol": 1e-4, "atol": 1.1e-4}, {"rtol": 1e-4, "atol": 2e-6}


def same(found: Trajectory, wanted: Trajectory) -> None:
    """Asserts that two runs have equal logged losses and final weights, to float tolerance."""
    np.testing.assert_allclose(found[0], wanted[0], **LOSS)
    np.testing.assert_allclose(found[1], wanted[1], **WEIGHT)


def arguments(folder: Path, **values: Any) -> dict[str, Any]:
    """Training arguments of a small run."""
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": 8,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 5,
        # Plain descent: Adam makes a step of a gradient that is nothing but rounding.
        "optim": "sgd",
        "max_grad_norm": 0.0,
    } | values


class Watch(TrainerCallback):
    """Keeps the logged losses, and stops after a step."""

    def __init__(self, stop_after: int | None):
        self.losses: list[float] = []
        self.stop_after = stop_after

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.stop_after:
            control.should_training_stop = True


def trajectory(trainer: Trainer, stop_after: int | None, resume: bool) -> Trajectory:
    """Trains; returns logged losses and final weights."""
    watch = Watch(stop_after)
    trainer.add_callback(watch)
    model = trainer.model
    trainer.train(resume_from_checkpoint=resume or None)
    return watch.losses, torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()


def carry_out(train: Callable[..., Trajectory]) -> None:
    """The script's main: `SCRIPT BACKBONE CASES.json OUTPUT` trains every case and writes its trajectory."""
    backbone, cases, output = sys.argv[1:]
    for name, case in json.loads(Path(cases).read_text()).items():
        losses, weights = train(backbone, Path(output) / "run", **case)
        if torch.distributed.get_rank() == 0:
            np.savez(Path(output) / f"{name}.npz", losses=losses, weights=weights)
    torch.distributed.destroy_process_group()


def on_two_processes(script: Path, backbone: str, cases: Mapping[str, Any], folder: Path) -> dict[str, Trajectory]:
    """Trajectories of all cases on two processes, by one launch of the script."""
    (folder / "cases.json").write_text(json.dumps(cases))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*launch, str(script), backbone, str(folder / "cases.json"), str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    loaded = {name: np.load(folder / f"{name}.npz") for name in cases}
    return {name: (list(found["losses"]), found["weights"]) for name, found in loaded.items()}
