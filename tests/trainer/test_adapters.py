"""LoRA students: trained, resumed, saved, loaded both ways, merged and pushed, like any other model of PEFT."""

import json

import pytest
import torch
from tiny_workshop import SHORT
from torch.testing import assert_close
from transformers import AutoModel

from hub_cards.publishing import check_folder, plan_push
from modeling_optical import OpticalForDistillation, OpticalModel, load_checkpoint
from modeling_optical.checkpoints.exporting import add_sentence_transformers, export_checkpoint
from recipes.cli import main
from tests.trainer.conftest import make_bitext, make_model
from trainer import OpticalTrainer, OpticalTrainingArguments, RetrievalTrainer, RetrievalTrainingArguments, Teacher

peft = pytest.importorskip("peft", reason="peft is not installed")
PAIRS = make_bitext(8)
QUICK = {"max_steps": 2, "warmup_steps": 0, "use_cpu": True, "report_to": "none", "disable_tqdm": True, "learning_rate": 0.05,
         "per_device_train_batch_size": 4, "save_steps": 1}  # fmt: skip


@pytest.fixture
def base(bert, tmp_path) -> str:
    """Folder of a saved student."""
    make_model(bert, document_length=24).save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def with_adapter(folder: str):
    torch.manual_seed(0)
    return peft.get_peft_model(load_checkpoint(folder), peft.LoraConfig(r=4, modules_to_save=["projection"]))


def vectors(model) -> torch.Tensor:
    return torch.as_tensor(model.encode_query("paka mkeka mbwa"))


def trained(folder: str, teacher: Teacher, output, *, resume=None, **changed) -> OpticalTrainer:
    args = OpticalTrainingArguments(str(output), **QUICK | changed)
    trainer = OpticalTrainer(with_adapter(folder), args, teacher=teacher, train_dataset=PAIRS)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_an_adapter_is_trained_resumed_saved_loaded_and_merged(base, teacher, tmp_path):
    trainer = trained(base, teacher, tmp_path / "out")
    wanted = vectors(trainer.trained)
    assert not torch.equal(wanted, vectors(load_checkpoint(base)))
    fixed = load_checkpoint(base).get_input_embeddings().weight
    assert torch.equal(trainer.trained.get_input_embeddings().weight, fixed)
    resumed = trained(base, teacher, tmp_path / "out", resume=str(tmp_path / "out/checkpoint-1"))
    assert_close(vectors(resumed.trained), wanted)
    trainer.save_model(str(tmp_path / "saved"))
    for folder in (tmp_path / "saved", tmp_path / "out/checkpoint-2"):
        assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in folder.iterdir()}
        assert not (folder / "config.json").exists()  # with it, transformers would take the folder for a whole model
        for load in (AutoModel.from_pretrained, OpticalModel.from_pretrained, load_checkpoint):
            assert_close(vectors(load(folder)), wanted)
        whole = load_checkpoint(folder)
        assert type(whole) is OpticalModel
        assert set(whole.state_dict()) == set(load_checkpoint(base).state_dict())
    trainer.merged().save_pretrained(tmp_path / "merged")
    assert_close(vectors(AutoModel.from_pretrained(tmp_path / "merged")), wanted)


def test_an_adapter_that_transformers_puts_in_is_trained_and_loaded_alike(base, teacher, tmp_path):
    student = OpticalForDistillation.from_pretrained(base)
    student.add_adapter(peft.LoraConfig(r=4))
    args = OpticalTrainingArguments(str(tmp_path / "out"), **QUICK | {"save_strategy": "no"})
    trainer = OpticalTrainer(student, args, teacher=teacher, train_dataset=PAIRS)
    trainer.train()
    trainer.save_model(str(tmp_path / "saved"))
    assert not (tmp_path / "saved" / "config.json").exists()
    assert_close(vectors(load_checkpoint(tmp_path / "saved")), vectors(student))


