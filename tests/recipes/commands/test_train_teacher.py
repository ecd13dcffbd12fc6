"""`optical train-teacher` and `optical fine-tune`, on tiny models: a run, going on, several processes, what a mistake gets."""

import json
import random
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.evaluation import read_results, read_run
from recipes.checked_yaml import PACKAGE_FOLDER
from recipes.cli import main
from recipes.runs.recipe.distillation import Recipe
from recipes.runs.recipe.retrieval import RetrievalRecipe
from recipes.runs.retrieval_run import default_epochs

WORDS = ["cat", "mat", "dog", "search", "works", "english", "somali", "teacher", "vector", "translation", "good", "same"]


def rows(count: int = 24) -> list[dict]:
    generator = random.Random(0)
    found = []
    for _ in range(count):
        query = generator.sample(WORDS, 3)
        passages = [" ".join([*query, *generator.sample(WORDS, 3)])] + [" ".join(generator.sample(WORDS, 5)) for _ in range(3)]
        found.append({"query": " ".join(query), "passages": passages, "scores": [4.0, 1.0, 0.0, -1.0]})
    return found


def collection(folder: Path) -> str:
    folder.mkdir()
    own = rows(8)
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{n}", "text": row["passages"][0]}) + "\n" for n, row in enumerate(own))
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": row["query"]}) + "\n" for n, row in enumerate(own))
    )
    (folder / "qrels.tsv").write_text("q\td\tg\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(8)))
    return str(folder)


@pytest.fixture
def workshop(tmp_path: Path, bert: str) -> Path:
    """A folder with labelled data, a collection, a teacher and a recipe."""
    (tmp_path / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()))
    collection(tmp_path / "tiny")
    torch.manual_seed(0)
    teacher = OpticalModel.from_backbone(bert, embedding_dim=8)
    teacher.save_pretrained(tmp_path / "teacher")
    recipe = {
        "name": "tiny",
        "output": str(tmp_path / "run"),
        "model": {
            "start": bert,
            "config": {"embedding_dim": 8, "query_marker": "[Q]", "query_length": 12, "document_length": 24},
            "dropout": 0.0,
        },
        "data": {"train": [{"path": "labelled.jsonl"}], "held_out": 0.25},
        "objectives": {"contrastive": 1.0, "distillation": 0.5},
        "training": {
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "save_steps": 2,
            "logging_steps": 1,
            "disable_tqdm": True,
        },
        "evaluation": {"collections": [{"path": "tiny"}]},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.dump(recipe))
    return tmp_path


def train(workshop: Path, *arguments: str) -> int:
    return main(["train-teacher", str(workshop / "recipe.yaml"), *arguments])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_a_recipe_becomes_a_retriever_with_results_and_a_card(workshop, capsys):
    assert train(workshop) == 0
    run = workshop / "run"
    model = load_checkpoint(run / "model")
    assert model.config.vector_dim == 8
    assert model.processor.tokenizer.convert_tokens_to_ids("[Q]") in model.processor("cat", kind="query")["input_ids"][0]
    found = read_results(run / "results.json")
    assert {(row.system, row.collection) for row in found} == {
        (system, name) for system in ("start", "trained") for name in ("tiny", "held_out_queries")
    }
    assert read_run(run / "runs" / "trained.tiny.en.trec")
    card = (run / "model" / "README.md").read_text()
    assert "encode_document" in card
    assert "labelled.jsonl" in card
    assert "| tiny | en | trained | 8 |" in card
    assert str(workshop) not in card.split("## Training")[0]
    record = json.loads((run / "run.json").read_text())
    assert record["data"]["training examples"] == 18
    assert set(record["files"]) == {"labelled.jsonl"}
    log = json.loads((run / "model" / "training_log.json").read_text())
    assert {"contrastive", "distillation"} <= set(log[0])
    out = capsys.readouterr().out
    assert "24 examples of" in out
    assert re.search("this run (will take|takes) about", out, re.IGNORECASE)
    assert out.index("[1/2] training trained; about") < out.index("[2/2] evaluation; about")
    assert "1 × contrastive + 0.5 × distillation" in out


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(workshop, monkeypatch):
    from trainer import RetrievalTrainer

    assert train(workshop, f"output={workshop / 'whole'}") == 0
    original = RetrievalTrainer.training_step

    def interrupted(self, *arguments, **keywords):
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(RetrievalTrainer, "training_step", interrupted)
    assert train(workshop) == 130
    monkeypatch.setattr(RetrievalTrainer, "training_step", original)
    assert not (workshop / "run" / "model").exists()
    assert train(workshop) == 0
    wanted = weights(workshop / "whole" / "model")
    for name, value in weights(workshop / "run" / "model").items():
        torch.testing.assert_close(value, wanted[name], msg=name)


