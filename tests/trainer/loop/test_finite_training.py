"""A loss that is not a number stops training before the weights take part in it, and leaves its batch."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from modeling_optical import OpticalModel
from trainer import (
    LabelledDataset,
    NonFiniteLossError,
    OpticalTrainer,
    OpticalTrainingArguments,
    RetrievalTrainer,
    RetrievalTrainingArguments,
)
from trainer.loop.finite_training import FiniteTraining


def arguments(folder, **values):
    values = {
        "output_dir": str(folder), "max_steps": 6, "per_device_train_batch_size": 4, "logging_steps": 1, "report_to": "none",
        "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "dataloader_pin_memory": False, "learning_rate": 0.01,
    } | values  # fmt: skip
    return OpticalTrainingArguments(**values)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()]).clone()


@pytest.fixture
def poisoned(teacher, bitext, monkeypatch):
    """A teacher whose vectors of the third source are not numbers."""
    whole, bad = teacher.encode, bitext[2]["source"]

    def encode(texts, kind="query"):
        found = zip(texts, whole(texts, kind), strict=True)
        return [replace(e, vectors=torch.full_like(e.vectors, math.nan)) if t == bad else e for t, e in found]

    monkeypatch.setattr(teacher, "encode", encode)
    return teacher


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 3},
        {"bf16": True},
        {"gradient_cache_chunk_size": 2},
        {"objectives": {"pooled_mse": 1.0, "embedding_adversary": 0.5}},
        {"objectives": {"pooled_mse": 1.0, "transport": 1.0}},
    ],
    ids=["plain", "accumulated", "bf16", "gradient caching", "adversary", "unsolvable transport"],
)
def test_a_loss_that_is_not_a_number_never_reaches_the_weights(student, poisoned, bitext, tmp_path, change):
    change = {"objectives": {"pooled_mse": 1.0}} | change
    trainer = OpticalTrainer(model=student, args=arguments(tmp_path, **change), teacher=poisoned, train_dataset=bitext)
    before: list[torch.Tensor] = [weights(student)]
    trainer.create_optimizer().register_step_post_hook(lambda *_: before.append(weights(student)))
    with pytest.raises(NonFiniteLossError, match=r"the loss of step \d+ is n(an|ot a number)") as caught:
        trainer.train()
    assert torch.equal(weights(student), before[-1])
    assert torch.isfinite(weights(student)).all()
    record = json.loads((caught.value.folder / "batch.json").read_text())
    assert caught.value.folder.parent == tmp_path
    assert str(caught.value.folder) in str(caught.value)
    if "transport" not in change["objectives"]:
        assert record["parts"]["pooled_mse"] == "nan"
    assert bitext[2]["source"] in [text["source"] for text in record["texts"]]
    tensors = load_file(caught.value.folder / "batch.safetensors")
    assert len(tensors["input_ids"]) == len(record["texts"])
    assert not torch.isfinite(tensors["teacher_vectors"]).all()


def test_a_gradient_that_is_not_a_number_never_reaches_the_weights(student, teacher, bitext, tmp_path):
    trainer = OpticalTrainer(model=student, args=arguments(tmp_path), teacher=teacher, train_dataset=bitext)
    before = weights(student)
    student.projection.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(NonFiniteLossError, match=r"the gradient of step 1 is not finite, though its loss is \(first in"):
        trainer.train()
    assert torch.equal(weights(student), before)


def test_the_stop_can_be_switched_off(student, poisoned, bitext, tmp_path):
    trainer = OpticalTrainer(
        model=student,
        args=arguments(tmp_path, stop_on_non_finite=False, objectives={"pooled_mse": 1.0}),
        teacher=poisoned,
        train_dataset=bitext,
    )
    trainer.train()
    assert not torch.isfinite(weights(student)).all()
    assert not list(tmp_path.glob("not-finite-*"))


def test_training_on_labels_stops_too(bert, tmp_path):
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    row = {"query": "the cat", "passages": ["the cat sat", "the dog"], "scores": [math.nan, 1.0], "known_positives": []}
    values = {"output_dir": str(tmp_path), "use_cpu": True, "report_to": "none", "objectives": {"distillation": 1.0}}
    trainer = RetrievalTrainer(
        model=model,
        args=RetrievalTrainingArguments(**values, disable_tqdm=True),
        train_dataset=LabelledDataset.from_list([row] * 4),
    )
    before = weights(model)
    with pytest.raises(NonFiniteLossError, match=r"4 texts, the first 'the cat'"):
        trainer.train()
    assert torch.equal(weights(model), before)


def test_a_finite_loss_costs_nothing_but_a_look(tmp_path):
    guard = FiniteTraining(tmp_path, 0)
    guard.check_loss(torch.tensor(1e30), {}, {}, 0)
    guard.check_gradient(torch.nn.Linear(2, 2), 0)
    assert not list(tmp_path.iterdir())
