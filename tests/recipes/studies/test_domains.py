"""Several domains of bitext: gains inside and outside of the domain are those of the data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recipes.studies.reporting.results_table import StudyResults
from recipes.studies.reporting.write_report import write_report
from recipes.studies.study import load_study

DOMAINS = ("news", "stories", "scripture")


def rows(system: str, stage: str, domain: str, gains: dict[str, float], right: int, rng: np.random.Generator) -> list[dict]:
    keys = {"cell": f"{stage}-{domain}", "stage": stage, "student": "sw", "seed": -1 if stage == "reference" else 0}
    keys |= {"domain": domain, "system": system, "language": "sw"}
    retrieval = [
        keys | {"collection": name, "query": f"s{q}", "nDCG@10": 0.5 + gains.get(name, 0.0) + rng.normal(0, 0.01)}
        for name in DOMAINS
        for q in range(40)
    ]
    answers = [keys | {"collection": "xcopa-test", "query": f"xcopa/{q}", "accuracy": float(q < right)} for q in range(60)]
    return retrieval + answers


def test_gains_inside_and_outside_of_the_domain_are_told_apart(tmp_path: Path):
    rng = np.random.default_rng(0)
    found = rows("floor", "reference", "all", {}, 30, rng) + rows("ceiling", "reference", "all", {}, 50, rng)
    for domain in DOMAINS:
        found += rows("optical", "distil", domain, {name: 0.2 if name == domain else 0.05 for name in DOMAINS}, 50, rng)
    places = [f"paths.{name}=x" for name in ("start", "bitext", "collections", "questions")]
    study = load_study(
        "recipes/studies/domain/study.yaml", "multilingual", [*places, "metrics=[nDCG@10, accuracy]"], str(tmp_path)
    )
    cells = pd.DataFrame([{"cell": "a", "stage": "distil", "state": "done", "seconds": "1.0", "error": ""}])
    provenance = {"versions": {}, "machine": {}, "files": {}, "training pairs": {}}
    answer = write_report(StudyResults(study, pd.DataFrame(found), cells, [], provenance))
    assert answer.startswith("In sw, bitext of one domain helps retrieval in that domain (+")
    told = "more there than in the others; on multiple choice there, accuracy rises significantly with 3 of 3 domains and falls"
    assert f"{told} with 0." in answer
    gains = pd.read_csv(tmp_path / "report/tables/gains.csv").set_index("side")["gain"]
    assert gains["inside"] == pytest.approx(0.2, abs=0.01)
    assert gains["inside less outside"] == pytest.approx(0.15, abs=0.01)
