"""Checkpoints know what was written into them."""

import json

import pytest

from trainer import OpticalTrainer, OpticalTrainingArguments
from trainer.loop.checked_checkpoints import damaged_files


def make_trainer(student, teacher, bitext, folder):
    arguments = OpticalTrainingArguments(
        output_dir=str(folder), max_steps=4, save_steps=2, save_strategy="steps", report_to="none", use_cpu=True,
        disable_tqdm=True,
    )  # fmt: skip
    return OpticalTrainer(model=student, args=arguments, teacher=teacher, train_dataset=bitext)


@pytest.fixture
def checkpoint(student, teacher, bitext, tmp_path):
    make_trainer(student, teacher, bitext, tmp_path).train()
    return tmp_path / "checkpoint-2"


def test_a_checkpoint_lists_every_file_and_is_whole(checkpoint):
    listed = json.loads((checkpoint / "checksums.json").read_text())
    assert set(listed) == {path.name for path in checkpoint.iterdir()} - {"checksums.json"}
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "trainer_state.json"} <= set(listed)
    assert damaged_files(checkpoint) == []


@pytest.mark.parametrize("damage", ["a flipped bit", "a missing file", "half a file", "a damaged list"])
def test_a_damaged_checkpoint_is_refused_by_name(checkpoint, student, teacher, bitext, tmp_path, damage):
    file = checkpoint / ("checksums.json" if damage == "a damaged list" else "optimizer.pt")
    content = file.read_bytes()
    if damage == "a missing file":
        file.unlink()
    elif damage == "a flipped bit":
        file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    else:
        file.write_bytes(content[: len(content) // 2])
    assert damaged_files(checkpoint) == [file.name]
    with pytest.raises(ValueError, match=rf"checkpoint-2 is damaged: {file.name} differs.*Resume from an earlier checkpoint"):
        make_trainer(student, teacher, bitext, tmp_path).train(resume_from_checkpoint=str(checkpoint))


def test_a_checkpoint_without_checksums_is_taken_as_it_is(checkpoint, student, teacher, bitext, tmp_path):
    (checkpoint / "checksums.json").unlink()
    trainer = make_trainer(student, teacher, bitext, tmp_path)
    trainer.train(resume_from_checkpoint=str(checkpoint))
    assert trainer.state.global_step == 4


def test_streams_are_read_by_every_process_for_itself(tmp_path):
    assert OpticalTrainingArguments(output_dir=str(tmp_path), use_cpu=True).accelerator_config.dispatch_batches is False
    with pytest.raises(ValueError, match="dispatch_batches must be False: batches of texts differ in width"):
        OpticalTrainingArguments(output_dir=str(tmp_path), use_cpu=True, accelerator_config={"dispatch_batches": True})
