"""The answers of all studies that ship, on one page, from the reports that are stored."""

from __future__ import annotations

import re
from pathlib import Path

from modeling_optical.files.atomic_write import write_text

from ...checked_yaml import PACKAGE_FOLDER, read_values

STUDIES = ("variance", "adversarial", "low_resource", "domain", "image_text")
"""In the page's order."""
_FACTS = (r"--(profile \w+)", r"^- Runs: ([^;]+)", r"; (seeds [\d, ]+)")
_OPENING = """# Five questions and their answers

`optical study --answers docs/studies` writes this page from the reports in this folder. Each answer is the first paragraph of
its report. The report has tables and tests, and says what was reduced and what would change the answer."""


def write_answers(folder: Path) -> Path:
    """Writes `README.md` from the reports `NAME/report.md` in a folder.

    Raises:
        ValueError: for a report without a question and an answer.
    """
    return write_text(folder / "README.md", answers_page(folder))


def answers_page(folder: Path) -> str:
    """The page: each study's question, answer and what it was run on; a study without a report is named as not run."""
    return "\n\n".join([_OPENING, *(_answer(folder, name) for name in STUDIES)]) + "\n"


def _answer(folder: Path, name: str) -> str:
    report = folder / name / "report.md"
    if not report.is_file():
        question = read_values(PACKAGE_FOLDER / "studies" / name / "study.yaml")[0]["question"]
        link = f"[design](../../recipes/studies/{name}/README.md)"
        return f"## {question}\n\n**Not run.** There is no report of this study on real data here ({link})."
    paragraphs = report.read_text(encoding="utf-8").split("\n\n")
    if len(paragraphs) < 3 or not paragraphs[0].startswith("# ") or not paragraphs[1].startswith("**"):
        raise ValueError(
            f"{report}: it does not begin with a question and its answer in bold. Write it anew with --report-only."
        )
    provenance = next((one for one in paragraphs if one.startswith("- Command: ")), "")
    facts = [found[1] for pattern in _FACTS if (found := re.search(pattern, provenance, re.MULTILINE))]
    basis = f"From {', '.join(facts)}." if facts else ""
    return f"#{paragraphs[0]}\n\n{paragraphs[1]}\n\n{basis} [Report]({name}/report.md), [about this run]({name}/README.md)."
