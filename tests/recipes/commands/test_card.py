"""`optical card`: what a finished run's card takes on later."""

import json
import shutil

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from modeling_optical import OpticalModel
from modeling_optical.evaluation import ResultRow, read_results, write_results
from recipes.cli import main
from recipes.runs.recipe.distillation import Recipe
from recipes.runs.run_folder import RECORD_HEAD

ROW = ResultRow("optical", "sw", "emoji", "AP@100", 0.5, 0.4, 0.6, 60)


@pytest.fixture
def run(bert, tmp_path, monkeypatch):
    """Folder of a finished run, as small as one can be."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    torch.manual_seed(0)
    OpticalModel.from_backbone(bert, embedding_dim=8).save_pretrained(folder / "student")
    for name in ("one.tsv", "two.tsv"):
        (tmp_path / name).write_text("a\tb\n")
    sources = [{"path": name, "source": 0, "target": 1, "language": "sw"} for name in ("one.tsv", "two.tsv")]
    recipe = Recipe.of(
        {"language": "sw", "name": "tiny", "output": "run", "teacher": {"model": bert}, "data": {"bitext": sources}}
    )
    (folder / "recipe.yaml").write_text(RECORD_HEAD + recipe.to_yaml())
    record = {
        "recipe": recipe.to_dict(),
        "data": {"training pairs": 9, "bitext": {"read": {}, "kept": {}}},
        "files": {},
        "versions": {"torch": "2"},
        "machine": {"device": "cpu", "threads": 2},
        "processes": 1,
        "precision": "fp32",
        "seconds": {"total": 30.0},
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "report.md").write_text("# tiny, sw\n\ntext\n")
    write_results(folder / "results.json", [ROW])
    return folder


def card_of(run):
    return ModelCard.load(run / "student" / "README.md")


def test_licences_and_a_name_reach_the_card_and_stay(run, capsys):
    assert main(["card", str(run)]) == 0
    assert "It names no licence" in capsys.readouterr().out
    assert main(["card", str(run), "--license", "mit", "--bitext-license", "cc-by-4.0", "cc0-1.0", "--name", "mwalimu"]) == 0
    assert main(["card", str(run)]) == 0
    card = card_of(run)
    assert (card.data.license, card.data.model_name) == ("mit", "mwalimu")
    assert "# mwalimu" in card.text
    assert "cc-by-4.0" in card.text
    assert "cc0-1.0" in card.text
    assert (run / "report.md").read_text() == "# mwalimu, sw\n\ntext\n"
    assert yaml.safe_load((run / "recipe.yaml").read_text())["license"] == "mit"
    assert json.loads((run / "run.json").read_text())["seconds"] == {"total": 30.0}


def test_later_results_reach_the_card_beside_the_runs_own_and_stay(run, tmp_path):
    teacher = yaml.safe_load((run / "recipe.yaml").read_text())["teacher"]["model"].rpartition("/")[2]
    later = [
        ResultRow("student", "sw", "news", "AP@100", 0.6, 0.5, 0.7, 80),
        ResultRow(teacher, "sw", "news", "AP@100", 0.1, 0.0, 0.2, 80),
        ResultRow(teacher, "en", "news", "AP@100", 0.9, 0.8, 1.0, 80),
        ResultRow("bm25", "sw", "news", "AP@100", 0.2, 0.1, 0.3, 80),
    ]
    write_results(tmp_path / "evaluation" / "results.json", later)
    assert main(["card", str(run), "--add-results", str(tmp_path / "evaluation")]) == 0
    write_results(tmp_path / "again.json", [ResultRow("optical", "sw", "news", "AP@100", 0.7, 0.6, 0.8, 80)])
    assert main(["card", str(run), "--add-results", str(tmp_path / "again.json")]) == 0
    found = {(r.dataset_type, r.metric_value): r.metric_args for r in card_of(run).data.eval_results}
    assert set(found) == {("emoji", 0.5), ("news", 0.7)}
    assert found["news", 0.7] == {"low": 0.6, "high": 0.8, "queries": 80, "floor": 0.1, "ceiling": 0.9}
    assert "`bm25`" in card_of(run).text
    assert read_results(run / "results.json") == [ROW]


def test_results_of_another_students_run_are_refused(run, capsys):
    other = run.parent / "other-run"
    shutil.copytree(run, other)
    record = json.loads((other / "run.json").read_text())
    record["recipe"]["language"] = "so"
    (other / "run.json").write_text(json.dumps(record))
    assert main(["card", str(run), "--add-results", str(other)]) == 2
    assert "other-run is another student's run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run/student"], "run/student is not the folder of a run: give run."),
        (["nowhere"], "give the folder of `optical run` or `optical distill`"),
        (["run", "--bitext-license", "a", "b", "c"], "names 3 licences, and the run has 2 sources"),
        (["run", "--add-results", "missing"], "missing does not exist"),
        (["run", "--add-results", "other.json"], "systems there: stranger). Say which it is: --system NAME"),
    ],
)
def test_a_mistake_gets_a_sentence_and_leaves_the_card(run, capsys, arguments, message):
    write_results(run.parent / "other.json", [ResultRow("stranger", "sw", "news", "AP@100", 0.6, 0.5, 0.7, 80)])
    assert main(["card", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (run / "student" / "README.md").exists()


def test_a_run_that_has_not_ended_has_no_card_yet(run, capsys):
    (run / "run.json").unlink()
    assert main(["card", str(run)]) == 2
    assert "has not ended: start its command again" in capsys.readouterr().err
