"""A student never ends below its start on held-out bitext; and it may learn the teacher's space before it sees bitext."""

import json
import shutil

import pytest
import torch
import yaml

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.evaluation import read_results
from recipes.cli import main
from trainer.distillation.selection import Candidate, Selection, SelectionOptions, select_weights


def changed(workshop, **changes):
    recipe = yaml.safe_load((workshop / "recipe.yaml").read_text())
    for key, values in changes.items():
        recipe[key] = recipe.get(key, {}) | values if isinstance(values, dict) else values
    (workshop / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return workshop / "run"


def same(one, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())


def test_what_training_makes_worse_is_not_shipped(workshop, capsys):
    run = changed(
        workshop, selection={"shares": [0.0]}, training={"learning_rate": 100.0, "max_steps": 2}, data={"held_out": 0.3}
    )
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    found = json.loads((run / "student" / "selection.json").read_text())
    assert found["chosen"]["weights"] == "start"
    assert same(load_checkpoint(run / "student"), load_checkpoint(run / "start"))
    assert "Nothing that training gave beats the start" in capsys.readouterr().out
    first = (run / "report.md").read_text().split("\n\n")[1]
    assert first.startswith("Nothing that training gave beats the start")


@pytest.mark.parametrize("best", ["start", "checkpoint-2", "last", "mean"])
def test_the_student_gets_the_weights_that_score_best(bert, tmp_path, best):
    student, checkpoint = load_checkpoint(bert), load_checkpoint(bert)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    name = "backbone.embeddings.LayerNorm.bias"

    def shift(model, value):
        state = {key: original.clone() for key, original in start.items()}
        state[name] = start[name] + value
        model.load_state_dict(state)

    shift(checkpoint, 1.0)
    checkpoint.save_pretrained(tmp_path / "checkpoint-2")
    shift(student, 4.0)
    wanted = {"start": 0.0, "checkpoint-2": 1.0, "last": 4.0, "mean": 2.0}[best]

    class Score:
        bitext = range(7)

        def __call__(self, model):
            return -(model.state_dict()[name] - start[name] - wanted).abs().mean().item()

    found = select_weights(student, start, [tmp_path / "checkpoint-2"], Score(), SelectionOptions(shares=[0.0, 0.5]))
    assert found.chosen.score == max(candidate.score for candidate in found.candidates)
    torch.testing.assert_close(student.state_dict()[name], start[name] + wanted)
    assert found.chosen.share == {"start": 1.0, "mean": 0.5}.get(best, 0.0)


def selection_of_equals(bert, options):
    """What is chosen where all weights score the same."""
    student = load_checkpoint(bert)
    start = {name: value.clone() for name, value in student.state_dict().items()}

    class Score:
        bitext = range(3)

        def __call__(self, model):
            return 0.5

    return select_weights(student, start, [], Score(), options)


def test_of_equals_the_one_nearest_to_the_start_is_taken(bert):
    assert selection_of_equals(bert, SelectionOptions()).chosen.weights == "start"


def test_the_sentence_tells_what_was_chosen():
    candidates = [Candidate("start", 1.0, 0.4), Candidate("last", 0.0, 0.5), Candidate("last", 0.25, 0.6)]
    found = str(Selection(candidates[2], candidates, 1200))
    assert found == (
        "Chosen on 1,200 held-out pairs: 25% of the start and 75% of the last weights (0.600; start 0.400, last weights 0.500)."
    )
    del candidates[1]  # `shares` may leave the last weights themselves out
    assert str(Selection(candidates[1], candidates, 1200)).endswith("(0.600; start 0.400).")


def test_only_the_shares_that_are_named_are_compared(bert):
    found = selection_of_equals(bert, SelectionOptions(shares=[0.5]))
    assert [(one.weights, one.share) for one in found.candidates] == [("start", 1.0), ("last", 0.5)]


@pytest.mark.parametrize(("key", "message"), [
    ("selection.shares=[2]", "selection.shares is"),
    ("selection.shares=[1]", "that is the start alone"),
    ("selection.checkpoints=-1", "selection.checkpoints is -1"),
    ("data.held_out=0", "held-out bitext: set data.held_out above 0"),
])  # fmt: skip
def test_a_selection_that_cannot_be_made_is_refused(workshop, capsys, key, message):
    changed(workshop, selection={"shares": [0.0]})
    assert main(["run", str(workshop / "recipe.yaml"), key]) != 0
    assert message in capsys.readouterr().err


def test_a_student_learns_the_teachers_space_before_the_bitext(workshop, capsys):
    (workshop / "more.jsonl").write_text("".join(json.dumps({"text": f"good work number {n} ."}) + "\n" for n in range(40)))
    texts = {"path": "more.jsonl", "source": "text", "language": "en"}
    changed(workshop, student={"prealign": {"texts": [texts], "max_texts": 30, "training": {"max_steps": 3}}})
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    run = workshop / "run"
    assert {row.system for row in read_results(run / "results.json")} >= {"start", "prealigned", "optical"}
    start, aligned, student = (load_checkpoint(run / name) for name in ("start", "prealigned", "student"))
    assert not same(start, aligned)
    assert not same(aligned, student)
    assert type(aligned) is OpticalModel
    log = json.loads((run / "prealigned" / "training_log.json").read_text())
    assert log[-1]["step"] == 3
    assert "] training prealigned; about" in capsys.readouterr().out
    # Started again, nothing is trained twice.
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    assert "Training prealigned" not in capsys.readouterr().out


def test_without_texts_of_its_own_the_bitexts_english_side_is_taken(workshop):
    changed(workshop, student={"prealign": {"training": {"max_steps": 1}}}, baselines={})
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    assert (workshop / "run/prealigned/config.json").is_file()


def test_code_switched_pairs_are_counted_and_trained_on(workshop, capsys):
    changed(workshop, data={"code_switching": {"share": 1.0}}, baselines={})
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    added = json.loads((workshop / "run/run.json").read_text())["data"]["switched pairs"]
    assert added > 0
    assert f"Code-switched pairs added: {added}" in capsys.readouterr().out


def test_the_verdict_on_held_out_pairs_says_that_the_weights_were_chosen_on_them(workshop):
    run = changed(workshop, selection={"shares": [0.0]}, data={"held_out": 0.3}, baselines={})
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    paragraphs = (run / "report.md").read_text().split("\n\n")
    told = [text for text in paragraphs if "which favours the student" in text]
    assert told
    assert all(text.startswith("held_out_bitext") for text in told)


def test_a_run_that_goes_on_after_the_teachers_space_reads_none_of_its_texts(workshop, capsys, monkeypatch):
    changed(workshop, student={"prealign": {"training": {"max_steps": 1}}}, baselines={})
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    shutil.rmtree(workshop / "run/student")
    (workshop / "run/report.md").unlink()
    monkeypatch.setattr("recipes.runs.distillation_run.load_prealignment", None)
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    assert "prealigned: trained already" in capsys.readouterr().out
    assert (workshop / "run/student/config.json").is_file()
