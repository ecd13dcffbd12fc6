"""Objectives with weights of their own: trained with the student, never saved with it."""

import json

import pytest
import torch
from safetensors.torch import load_file

from modeling_optical import OpticalForDistillation
from trainer import OpticalTrainer, OpticalTrainingArguments
from trainer.objectives import ObjectiveContext, build_objectives

ADVERSARY = {"transport": 1.0, "language_adversary": {"weight": 0.5, "hidden_size": 6}}


@pytest.fixture
def attached(student):
    objectives = build_objectives(ADVERSARY, ObjectiveContext(dim=8, languages=("so", "sw")))
    objectives.attach(student)
    return student, objectives


def test_attached_weights_are_trained_with_the_student(attached):
    student, objectives = attached
    trained = {id(p) for p in student.parameters()}
    assert {id(p) for p in objectives.parameters()} <= trained
    assert len(list(objectives.parameters())) == 4


def test_the_student_is_saved_as_if_nothing_were_attached(attached, backbones, tmp_path):
    student, _ = attached
    student.save_pretrained(tmp_path / "with")
    delattr(student, "training_objectives")
    student.save_pretrained(tmp_path / "without")
    files = [sorted(p.name for p in (tmp_path / name).iterdir()) for name in ("with", "without")]
    assert files[0] == files[1]
    weights = [load_file(tmp_path / name / "model.safetensors") for name in ("with", "without")]
    assert set(weights[0]) == set(weights[1])
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("with", "without")]
    assert configs[0] == configs[1]


def test_loading_a_students_weights_misses_nothing(attached, backbones):
    student, objectives = attached
    before = [p.clone() for p in objectives.parameters()]
    assert student.load_state_dict(student.state_dict()).missing_keys == []
    assert all(torch.equal(a, b) for a, b in zip(before, objectives.parameters(), strict=True))
    with pytest.raises(RuntimeError, match="Missing key"):
        objectives.load_state_dict({})


def test_another_run_detaches_what_the_last_one_attached(attached):
    student, _ = attached
    build_objectives({"transport": 1.0}, ObjectiveContext(dim=8)).attach(student)
    assert not hasattr(student, "training_objectives")


def test_a_checkpoint_holds_the_objectives_beside_the_student(student, teacher, bitext, tmp_path):
    arguments = OpticalTrainingArguments(
        output_dir=str(tmp_path),
        objectives=ADVERSARY,
        max_steps=2,
        save_steps=2,
        learning_rate=1e-2,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = OpticalTrainer(model=student, args=arguments, teacher=teacher, train_dataset=bitext)
    fresh = {name: value.clone() for name, value in trainer.objectives.state_dict().items()}
    trainer.train()
    folder = tmp_path / "checkpoint-2"
    saved = load_file(folder / "objectives.safetensors")
    assert all(torch.equal(saved[name], value) for name, value in trainer.objectives.state_dict().items())
    assert any(not torch.equal(saved[name], value) for name, value in fresh.items())
    assert not [name for name in load_file(folder / "model.safetensors") if "objective" in name or "classifier" in name]
    assert OpticalForDistillation.from_pretrained(folder).encode_query(["paka"])[0].shape[1] == 8
    (folder / "objectives.safetensors").unlink()
    with pytest.raises(ValueError, match=r"is damaged: objectives\.safetensors differs from what was written"):
        trainer.train(resume_from_checkpoint=str(folder))
    (folder / "checksums.json").unlink()  # as of a run with other objectives
    with pytest.raises(FileNotFoundError, match=r"lacks objectives\.safetensors: it is of a run with other objectives"):
        trainer.train(resume_from_checkpoint=str(folder))