@pytest.mark.parametrize("selects", [False, True])
def test_a_run_with_student_lora_saves_a_whole_student(workshop, selects):
    recipe = [str(workshop / "recipe.yaml"), *SHORT, "training.max_steps=2", "training.learning_rate=0.05"]
    if selects:  # among checkpoints, which are adapters
        recipe += ["selection={checkpoints: 2, shares: [0.0]}", "data.held_out=0.3", "training.save_steps=1"]
    assert main(["run", *recipe, "student.lora={r: 2}"]) == 0
    student = workshop / "run/student"
    assert (workshop / "run/checkpoints/optical/checkpoint-2/adapter_config.json").is_file()
    assert not (student / "adapter_config.json").exists()
    start, loaded = load_checkpoint(workshop / "run/start"), load_checkpoint(student)
    assert torch.equal(start.get_input_embeddings().weight, loaded.get_input_embeddings().weight)
    if selects:
        compared = {one["weights"] for one in json.loads((student / "selection.json").read_text())["candidates"]}
        assert compared == {"start", "checkpoint-1", "last"}
    else:
        assert not torch.equal(vectors(start), vectors(loaded))


@pytest.mark.parametrize("checkpoint_format", ["sentence-transformers", "pylate", "stanford"])
def test_an_adapter_is_merged_before_an_export(base, tmp_path, checkpoint_format):
    student = load_checkpoint(base)
    student.add_adapter(peft.LoraConfig(r=4))
    for model in (student, with_adapter(base)):
        with pytest.raises(ValueError, match=r"has an adapter beside its weights\. Merge it first"):
            export_checkpoint(model, tmp_path / "exported", checkpoint_format)
    with pytest.raises(ValueError, match="Merge it first"):
        add_sentence_transformers(student, base)
    assert not (tmp_path / "exported").exists()


def test_a_pushed_adapter_needs_a_base_on_the_hub(base, tmp_path):
    with_adapter(base).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"is an adapter of .*base, which is not on the Hub.*push the merged model"):
        check_folder(tmp_path / "adapter")
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "org/base"}))
    assert "adapter_model.safetensors" in plan_push(tmp_path / "adapter", "org/adapter").files


@pytest.mark.parametrize("family", ["bert", "xlm-roberta", "modernbert", "distilbert", "xmod"])
def test_peft_knows_where_adapters_go_in_every_backbone(family, backbones):
    model = peft.get_peft_model(make_model(backbones[family]), peft.LoraConfig())
    places = [name for name, _ in model.named_parameters() if "lora_A" in name]
    assert len(places) >= 2  # every layer has one
    assert not any(name for name in places if "embedding" in name)


def test_a_retriever_takes_an_adapter(base, tmp_path):
    rows = [{"query": row["target"], "passages": [row["source"], "dog good"]} for row in PAIRS]
    args = RetrievalTrainingArguments(str(tmp_path / "out"), **QUICK | {"save_strategy": "no"})
    trainer = RetrievalTrainer(with_adapter(base), args, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    assert 0 <= trainer.evaluate()["eval_rr_at_10"] <= 1
    assert not torch.equal(vectors(trainer.trained), vectors(load_checkpoint(base)))


def test_an_adapter_without_a_saved_base_is_refused(bert, teacher, tmp_path):
    model = peft.get_peft_model(make_model(bert), peft.LoraConfig())
    args = OpticalTrainingArguments(str(tmp_path / "out"), **QUICK)
    with pytest.raises(ValueError, match=r"the adapter's base model is saved nowhere.*base\.save_pretrained"):
        OpticalTrainer(model, args, teacher=teacher, train_dataset=PAIRS)


def test_a_share_of_the_start_and_an_adapter_are_refused(base, teacher, tmp_path):
    with pytest.raises(ValueError, match="set start_share=0"):
        trained(base, teacher, tmp_path / "out", start_share=0.25)
