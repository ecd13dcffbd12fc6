"""The ranking of systems, from tables whose truth is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recipes.studies.cells import cells_of, distillation_recipe
from recipes.studies.reporting.results_table import StudyResults, with_question
from recipes.studies.reporting.write_report import write_report
from recipes.studies.study import load_study

from .test_reports import queries, rows, written

LANGUAGES = ("sw", "fi", "de")


def results(found: list[dict], folder: Path) -> StudyResults:
    study = load_study("recipes/seven_languages/table.yaml", "smoke", ["metrics=[AP@100, RR@10, nDCG@10]"], str(folder))
    cells = pd.DataFrame([{"cell": "a", "stage": "distil", "state": "done", "seconds": "1.0", "error": ""}])
    provenance = {"versions": {"torch": "2"}, "machine": {"device": "cpu"}, "files": {}, "training pairs": {}}
    return StudyResults(study, pd.DataFrame(found), cells, [], provenance)


def ranked(lead: float, languages: tuple[str, ...] = LANGUAGES) -> list[dict]:
    rng = np.random.default_rng(0)
    found = []
    for code in LANGUAGES:
        shared = queries(0.5, rng)
        for system, value in (("floor", 0.1), ("ceiling", 0.9)):
            found += rows(system, code, np.full((1, 60), value), stage="reference")
        found += rows("pooled_mse", code, shared)
        found += rows("greedy", code, np.clip(shared - 0.01 + rng.normal(0, 0.1, shared.shape), 0, 1))
        if code in languages:
            found += rows("optical", code, np.clip(shared + lead + rng.normal(0, 0.01, shared.shape), 0, 1))
    return found


def test_the_best_system_and_its_lead_are_said_first(tmp_path):
    answer = write_report(results(ranked(0.1), tmp_path))
    assert answer.startswith("On tiny, default has the highest mean AP@100 (0.6")
    assert "above pooled MSE in 3 of 3 languages (3 beyond chance)" in answer
    tests = pd.read_csv(tmp_path / "report/tables/tests.csv")
    lead = tests[tests["system"] == "pooled_mse"]
    assert lead["difference"].to_numpy() == pytest.approx(0.1, abs=0.01)
    assert (lead["low"] < lead["difference"]).all()
    assert (lead["holm"] < 0.05).all()


def test_a_system_below_another_is_not_said_to_be_above(tmp_path):
    answer = write_report(results(ranked(-0.1), tmp_path))
    assert answer.startswith("On tiny, pooled MSE has the highest mean")
    assert "above pooled MSE in 0 of 3 languages (0 beyond chance)" in answer


def test_the_way_from_floor_to_ceiling_is_the_share_that_is_gone(tmp_path):
    write_report(results(ranked(0.1), tmp_path))
    line = next(line for line in written(tmp_path).splitlines() if "way from floor to ceiling" in line)
    assert [int(cell.strip(" %")) for cell in line.split("|")[3:6]] == pytest.approx([62, 62, 62], abs=2)


def test_a_missing_language_leaves_a_gap_and_no_mean(tmp_path):
    write_report(results(ranked(0.1, languages=("sw", "de")), tmp_path))
    line = next(line for line in written(tmp_path).splitlines() if line.startswith("| default |"))
    assert line.split("|")[2].strip() == "–"
    assert line.split("|")[4].strip() == "–"


def test_without_any_language_of_the_macro_average_the_mean_is_over_those_that_were_run(tmp_path):
    only = [row for row in ranked(0.1) if row["language"] == "de"]  # the study averages over sw and fi
    answer = write_report(results(only, tmp_path))
    assert answer.startswith("On tiny, default has the highest mean AP@100 (0.5")


def test_seeds_that_differ_between_languages_give_a_mean_without_an_interval(tmp_path):
    found = [row for row in ranked(0.1) if not (row["language"] == "fi" and row["seed"] == 2)]
    write_report(results(found, tmp_path))
    summary = pd.read_csv(tmp_path / "report/tables/panel_1.csv").set_index("system")
    assert summary.loc["optical", "mean"] == pytest.approx(0.6, abs=0.02)
    assert np.isnan(summary.loc["optical", "mean_low"])
    assert summary.loc["floor", "mean"] == pytest.approx(0.1)


def test_the_report_names_the_file_that_was_started(tmp_path):
    write_report(results(ranked(0.1), tmp_path))
    assert "`optical study recipes/seven_languages/table.yaml --profile smoke`" in written(tmp_path)


@pytest.mark.parametrize(
    "profile", ["screening", "combinations", "finalists", "local", "longer", "warm", "sizes", "full", "xlmr"]
)
def test_every_profile_of_the_table_gives_recipes_whose_systems_are_named(profile, tmp_path):
    folders = ["paths.bitext=x", "paths.collections=y", "paths.warm=z"]
    study = load_study("recipes/seven_languages/table.yaml", profile, folders, str(tmp_path))
    recipes = [distillation_recipe(study, cell) for cell in cells_of(study) if cell.stage == "distil"]
    assert recipes
    for recipe in recipes:
        assert {"optical", *recipe.baselines} == set(study.systems)
        for name in recipe.baselines:
            assert recipe.baseline(name).objectives


def test_the_runs_of_one_study_answer_the_question_of_another(tmp_path):
    found = ranked(0.1)
    ours = results(found, tmp_path / "table")
    other = load_study(
        "recipes/studies/variance/study.yaml",
        "smoke",
        ["systems={optical: transport, pooled_mse: pooled MSE}", "report_options.against=pooled_mse"],
        str(tmp_path / "variance"),
    )
    answer = write_report(with_question(ours, other))
    assert answer.startswith("No difference was found: on tiny")
    text = written(tmp_path / "variance")
    assert "all of them of the study `table`, profile smoke" in text
    assert "greedy" not in text


def test_runs_without_the_systems_of_a_question_are_refused(tmp_path):
    ours = results(ranked(0.1), tmp_path / "table")
    other = load_study(
        "recipes/studies/variance/study.yaml", "smoke", ["systems={a: b}", "report_options={main: a, against: a}"]
    )
    with pytest.raises(ValueError, match="it has the systems optical, pooled_mse, greedy"):
        with_question(ours, other)
