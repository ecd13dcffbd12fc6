"""The page of all answers, from stored reports."""

from pathlib import Path

import pytest

from recipes.cli import main
from recipes.studies.reporting.answers_page import STUDIES, answers_page

DOCS = Path(__file__).parents[3] / "docs" / "studies"


def test_the_stored_page_is_what_the_stored_reports_say():
    assert (DOCS / "README.md").read_text(encoding="utf-8") == answers_page(DOCS)


def test_an_answer_is_the_first_paragraph_and_a_study_without_a_report_is_not_run(tmp_path):
    (tmp_path / "variance").mkdir()
    provenance = "- Command: `optical study x --profile local`.\n- Runs: 3 distil; seeds 0, 1; 2.0 hours of computing."
    report = f"# Which?\n\n**Yes.**\n\nNumbers.\n\n## Provenance\n\n{provenance}\n\n## What would change this answer\n\n- More."
    (tmp_path / "variance" / "report.md").write_text(report + "\n", encoding="utf-8")
    assert main(["study", "--answers", str(tmp_path)]) == 0
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "## Which?\n\n**Yes.**\n\nFrom profile local, 3 distil, seeds 0, 1. [Report](variance/report.md)" in page
    assert page.count("**Not run.**") == len(STUDIES) - 1
    assert page.index("Which?") < page.index("Does adversarial training")


def test_a_report_without_an_answer_and_a_command_without_a_study_are_named(tmp_path, capsys):
    (tmp_path / "domain").mkdir()
    (tmp_path / "domain" / "report.md").write_text("# Which?\n\nHm.\n\nMore.\n")
    with pytest.raises(ValueError, match=r"domain/report\.md: it does not begin with a question and its answer in bold"):
        answers_page(tmp_path)
    assert main(["study"]) != 0
    assert "which study? Name its YAML file" in capsys.readouterr().err
