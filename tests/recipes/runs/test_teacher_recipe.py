"""A recipe may name the recipe that makes its teacher: one command makes both, and the teacher serves every student."""

import pytest
import yaml

from modeling_optical import load_checkpoint
from recipes.cli import main
from recipes.runs.recipe.distillation import Recipe


@pytest.fixture
def asked(workshop):
    """A recipe whose teacher another recipe beside it makes, from running text."""
    teacher = {
        "name": "made", "language": "en", "output": str(workshop / "made"), "paths": {"start": None, "bitext": None},
        "model": {"start": "{paths.start}"},
        "data": {
            "held_out": 0.0,
            "train": [{"path": "{paths.bitext}/bitext.jsonl", "query": "en", "positives": "en", "running_text": {"words": 6}}],
        },
        "training": {"max_steps": 1, "per_device_train_batch_size": 4, "disable_tqdm": True},
    }  # fmt: skip
    (workshop / "teacher.yaml").write_text(yaml.safe_dump(teacher))
    recipe = yaml.safe_load((workshop / "recipe.yaml").read_text())
    recipe |= {"teacher": {"recipe": "teacher.yaml"}, "baselines": {}, "student": {"start": "teacher", "dropout": 0.0}}
    recipe["paths"] = {"start": str(workshop / "teacher"), "bitext": str(workshop)}
    recipe["training"]["max_steps"] = 1
    (workshop / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return workshop


def test_one_command_makes_teacher_and_student_and_the_next_student_has_the_same_teacher(asked, capsys):
    assert main(["run", str(asked / "recipe.yaml")]) == 0
    made = asked / "made" / "model"
    assert load_checkpoint(asked / "run" / "student").config.vector_dim == load_checkpoint(made).config.vector_dim
    before = (made / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["run", str(asked / "recipe.yaml"), f"output={asked / 'other'}", "seed=1"]) == 0
    assert "made holds this run, and it is complete" in capsys.readouterr().out
    assert (made / "model.safetensors").stat().st_mtime_ns == before
    assert (asked / "other" / "student" / "config.json").is_file()


def test_a_dry_run_trains_no_teacher_and_says_that_the_run_would(asked, capsys):
    assert main(["run", str(asked / "recipe.yaml"), "--dry-run"]) == 0
    assert f"train     the teacher first, by {asked / 'teacher.yaml'}" in capsys.readouterr().out
    assert not (asked / "made").exists()


def test_a_teacher_cannot_be_there_and_be_made(asked):
    with pytest.raises(ValueError, match=r"teacher\.model is 'other', and teacher\.recipe makes .*leave one of them out"):
        Recipe.load(asked / "recipe.yaml", ["teacher.model=other"])


def test_the_written_recipe_is_read_again(asked):
    recipe = Recipe.load(asked / "recipe.yaml")
    assert Recipe.resolve(yaml.safe_load(recipe.to_yaml()), asked.parent).to_dict() == recipe.to_dict()


def test_the_teachers_folder_may_be_named(asked):
    recipe = Recipe.load(asked / "recipe.yaml", [f"teacher.output={asked / 'elsewhere'}"])
    assert recipe.teacher.model == str(asked / "elsewhere" / "model")


def test_a_collection_that_is_not_there_is_told_before_a_teacher_is_trained(asked, capsys):
    assert main(["run", str(asked / "recipe.yaml"), "evaluation.collections=[{path: gone}]"]) != 0
    assert "gone" in capsys.readouterr().err
    assert not (asked / "made").exists()
