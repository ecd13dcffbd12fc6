"""Several processes, really launched: what is uneven is trained on, and what goes wrong on one ends all, with the reason."""

import json
import os
import signal
import time

import psutil
import pytest
from tiny_workshop import ROOT, SHORT, start, start_with_accelerate, wait_for, weights

from modeling_optical import load_checkpoint

pytestmark = pytest.mark.slow

RUN = ROOT / "recipes" / "run.py"


def keep_pairs(workshop, count):
    lines = (workshop / "bitext.jsonl").read_text().splitlines(keepends=True)
    (workshop / "bitext.jsonl").write_text("".join(lines[:count]))


def finished(running):
    out, error = running.communicate(timeout=300)
    return running.returncode, out + error


def test_the_shipped_configuration_starts_two_processes_which_share_an_uneven_epoch(workshop):
    keep_pairs(workshop, 23)
    change = [*SHORT, "data.held_out=0", "training.max_steps=-1", "training.num_train_epochs=2"]
    status, text = finished(start_with_accelerate(RUN, str(workshop / "recipe.yaml"), *change))
    assert status == 0, text[-3000:]
    assert json.loads((workshop / "run/run.json").read_text())["processes"] == 2
    log = json.loads((workshop / "run/student/training_log.json").read_text())
    assert log[-1]["step"] == 6  # 23 pairs by 2 x 4 are three updates an epoch


def test_more_processes_than_pairs_come_to_an_end(workshop):
    keep_pairs(workshop, 1)
    change = [*SHORT, "data.held_out=0", "training.max_steps=-1", "training.num_train_epochs=2"]
    status, text = finished(start_with_accelerate(RUN, str(workshop / "recipe.yaml"), *change))
    assert status == 0, text[-3000:]
    assert load_checkpoint(workshop / "run/student").config.vector_dim == 8


def test_a_stream_is_trained_on_by_two_processes(workshop):
    change = [*SHORT, "data.streaming.sample=40", "teacher.live=true", "training.max_steps=3"]
    status, text = finished(start_with_accelerate(RUN, str(workshop / "recipe.yaml"), *change))
    assert status == 0, text[-3000:]
    assert (workshop / "run/student/config.json").is_file()


def second_process(launcher):
    """The process of rank 1 below a launcher; None while there is none."""
    for child in psutil.Process(launcher.pid).children(recursive=True):
        try:
            if child.environ().get("RANK") == "1":
                return child
        except psutil.Error:
            continue
    return None


def test_a_killed_process_ends_the_others_with_the_reason_and_the_run_goes_on(workshop):
    arguments = ["run", str(workshop / "recipe.yaml"), *SHORT, "--num-processes", "2"]
    endless = [*arguments, "training.max_steps=2000"]
    running = start(*endless)
    checkpoints = workshop / "run/checkpoints/optical"
    wait_for(lambda: any(checkpoints.glob("checkpoint-*/trainer_state.json")), running)
    os.kill(second_process(running).pid, signal.SIGKILL)
    began = time.monotonic()
    status, text = finished(running)
    assert time.monotonic() - began < 60
    assert status != 0
    assert "exitcode  : -9" in text
    assert "Started again, the same command goes on" in text.replace("\n", " ")
    assert not (workshop / "run/student").exists()
    done = int(max(checkpoints.glob("checkpoint-*"), key=os.path.getmtime).name.split("-")[1])
    running = start(*endless)
    wait_for(lambda: (checkpoints / f"checkpoint-{done + 2}" / "trainer_state.json").is_file(), running)
    children = psutil.Process(running.pid).children(recursive=True)
    running.send_signal(signal.SIGTERM)  # as a scheduler ends a job
    finished(running)
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


_POISONED = """
import os, sys
sys.path.insert(0, {root!r})
from trainer.objectives.pooled_mse import PooledMSE
original, steps = PooledMSE.forward, []
def poisoned(self, output, batch):
    value, parts = original(self, output, batch)
    steps.append(1)
    return (value * float("nan") if os.environ["RANK"] == "1" and len(steps) == 4 else value), parts
PooledMSE.forward = poisoned
from recipes.cli import main
sys.exit(main(["run", *sys.argv[1:]]))
"""


def test_a_loss_that_is_no_number_on_one_process_ends_all_before_any_step(workshop):
    script = workshop / "poisoned.py"
    script.write_text(_POISONED.format(root=str(ROOT)))
    change = [
        *SHORT,
        "training.gradient_accumulation_steps=2",
        "training.save_steps=1",
        "training.per_device_train_batch_size=2",
    ]
    began = time.monotonic()
    status, text = finished(start_with_accelerate(script, str(workshop / "recipe.yaml"), *change))
    assert time.monotonic() - began < 200
    assert status != 0
    assert "optical: (process 1) the loss of step 2 is nan" in text
    assert [path.name for path in (workshop / "run/checkpoints/optical").glob("checkpoint-*")] == ["checkpoint-1"]
    (folder,) = (workshop / "run/checkpoints/optical").glob("not-finite-step-2-process-1")
    assert len(json.loads((folder / "batch.json").read_text())["texts"]) == 2
    status, text = finished(start_with_accelerate(RUN, str(workshop / "recipe.yaml"), *change))
    assert status == 0, text[-3000:]
    assert weights(workshop / "run/student").isfinite().all()
