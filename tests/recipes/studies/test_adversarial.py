"""The study of adversarial training: noise as measured, rivals of the same cost, a report that finds what is there."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recipes.cli import main
from recipes.runs.recipe.distillation import Recipe
from recipes.studies.cells import Cell, cells_of, distillation_recipe
from recipes.studies.reporting.results_table import StudyResults
from recipes.studies.reporting.training_costs import training_costs
from recipes.studies.reporting.write_report import write_report
from recipes.studies.study import load_study

from .test_reports import METRICS, written

STUDY = "recipes/studies/adversarial/study.yaml"
LEVELS = {"typos": [0.1, 0.2], "case": [1.0]}


def test_every_system_is_measured_on_every_noise_and_an_unchanged_query_keeps_its_value(finished):
    table = pd.read_parquet(finished["adversarial"] / "queries.parquet")
    clean = table[table["noise"] == "clean"]
    trained = {"start", "optical", "longer_2", "longer_4", "language_adversary", "fgm", "pgd", "freelb"}
    assert set(clean["system"]) == set(table["system"]) == {"floor", "bm25", "ceiling"} | trained
    noisy = table[table["noise"] != "clean"]
    assert "ceiling" not in set(noisy["system"])
    sizes = noisy.groupby(["cell", "system"]).size()
    assert set(sizes) == {6 * 4 * 24}
    keys = ["cell", "system", "collection", "language", "query"]
    both = noisy[noisy["noise"] == "diacritics"].merge(clean, on=keys, suffixes=("", "_clean"))
    assert (both["AP@20"] == both["AP@20_clean"]).all(), "the made-up languages have no diacritics"
    assert len(both) == len(noisy[noisy["noise"] == "diacritics"])


def test_what_is_measured_are_the_noisy_queries_themselves(finished):
    # BM25 knows no cipher: only a query with an English word in it finds anything.
    table = pd.read_parquet(finished["adversarial"] / "queries.parquet")
    bm25 = table[table["system"] == "bm25"].groupby(["noise", "level"])["AP@20"].mean()
    assert bm25["clean", 0.0] == bm25["typos", 0.2] == 0
    assert bm25["code_switching", 1.0] > 0.9


def test_the_counts_tell_noise_that_the_student_cannot_see(finished):
    counts = pd.read_csv(finished["adversarial"] / "noise.csv", keep_default_na=False)
    highest = counts[(counts["level"] == 1.0) & (counts["language"] == "sw")].set_index("noise")
    assert (highest.loc["case", "changed"], highest.loc["case", "seen"]) == (24, 0)
    assert highest.loc["diacritics", "why_not"] == "no letter of these queries has a diacritic that is left out in writing"
    assert highest.loc["word_order", "seen"] > 20
    text = (finished["adversarial"] / "report/report.md").read_text()
    assert "- case in sw: 24 of 24 queries change, 0 of them for the student's tokenizer (tiny)" in text
    assert "- diacritics in de: no letter of these queries has a diacritic" in text


def test_words_to_switch_are_those_of_the_bitext(finished):
    words = json.loads((finished["adversarial"] / "data/word_translations/sw.json").read_text())["words"]
    assert words["arevir"] == "river"


def test_a_study_measured_with_other_noise_is_refused(finished, capsys):
    output = str(finished["adversarial"])
    assert main(["study", STUDY, "--profile", "smoke", "--output", output, "query_noise.seed=1"]) == 2
    assert "was measured with other settings of query_noise" in capsys.readouterr().err


def smoke(*overrides: str, folder: str = "out"):
    places = [f"paths.{name}=folder/{name}" for name in ("teacher", "bitext", "collections")]
    return load_study(STUDY, "smoke", [*places, *overrides], folder)


def test_plain_training_has_as_many_updates_or_as_many_forward_passes_as_each_arm():
    recipe = distillation_recipe(smoke(), Cell("distil", "sw", 0))
    costs = {row["system"]: (row["updates"], row["passes"]) for row in training_costs(recipe.to_dict(), {})}
    assert costs == {
        "optical": (2, 2), "longer_2": (4, 4), "longer_4": (8, 8), "language_adversary": (2, 2), "fgm": (2, 4), "pgd": (2, 8),
        "freelb": (2, 8)}  # fmt: skip
    longer = distillation_recipe(smoke("distil.values.training.max_steps=5"), Cell("distil", "sw", 0))
    assert longer.baseline("longer_4").training["max_steps"] == 20


def test_epochs_have_no_cost_that_is_known_beforehand():
    recipe = Recipe(training={"num_train_epochs": 2}, baselines={}, language="sw")
    assert training_costs(recipe.to_dict(), {"training optical": 3.5}) == [
        {"system": "optical", "updates": None, "passes": None, "seconds": 3.5}
    ]


@pytest.mark.parametrize("profile", ["full", "local"])
def test_the_profiles_that_ship_resolve_in_every_cell_and_every_arm_has_its_rivals(profile):
    places = (
        ["paths.bitext=b", "paths.collections=c"]
        if profile == "local"
        else [f"paths.{n}=p" for n in ("lareqa", "tatoeba", "mewsli_x")]
    )
    study = load_study(STUDY, profile, places)
    cells = cells_of(study)
    recipes = {cell: distillation_recipe(study, cell) for cell in cells}
    assert {cell.seed for cell in cells if cell.stage == "distil"} == {0, 1, 2}
    costs = {row["system"]: row for row in training_costs(recipes[cells[-1]].to_dict(), {})}
    assert set(costs) == set(study.systems)
    for arm in study.report_options["arms"]:
        for equal in ("updates", "passes"):
            assert costs[arm][equal] in [costs[plain][equal] for plain in study.report_options["plain"]]
    if profile == "full":
        tested = {cell.language: len(recipe.evaluation.collections) for cell, recipe in recipes.items()}
        assert (tested["mul"], tested["de"], tested["zh"], tested["sw"]) == (3, 3, 2, 1)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["query_noise.levels.typos=[0.1, 2]"], "the level of typos is 2"),
        (["query_noise.levels.typo=[0.1]"], "'typo' is no kind of noise; there are: typos"),
        (["query_noise.levels.case=[0.5, 0.1]"], "give levels once each, the lowest first"),
        (["distil.times_updates.longer_2=0"], "times_updates.longer_2 is 0"),
        (["fine_tune={recipe: distil.yaml}"], "query_noise and fine_tune cannot go together"),
        (["fine_tune={recipe: distil.yaml, times_updates: {a: 2}}"], "only a distillation has baselines"),
    ],
)
def test_a_slip_is_named(overrides, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        smoke(*overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["query_noise=null"], "set `query_noise.levels`"),
        (["report_options.margin=0"], "margin is 0"),
        (["report_options.arms=[fgn]"], "Did you mean 'fgm'"),
        (["distil.times_updates={longer_3: 3}"], "Did you mean 'longer_4'"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_computed(tmp_path, capsys, overrides, message):
    assert main(["study", STUDY, "--profile", "smoke", "--output", str(tmp_path / "out"), *overrides]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/cells").exists()


@pytest.mark.slow
def test_a_cell_that_stopped_between_two_students_measures_only_those_that_are_left(tmp_path):
    arguments = [
        "study",
        STUDY,
        "--profile",
        "smoke",
        "--output",
        str(tmp_path),
        "keep_models=true",
        "sweeps=[{language: [sw]}]",
    ]
    assert main(arguments) == 0
    cell = tmp_path / "cells/distil-sw-seed_0"
    before = pd.read_parquet(tmp_path / "queries.parquet")
    times = {path: path.stat().st_mtime_ns for path in cell.glob("noise/*.parquet")}
    (cell / "cell.json").unlink()
    (cell / "noise/fgm.parquet").unlink()
    assert main(arguments) == 0
    changed = {path.stem for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {"fgm"}
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "queries.parquet"), before)


COUNT = 400


def measured(effects: dict[str, tuple[float, float]], rng: np.random.Generator, seeds: int = 3) -> list[dict]:
    """Rows of systems with a true clean value and a true loss by the strongest typos (half of it by the weaker)."""
    found = []
    for language in ("sw", "de"):
        shared = rng.normal(0, 0.05, COUNT)
        for system, (clean, drop) in effects.items():
            for noise, level, lost in (("clean", 0.0, 0.0), ("typos", 0.1, drop / 2), ("typos", 0.2, drop), ("case", 1.0, 0.0)):
                values = clean - lost + shared + rng.normal(0, 0.02, (seeds, COUNT))
                key = {"stage": "distil", "student": language, "system": system, "collection": "tiny", "language": language}
                found += [
                    {"cell": f"{language}-{seed}", "seed": seed, "query": f"q{q}", "noise": noise, "level": level} | key
                    | dict.fromkeys([*METRICS, "AP@20", "Success@1"], value)
                    for seed in range(seeds)
                    for q, value in enumerate(values[seed])
                ]  # fmt: skip
    return found


def results(found: list[dict], folder: Path, case_seen: int = 0) -> StudyResults:
    study = smoke(f"query_noise.levels={json.dumps(LEVELS)}", "query_noise.levels.case=[1.0]", folder=str(folder))
    study.query_noise.levels = LEVELS
    cells = pd.DataFrame([{"cell": "a", "stage": "distil", "state": "done", "seconds": "1.0", "error": ""}])
    costs = training_costs(distillation_recipe(study, Cell("distil", "sw", 0)).to_dict(), {"training fgm": 2.0})
    trainings = [{"student": code, "seed": 0} | row for code in ("sw", "de") for row in costs]
    provenance = {"versions": {}, "machine": {}, "files": {}, "training pairs": {}, "trainings": trainings}
    counts = [
        {"student": code, "seed": 0, "collection": "tiny", "language": code, "noise": kind, "level": level, "queries": COUNT,
         "applicable": COUNT, "changed": COUNT, "seen": COUNT if kind == "typos" else case_seen, "units": 4000, "why_not": ""}
        for code in ("sw", "de") for kind, levels in LEVELS.items() for level in levels
    ]  # fmt: skip
    return StudyResults(study, pd.DataFrame(found), cells, [], provenance, pd.DataFrame(counts))


PLAIN = {"optical": (0.5, 0.2), "longer_2": (0.5, 0.2), "longer_4": (0.5, 0.2)}


def test_an_arm_that_is_more_robust_and_does_no_harm_is_found_and_said_first(tmp_path):
    found = measured(PLAIN | {"fgm": (0.5, 0.1)}, np.random.default_rng(0))
    answer = write_report(results(found, tmp_path))
    assert "against plain training with as many updates, scores on noisy queries are higher in 2, lower in 0" in answer
    assert "noise costs less in 2, more in 0 of them" in answer
    assert "high-resource languages (de) a loss of 0.5 points is ruled out in 2 of 2 comparisons and shown in 0" in answer
    first = "Yes, in 2 of 2 comparisons: with as many forward passes, adversarial training finds more with noisy queries"
    assert written(tmp_path).split("\n\n")[1] == f"**{first}, and it does not harm clean queries of high-resource languages.**"
    comparisons = pd.read_csv(tmp_path / "report/tables/comparisons.csv").set_index("equal")
    # Typos at two levels cost 0.075 less in the mean; the noise that no student sees does not count.
    assert comparisons.loc["updates", "noisy"] == pytest.approx(0.075, abs=0.005)
    assert comparisons.loc["updates", "drop"] == pytest.approx(-0.075, abs=0.005)
    assert comparisons.loc["passes", "rival"] == "longer_2"


def test_noise_that_is_not_seen_dilutes_nothing_and_is_named(tmp_path):
    found = measured(PLAIN | {"fgm": (0.5, 0.1)}, np.random.default_rng(0))
    write_report(results(found, tmp_path / "unseen"))
    write_report(results(found, tmp_path / "seen", case_seen=COUNT))
    means = [
        pd.read_csv(tmp_path / name / "report/tables/summary.csv").set_index("system").loc["optical", "drop"]
        for name in ("unseen", "seen")
    ]
    assert means == pytest.approx([0.15, 0.1], abs=0.005)
    assert "case in sw: 400 of 400 queries change, 0 of them for the student's tokenizer" in written(tmp_path / "unseen")
    assert "Noise that says nothing" not in written(tmp_path / "seen")


def test_harm_to_high_resource_languages_is_said(tmp_path):
    answer = write_report(results(measured(PLAIN | {"fgm": (0.45, 0.1)}, np.random.default_rng(0)), tmp_path))
    assert "a loss of 0.5 points is ruled out in 0 of 2 comparisons and shown in 2" in answer
    table = pd.read_csv(tmp_path / "report/tables/non_inferiority.csv")
    assert set(table["language"]) == {"de"}
    assert (table["clean_lower"] < -0.04).all()
    assert "| inferior |" in written(tmp_path)
    assert "and it harms clean queries of high-resource languages in 2 of 2.**" in written(tmp_path)


def test_no_difference_is_not_distinguishable(tmp_path):
    answer = write_report(results(measured(PLAIN | {"fgm": (0.5, 0.2)}, np.random.default_rng(2)), tmp_path))
    assert "higher in 0, lower in 0 and not distinguishable in 2 of 2 comparisons" in answer
    assert answer.startswith("No gain was found: with as many forward passes")


def test_an_arm_with_the_same_rival_twice_is_tested_once(tmp_path):
    write_report(results(measured(PLAIN | {"language_adversary": (0.5, 0.2)}, np.random.default_rng(0)), tmp_path))
    table = pd.read_csv(tmp_path / "report/tables/tests.csv")
    assert table["equal"].tolist() == ["both", "both"]


def test_without_a_plain_training_beside_them_nothing_is_answered(tmp_path):
    answer = write_report(results(measured({"fgm": (0.5, 0.1)}, np.random.default_rng(0)), tmp_path))
    assert "the question is not answered" in answer
    written(tmp_path)


def test_clean_values_stand_beside_noisy_ones_of_the_same_queries(tmp_path):
    """Noise that costs nothing, on queries that are harder than the others: the curve is level."""
    found = measured(dict.fromkeys(PLAIN, (0.5, 0.0)), np.random.default_rng(3))
    harder = {f"q{q}" for q in range(COUNT // 4)}
    for row in found:
        if row["query"] in harder:
            row |= {name: row[name] - 0.2 for name in [*METRICS, "AP@20", "Success@1"]}
    found = [row for row in found if row["noise"] == "clean" or row["query"] in harder]
    write_report(results(found, tmp_path))
    summary = pd.read_csv(tmp_path / "report/tables/summary.csv").set_index("system")
    row = summary.loc["optical"]
    assert row["clean"] == pytest.approx(row["noisy"], abs=0.03)
    curve = pd.read_csv(next((tmp_path / "report/figures").glob("robustness_*.csv")))
    levels = curve[(curve["system"] == "optical") & (curve["noise"] == "typos")].set_index("level")["value"]
    assert levels.max() - levels.min() < 0.03


def test_references_alone_answer_nothing_and_say_so(tmp_path):
    found = pd.DataFrame(measured({"floor": (0.5, 0.1)}, np.random.default_rng(0), 1)).assign(stage="reference", seed=-1)
    assert "No student ended well" in write_report(results(found.to_dict("records"), tmp_path))
