"""docs/method.md §6: the same trajectory, however the batch is cut up, spread, stopped or cached."""

from pathlib import Path

import distillation_run
import numpy as np
import pytest
import training_script
from distillation_run import distil
from training_script import same

PER_TEXT = {
    "transport": {"objectives": {"transport": 1.0}},
    "pooled_mse": {"objectives": {"pooled_mse": 1.0}},
    "token_mse": {"objectives": {"token_mse": 1.0, "transport": 0.5}},
    "language_adversary": {"objectives": {"pooled_mse": 1.0, "language_adversary": {"weight": 0.5, "hidden_size": 6}}},
    "ema": {"objectives": {"transport": 1.0}, "transport": {"plan_from": "ema", "marginals": "idf"}},
    "start_share": {"objectives": {"transport": 1.0}, "start_share": 0.3},
    "frozen embeddings": {"objectives": {"transport": 1.0}, "embedding_learning_rate": 0.0},
    "attention": {"objectives": {"transport": 1.0}, "transport": {"marginals": "attention", "tokens": "with_markers"}},
    "fgm": {"objectives": {"transport": 1.0, "embedding_adversary": 0.5}},
    "pgd": {"objectives": {"pooled_mse": 1.0, "embedding_adversary": {"weight": 1.0, "method": "pgd", "steps": 2}}},
    "topics": {"objectives": {"transport": 1.0}, "topics": 3, "train_sampling_strategy": "group_by_length"},
    "schedule": {"objectives": {"transport": 1.0, "pooled_mse": {"initial": 1.0, "final": 0.0, "steps": 0.5}}},
}
IN_BATCH = {
    "contrastive": {"objectives": {"contrastive": {"weight": 1.0, "temperature": 0.2}}},
    "bidirectional": {
        "objectives": {"contrastive": {"weight": 0.3, "temperature": 0.2, "bidirectional": True}, "transport": 1.0}
    },
    "score_kl": {"objectives": {"score_kl": {"weight": 1.0, "temperature": 0.1}}},
    "topics, contrastive": {"objectives": {"contrastive": {"weight": 1.0, "temperature": 0.2}}, "topics": 3},
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


@pytest.mark.parametrize("step", [1, 2, 4, 5])
def test_a_stop_at_any_step_changes_nothing_with_accumulation_either(backbones, whole, tmp_path, step):
    halves = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "save_strategy": "steps", "save_steps": step}
    before, _ = distil(backbones["bert"], tmp_path, **ALL["schedule"], **halves, stop_after=step)
    after, weights = distil(backbones["bert"], tmp_path, **ALL["schedule"], **halves, resume=True)
    same((before + after[-(6 - step) :], weights), whole("schedule"))


@pytest.mark.parametrize("name", ALL)
def test_a_cached_teacher_is_a_live_one(backbones, whole, tmp_path, name):
    same(distil(backbones["bert"], tmp_path, **ALL[name], cached=True), whole(name))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(backbones, tmp_path):
    case = ALL["transport"] | {"dropout": 0.1}
    first, again, other = (
        distil(backbones["bert"], tmp_path / name, **case, seed=seed) for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert first[0] == again[0]
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])


def test_batches_of_like_length_see_the_same_examples(backbones, tmp_path):
    """Over an epoch of plain descent with one batch, the order of the examples does not matter."""
    epoch = {"num_train_epochs": 2, "max_steps": -1, "per_device_train_batch_size": 24, "gradient_accumulation_steps": 2}
    by_length = {"train_sampling_strategy": "group_by_length"}
    wanted = distil(backbones["bert"], tmp_path / "plain", **ALL["transport"], **epoch)
    same(distil(backbones["bert"], tmp_path / "by length", **ALL["transport"], **epoch, **by_length), wanted)


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
    return training_script.on_two_processes(Path(distillation_run.__file__), backbones["bert"], cases, folder)


@pytest.mark.parametrize("name", ALL)
def test_two_processes_are_one(on_two_processes, whole, name):
    same(on_two_processes[name], whole(name))


@pytest.mark.parametrize("name", ["transport", "contrastive", "bidirectional", "score_kl", "language_adversary"])
def test_two_processes_that_cache_gradients_are_one(on_two_processes, whole, name):
    same(on_two_processes[f"{name} cached"], whole(name))
