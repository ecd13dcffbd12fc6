"""The precision of a run: decided once, kept, recorded."""

import json
import re

from modeling_optical.precision import VARIABLE
from recipes.cli import main
from recipes.runs.skeleton import PRECISION_FILE


def test_a_run_keeps_the_precision_that_it_began_with_and_says_it_on_record_and_card(workshop, monkeypatch, capsys):
    short = ["baselines={}", "student.vocabulary=null", "evaluation.examples=0", "training.max_steps=2"]
    command = ["run", str(workshop / "recipe.yaml"), *short]
    monkeypatch.setenv(VARIABLE, "bf16")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert f"Precision: bf16 ({VARIABLE}=bf16)" in said
    assert re.search("this run (will take|takes) about", said, re.IGNORECASE)
    assert "[2/3] training optical; about" in said
    run = workshop / "run"
    assert json.loads((run / "run.json").read_text())["precision"] == "bf16"
    assert ", in bf16" in (run / "student" / "README.md").read_text()
    monkeypatch.setenv(VARIABLE, "fp32")
    assert main(command) == 0
    assert json.loads((run / "run.json").read_text())["precision"] == "bf16"
    assert main([*command, "--overwrite", "training.precision=bf16"]) == 0
    assert json.loads((run / PRECISION_FILE).read_text())["name"] == "fp32"
    assert ", in bf16" in (run / "student" / "README.md").read_text()


def test_a_run_that_never_began_settles_no_precision(workshop):
    command = ["run", str(workshop / "recipe.yaml"), "baselines={}", "evaluation.examples=0", "training.max_steps=1"]
    pairs = (workshop / "bitext.jsonl").rename(workshop / "elsewhere.jsonl")
    assert main([*command, "precision=bf16"]) == 2
    pairs.rename(workshop / "bitext.jsonl")
    assert main([*command, "precision=fp32"]) == 0
    assert json.loads((workshop / "run" / "run.json").read_text())["precision"] == "fp32"
    assert ", in fp32" in (workshop / "run" / "student" / "README.md").read_text()


def test_a_wrong_precision_is_an_error_before_anything_is_computed(workshop, capsys):
    assert main(["run", str(workshop / "recipe.yaml"), "precision=half"]) == 2
    assert "precision is 'half'; allowed: auto, bf16, fp16, fp32" in capsys.readouterr().err
    assert not (workshop / "run").exists()