def test_a_finished_run_is_not_trained_again_and_another_recipe_is_refused(workshop, capsys):
    assert train(workshop) == 0
    capsys.readouterr()
    assert train(workshop) == 0
    assert "it is complete" in capsys.readouterr().out
    assert train(workshop, "training.learning_rate=1e-4") == 2
    assert "different: training.learning_rate" in capsys.readouterr().err
    assert train(workshop, "training.learning_rate=1e-4", "--overwrite") == 0


def test_data_that_has_changed_since_is_refused(workshop, capsys):
    assert train(workshop) == 0
    (workshop / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(23)))
    assert train(workshop) == 2
    assert "the labelled data has changed since" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes(workshop):
    assert train(workshop, "training.per_device_train_batch_size=2", "--num-processes", "2") == 0
    one = workshop / "one"
    assert train(workshop, f"output={one}") == 0
    for name, value in weights(workshop / "run" / "model").items():
        torch.testing.assert_close(value, weights(one / "model")[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_student_is_fine_tuned_on_ten_pairs_over_its_teachers_documents(workshop, capsys):
    student, output = str(workshop / "teacher"), workshop / "tuned"
    arguments = ["--model", student, "--documents-model", student, "--pairs", str(workshop / "labelled.jsonl")]
    arguments += ["--examples", "10", "--collection", str(workshop / "tiny"), "--output", str(output)]
    before = weights(workshop / "teacher")
    assert main(["fine-tune", *arguments, "training.disable_tqdm=true", "training.learning_rate=1e-3"]) == 0
    after = weights(output / "model")
    assert any(not torch.equal(after[name], before[name]) for name in before)
    for name, value in weights(workshop / "teacher").items():
        assert torch.equal(value, before[name])
    card = (output / "model" / "README.md").read_text()
    assert "Documents are encoded by another model" in card
    log = json.loads((output / "model" / "training_log.json").read_text())
    assert log[-1]["step"] == 20  # ten examples are one update an epoch, and are seen twenty times
    # The documents of the evaluation are the frozen model's: the start is the same model on both sides.
    assert np.isfinite([row.value for row in read_results(output / "results.json")]).all()
    assert "trained" in capsys.readouterr().out


def test_judged_collections_are_labelled_data(workshop):
    arguments = ["--model", str(workshop / "teacher"), "--judged", str(workshop / "tiny"), "--negatives", "random"]
    assert main(["fine-tune", *arguments, "--output", str(workshop / "tuned"), "training.max_steps=1"]) == 0
    assert json.loads((workshop / "tuned" / "run.json").read_text())["data"]["training examples"] == 8


def test_a_run_on_other_judgements_or_texts_is_another_run(workshop, capsys):
    arguments = ["fine-tune", "--model", str(workshop / "teacher"), "--output", str(workshop / "tuned")]
    judged = [*arguments, "--judged", str(workshop / "tiny"), "--negatives", "random", "training.max_steps=1"]
    assert main(judged) == 0
    assert str(workshop) not in (workshop / "tuned" / "model" / "README.md").read_text().split("## Training")[1]
    with open(workshop / "tiny" / "qrels.tsv", "a") as more:
        more.write("q0\td1\t1\n")
    assert main(judged) == 2
    assert "the labelled data has changed since" in capsys.readouterr().err

    by_id = [{"query": row["query"], "positive_id": "1"} for row in rows()]
    (workshop / "ids.jsonl").write_text("".join(json.dumps(row) + "\n" for row in by_id))
    table = workshop / "passages.jsonl"
    table.write_text(json.dumps({"id": "1", "text": "good search works"}) + "\n")
    train_on = "data.train=[{path: ids.jsonl, passage_texts: {path: passages.jsonl}}]"
    assert train(workshop, train_on, "objectives={contrastive: 1.0}") == 0
    table.write_text(json.dumps({"id": "1", "text": "another passage"}) + "\n")
    assert train(workshop, train_on, "objectives={contrastive: 1.0}") == 2
    assert "the labelled data has changed since" in capsys.readouterr().err


def test_a_token_is_refused_since_every_file_of_a_run_would_have_it(workshop, capsys):
    assert train(workshop, "training.hub_token=hf_secret") == 2
    said = capsys.readouterr().err
    assert "`training.hub_token` would be written to the run's files" in said
    assert "hf_secret" not in said
    assert not (workshop / "run").exists()


def test_a_run_that_was_stopped_counts_the_time_of_all_its_starts(workshop, monkeypatch):
    from trainer import RetrievalTrainer

    original = RetrievalTrainer.training_step

    def slow(self, *arguments, **keywords):
        time.sleep(0.5)
        if self.state.global_step == 3:
            raise KeyboardInterrupt
        return original(self, *arguments, **keywords)

    monkeypatch.setattr(RetrievalTrainer, "training_step", slow)
    assert train(workshop) == 130
    monkeypatch.setattr(RetrievalTrainer, "training_step", original)
    assert train(workshop) == 0
    seconds = json.loads((workshop / "run" / "run.json").read_text())["seconds"]
    assert seconds["training trained"] > 1.0, "two updates before the checkpoint"
    assert seconds["total"] >= seconds["training trained"]
    log = json.loads((workshop / "run" / "model" / "training_log.json").read_text())
    assert log[-1]["train_runtime"] > 1.0


def test_few_examples_are_seen_often_and_many_once():
    assert default_epochs(10, 32) == 20
    assert default_epochs(320, 32) == 10
    assert default_epochs(100_000, 32) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.train=[]"], "`data.train` is empty"),
        (["model.start="], "model.start"),
        (["data.train=[{path: nowhere.jsonl}]"], "'nowhere.jsonl': there is no such file"),
        (["data.train=[{path: labelled.jsonl, querry: q}]"], "Did you mean 'query'"),
        (["objectives={transport: 1}"], "unknown objective 'transport'"),
        (["training.learning_rat=1"], "Did you mean 'learning_rate'"),
        (["training.seed=1"], "`training.seed` is set by the recipe's own key `seed`"),
        (["data.held_out=1.5"], "held_out is 1.5"),
        (["documents={}"], "`documents.model` is not set"),
        (["documents={model: BERT}"], "dimensions"),
    ],
)
def test_a_mistake_is_one_message(workshop, bert, capsys, overrides, message):
    assert train(workshop, *(item.replace("BERT", bert) for item in overrides)) == 2
    assert message in capsys.readouterr().err


def test_distillation_without_scores_is_told_before_training(workshop, capsys):
    text = (workshop / "labelled.jsonl").read_text() + json.dumps({"query": "cat", "passages": ["mat"]}) + "\n"
    (workshop / "labelled.jsonl").write_text(text)
    assert train(workshop) == 2
    assert "labelled.jsonl has rows without" in capsys.readouterr().err
    assert not (workshop / "run" / "start").exists()


def test_recipes_of_one_kind_are_told_by_the_other_command(workshop, capsys):
    assert main(["run", str(workshop / "recipe.yaml")]) == 2
    assert "start it with `optical train-teacher" in capsys.readouterr().err
    assert main(["train-teacher", "recipes/quickstart/swahili.yaml"]) == 2
    assert "start it with `optical run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["teacher", "teacher_distilled"])
def test_the_recipes_for_ms_marco_resolve(name):
    recipe = RetrievalRecipe.load(f"recipes/optical/{name}.yaml")
    assert recipe.model.config["embedding_dim"] == 128
    source = recipe.data.train[0]
    assert (source.passage_texts is not None) == (name == "teacher_distilled")
    with pytest.raises(ValueError, match="train-teacher"):
        Recipe.load(PACKAGE_FOLDER / "optical" / f"{name}.yaml")
