"""docs/method.md §6 through `optical run`: the same student, however the run is cut up, cached, stopped or killed."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from tiny_workshop import ROOT, SHORT, weights

from recipes.cli import main

# Plain descent: Adam makes a step of a gradient that is nothing but rounding.
PLAIN = ("training.optim=sgd", "training.max_grad_norm=0", "training.learning_rate=0.02", "teacher.cache_dtype=float32")
OBJECTIVES = {
    "transport": "{transport: 1.0}",
    "pooled_mse": "{pooled_mse: 1.0}",
    "sum": "{token_mse: 1.0, transport: 0.5, language_adversary: {weight: 0.5, hidden_size: 6}}",
    "contrastive": "{contrastive: {weight: 1.0, temperature: 0.2}, score_kl: 0.5}",
}
STEPS = 6


@pytest.fixture
def student(workshop):
    """Runs the recipe in a separate folder; returns the student's weights and the logged losses."""

    def run(name, *change):
        steps = (f"training.max_steps={STEPS}", "training.per_device_train_batch_size=8", "training.logging_steps=1")
        assert main(["run", str(workshop / "recipe.yaml"), f"output={workshop / name}", *SHORT, *PLAIN, *steps, *change]) == 0
        log = json.loads((workshop / name / "student/training_log.json").read_text())
        return weights(workshop / name / "student"), [entry["loss"] for entry in log if "loss" in entry]

    return run


def same(found, wanted):
    torch.testing.assert_close(found[0], wanted[0], rtol=1e-4, atol=2e-6)
    assert found[1] == pytest.approx(wanted[1], rel=1e-4, abs=1.1e-4)


HALVES = ("training.per_device_train_batch_size=4", "training.gradient_accumulation_steps=2")


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", ["sum", *slow("transport", "pooled_mse")])
def test_two_accumulated_halves_are_one_batch(student, name):
    objectives = f"objectives={OBJECTIVES[name]}"
    wanted = student("whole", objectives)
    assert max(wanted[1]) - min(wanted[1]) > 1e-4  # it does not stand still
    same(student("halves", objectives, *HALVES), wanted)


@pytest.mark.parametrize("name", ["transport", "contrastive", *slow("pooled_mse", "sum")])
def test_a_live_teacher_is_a_cached_one(student, name):
    objectives = f"objectives={OBJECTIVES[name]}"
    same(student("live", objectives, "teacher.live=true"), student("cached", objectives))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(student):
    # With Adam and dropout, as a user has it.
    own = ("student.dropout=0.1", "training.optim=adamw_torch", "training.learning_rate=0.001")
    first, again, other = student("a", *own), student("b", *own), student("c", *own, "seed=7")
    assert torch.equal(first[0], again[0])
    assert first[1] == again[1]
    assert not torch.equal(first[0], other[0])


_STOP = """
import os, signal, sys
from transformers import TrainerCallback
from trainer import OpticalTrainer
import torch
original = OpticalTrainer.__init__
where, step = {where!r}, {step}
class Kill(TrainerCallback):
    def on_substep_end(self, args, state, control, **kwargs):
        if where == "accumulation" and state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
    def on_step_end(self, args, state, control, **kwargs):
        if where == "step" and state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
def patched(self, *args, **kwargs):
    original(self, *args, **kwargs)
    self.add_callback(Kill())
OpticalTrainer.__init__ = patched
save = OpticalTrainer._save_optimizer_and_scheduler
def killed_save(self, folder):
    if where == "save" and self.state.global_step == step:
        open(folder + "/optimizer.pt", "wb").write(b"PK half a fi")
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, folder)
OpticalTrainer._save_optimizer_and_scheduler = killed_save
from recipes.cli import main
main(["run", *sys.argv[1:]])
"""


def own_process(script, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("where", "step"),
    [
        ("accumulation", 3),
        ("save", 4),
        pytest.param("step", 1, marks=pytest.mark.slow),
        pytest.param("accumulation", 0, marks=pytest.mark.slow),
        pytest.param("save", 2, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_is_killed_anywhere_goes_on_to_the_same_student(student, workshop, where, step):
    change = ("objectives=" + OBJECTIVES["sum"], "student.dropout=0.1", *HALVES)
    wanted = student("straight", *change)
    recipe = yaml.safe_load((workshop / "straight/recipe.yaml").read_text())
    assert recipe["training"]["save_steps"] == 2
    killed = own_process(
        _STOP.format(where=where, step=step), str(workshop / "straight/recipe.yaml"), f"output={workshop / 'killed'}"
    )
    assert killed.returncode == -9, killed.stderr[-3000:]
    assert not (workshop / "killed/student").exists()
    found = student("killed", *change)
    assert torch.equal(found[0], wanted[0])
    assert found[1] == wanted[1]
    if where == "save":
        assert (workshop / f"killed/checkpoints/optical/incomplete-checkpoint-{step}").is_dir()


@pytest.mark.slow
def test_batches_of_like_length_are_of_the_same_pairs(student):
    """An epoch in one batch: the order inside it is all that the sampling decides."""
    epoch = ("training.per_device_train_batch_size=64", "training.max_steps=2", "objectives=" + OBJECTIVES["transport"])
    same(student("by length", *epoch, "training.train_sampling_strategy=group_by_length"), student("plain", *epoch))


@pytest.mark.slow
def test_two_processes_are_one(student, workshop):
    for name in ("transport", "contrastive"):
        objectives = f"objectives={OBJECTIVES[name]}"
        wanted = student(f"one {name}", objectives)
        script = "import sys; from recipes.cli import main; sys.exit(main(['run', *sys.argv[1:], '--num-processes', '2']))"
        half = ("training.per_device_train_batch_size=4", f"output={workshop / f'two {name}'}")
        done = own_process(script, str(workshop / f"one {name}/recipe.yaml"), *half)
        assert done.returncode == 0, done.stderr[-3000:]
        log = json.loads((workshop / f"two {name}/student/training_log.json").read_text())
        same((weights(workshop / f"two {name}/student"), [e["loss"] for e in log if "loss" in e]), wanted)


@pytest.mark.slow
def test_runs_that_are_killed_at_random_moments_end_as_the_undisturbed_one(workshop):
    command = [sys.executable, str(ROOT / "benchmarks/killed_runs.py"), str(workshop / "recipe.yaml")]
    record = workshop / "killed_runs.json"
    done = subprocess.run(
        [*command, "--moments", "4", "--output", str(record), f"output={workshop / 'runs'}"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    found = json.loads(record.read_text())
    assert found["killed"] >= 2
    assert found["equal"] == found["runs"] == 4
