"""The precision of a training: what the arguments make of a name, and that a checkpoint keeps it."""

import json

import pytest

from modeling_optical.precision import VARIABLE
from trainer import OpticalTrainer, OpticalTrainingArguments
from trainer.causal.arguments import CausalDistillationArguments
from trainer.retrieval.arguments import RetrievalTrainingArguments

ARGUMENTS = (OpticalTrainingArguments, RetrievalTrainingArguments, CausalDistillationArguments)


@pytest.mark.parametrize("kind", ARGUMENTS)
@pytest.mark.parametrize(
    ("machine", "launcher", "given", "expected"),
    [
        ("bf16", "no", {}, "bf16"),
        ("fp32", "no", {}, "fp32"),
        ("bf16", "no", {"precision": "fp32"}, "fp32"),
        ("fp32", "no", {"precision": "bf16"}, "bf16"),
        ("fp32", "no", {"bf16": True}, "bf16"),
        ("bf16", "no", {"bf16": False}, "fp32"),
        ("bf16", "no", {"fp16": False}, "bf16"),
        ("fp32", "bf16", {}, "bf16"),
        ("fp32", "bf16", {"precision": "fp32"}, "fp32"),
        ("fp32", "no", {"precision": "bf16", "bf16": True, "fp16": False}, "bf16"),
    ],
)
def test_one_precision_comes_of_the_name_the_flags_the_launcher_and_the_machine(
    kind, machine, launcher, given, expected, tmp_path, monkeypatch
):
    monkeypatch.setenv(VARIABLE, machine)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    arguments = kind(output_dir=str(tmp_path), report_to="none", use_cpu=True, **given)
    assert arguments.precision == expected
    assert (arguments.bf16, arguments.fp16) == (expected == "bf16", expected == "fp16")
    assert arguments.mixed_precision == {"fp32": "no"}.get(expected, expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"precision": "half"}, "auto, bf16, fp16, fp32"),
        ({"precision": "fp32", "bf16": True}, "precision fp32 and bf16=True contradict"),
        ({"precision": "bf16", "bf16": False}, "precision bf16 and bf16=False contradict"),
        ({"bf16": True, "fp16": True}, "contradict"),
    ],
)
def test_precisions_that_contradict_each_other_are_an_error(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        OpticalTrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True, **given)


def test_arguments_need_no_word_on_the_device(tmp_path, monkeypatch):
    """Where bf16 is a processor's, transformers would take it for that of a GPU that is not there."""
    monkeypatch.setenv(VARIABLE, "bf16")
    monkeypatch.setattr("trainer.loop.arguments.fastest_device", lambda: "cpu")
    arguments = OpticalTrainingArguments(str(tmp_path))
    assert (arguments.precision, arguments.use_cpu) == ("bf16", True)


def test_training_goes_on_in_the_precision_that_it_began_with(student, teacher, bitext, tmp_path, monkeypatch):
    def trainer(**given):
        arguments = OpticalTrainingArguments(
            output_dir=str(tmp_path), max_steps=2, save_steps=1, report_to="none", use_cpu=True, disable_tqdm=True, **given
        )
        return OpticalTrainer(model=student, args=arguments, teacher=teacher, train_dataset=bitext)

    monkeypatch.setenv(VARIABLE, "bf16")
    trainer().train()
    checkpoint = tmp_path / "checkpoint-1"
    kept = json.loads((checkpoint / "trainer_state.json").read_text())["stateful_callbacks"]["PrecisionCallback"]
    assert kept["attributes"] == {"precision": "bf16"}
    monkeypatch.setenv(VARIABLE, "fp32")
    with pytest.raises(ValueError, match=r"trained in bf16, and precision auto is fp32.*precision=bf16"):
        trainer().train(resume_from_checkpoint=str(checkpoint))
    trainer(precision="bf16").train(resume_from_checkpoint=str(checkpoint))
    trainer(precision="fp32").train(resume_from_checkpoint=str(checkpoint))  # as asked for
