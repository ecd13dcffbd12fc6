"""`optical align` on a tiny student."""

import pytest
import torch

from modeling_optical import OpticalModel
from recipes.cli import main


@pytest.fixture
def student(bert, tmp_path):
    torch.manual_seed(0)
    teacher = OpticalModel.from_backbone(bert, embedding_dim=8)
    for name in ("teacher", "student"):
        teacher.config.teacher = str(tmp_path / "teacher") if name == "student" else None
        teacher.save_pretrained(tmp_path / name)
    return tmp_path / "student"


@pytest.mark.parametrize("name", ["plan.png", "plan.html"])
def test_the_plan_of_a_pair_is_written_and_printed_with_the_teacher_that_the_student_names(student, tmp_path, capsys, name):
    assert main(["align", str(student), "the cat sat", "the cat sat", "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / name).is_file()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["the", "the"], ["cat", "cat"], ["sat", "sat"]]


def test_two_encoders_stand_side_by_side_in_a_page(student, tmp_path):
    arguments = ["align", str(student), "the cat", "paka", "-o", str(tmp_path / "plan.html")]
    assert main([*arguments, "--compare", str(tmp_path / "teacher")]) == 0
    assert (tmp_path / "plan.html").read_text().count("<figure") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["the cat", "paka", "-o", "plan.doc"], "it must end in one of .png, .svg, .pdf, .html"),
        (["the cat", " "], "the translation is empty: give a few words"),
        (["the cat", "paka", "--compare", "x"], "give an --output that ends in .html"),
    ],
)
def test_a_mistake_gets_a_sentence(student, capsys, arguments, message):
    assert main(["align", str(student), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_student_that_names_no_teacher_asks_for_one(student, tmp_path, capsys):
    assert main(["align", str(tmp_path / "teacher"), "a", "b", "-o", str(tmp_path / "plan.html")]) == 2
    assert "does not say what it was distilled from: give its teacher with --teacher" in capsys.readouterr().err
