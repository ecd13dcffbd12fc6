"""Reports from tables whose truth is known, and from tables with gaps: never not a number, every gap said."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recipes.studies.low_resource.grid import weights_of_area, weights_of_slope
from recipes.studies.reporting.comparisons import difference
from recipes.studies.reporting.estimates import Estimate, chance, estimate, number
from recipes.studies.reporting.results_table import StudyResults
from recipes.studies.reporting.table import markdown_table, numbers_of, pivoted, shown_table, signed
from recipes.studies.reporting.write_report import write_report
from recipes.studies.study import load_study

METRICS = ["nDCG@10", "AP@100", "RR@10", "R@100"]


def rows(
    system: str, language: str, values: np.ndarray, *, student: str = "", stage: str = "distil", **factors: str
) -> list[dict]:
    """Rows of a table (seeds, queries); one row of seed -1 for a reference."""
    seeds = [-1] if stage == "reference" else range(len(values))
    return [
        {"cell": f"{stage}-{language}-{seed}", "stage": stage, "student": student or language, "seed": seed} | factors
        | {"system": system, "collection": "tiny", "language": language, "query": f"q{q}"} | dict.fromkeys(METRICS, value)
        for seed, own in zip(seeds, np.atleast_2d(values), strict=True)
        for q, value in enumerate(own)
    ]  # fmt: skip


def results(name: str, found: list[dict], folder: Path, *overrides: str) -> StudyResults:
    study = load_study(f"recipes/studies/{name}/study.yaml", "smoke", overrides, str(folder))
    cells = pd.DataFrame([{"cell": "a", "stage": "distil", "state": "done", "seconds": "1.0", "error": ""}])
    provenance = {"versions": {"torch": "2"}, "machine": {"device": "cpu"}, "files": {}, "training pairs": {}}
    return StudyResults(study, pd.DataFrame(found), cells, [], provenance)


def written(folder: Path) -> str:
    """All texts of a report; there must be no number that is none in any of them."""
    texts = {path: path.read_text() for path in folder.glob("report/**/*") if path.suffix in (".md", ".csv", ".tex")}
    for path, text in texts.items():
        assert not re.search(r"\b(nan|NaN|inf|None)\b", text), path
    return texts[folder / "report/report.md"]


def queries(mean: float, rng: np.random.Generator, count: int = 60, seeds: int = 3) -> np.ndarray:
    return np.clip(mean + rng.normal(0, 0.05, (1, count)) + rng.normal(0, 0.005, (seeds, count)), 0, 1)


def variance_rows(rng: np.random.Generator, spread: float) -> list[dict]:
    found = []
    codes = ["sw", "fi", "de", "so", "tl", "mr", "fr", "es"]
    shared = rng.normal(0, 1, 8)
    for code, place in zip(codes, shared, strict=True):
        found += rows("optical", code, queries(0.5 + 0.02 * place, rng))
        found += rows("contrastive", code, queries(0.5 + spread * place, rng))
    return found


GROUPS = {"low": ("sw", "so", "tl", "mr"), "medium": ("fi",), "high": ("de", "fr", "es")}
EIGHT = f"languages={json.dumps({code: {'group': group} for group, codes in GROUPS.items() for code in codes})}"


def test_a_smaller_variance_is_found_and_said_first(tmp_path):
    answer = write_report(results("variance", variance_rows(np.random.default_rng(0), 0.12), tmp_path, EIGHT))
    assert "smaller with transport" in answer
    text = written(tmp_path)
    first = text.split("\n\n")[1]
    assert first == "**Yes: on tiny, scores vary less between languages with transport than with contrastive.**"
    assert answer.startswith(first.strip("*"))
    table = pd.read_csv(tmp_path / "report/tables/tests.csv").iloc[0]
    assert table["deviations"] < 0
    assert table["deviations_high"] < 0
    assert table["permutation_holm"] < 0.05


def test_the_same_variance_is_called_not_told_apart(tmp_path):
    answer = write_report(results("variance", variance_rows(np.random.default_rng(0), 0.02), tmp_path, EIGHT))
    assert "is not distinguishable between the two" in answer
    assert answer.startswith("No difference was found: on tiny, scores vary about as much between languages with transport as")
    ending = written(tmp_path).rstrip().splitlines()[-1]
    assert ending.startswith("- tiny: more languages. With 8, the test finds a difference four times in five only where")


def test_a_language_with_one_query_has_no_interval_and_the_rest_is_reported(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for code, count in (("sw", 1), ("fi", 30), ("de", 30)):
        for system in ("optical", "contrastive"):
            found += rows(system, code, queries(0.5, rng, count))
    write_report(results("variance", found, tmp_path))
    text = written(tmp_path)
    languages = pd.read_csv(tmp_path / "report/tables/languages.csv")
    own = languages[(languages["language"] == "sw") & (languages["metric"] == "nDCG@10")]
    assert own["value_low"].isna().all()
    paired = pd.read_csv(tmp_path / "report/tables/paired_by_language.csv").set_index("language")
    assert paired.loc["sw", "note"] == "a single query: no interval, no test"
    assert "| tiny | transport | 3 |" in text


def test_a_constant_score_is_said_and_not_tested(tmp_path):
    found = []
    for code in ("sw", "fi", "de"):
        found += rows("optical", code, np.full((3, 20), 1.0)) + rows("contrastive", code, np.full((3, 20), 0.0))
    answer = write_report(results("variance", found, tmp_path))
    assert "same value in every language: no test of variances" in answer
    assert "same value in every language" in written(tmp_path).split("| collection | against |")[1]


def test_one_language_answers_nothing_and_says_so(tmp_path):
    found = rows("optical", "sw", np.full((3, 20), 0.4)) + rows("contrastive", "sw", np.full((3, 20), 0.5))
    assert "the question is not answered" in write_report(results("variance", found, tmp_path))
    written(tmp_path)


def low_resource_rows(rng: np.random.Generator, gain: float) -> list[dict]:
    found = rows("floor", "sw", queries(0.2, rng)[:1], stage="reference", bitext="0", pairs="0")
    for pairs in ("0", "4"):
        if pairs != "0":
            found += rows("floor", "sw", queries(0.22, rng), stage="fine_tune", bitext="0", pairs=pairs)
        for size in (20, 40, 80):
            stage = "distil" if pairs == "0" else "fine_tune"
            base = 0.2 + gain * np.log2(size / 10)
            for system, less in (("optical", 0.0), ("start", 0.1), ("pooled_mse", 0.0)):
                found += rows(system, "sw", queries(base - less, rng), stage=stage, bitext=str(size), pairs=pairs)
    return found


def test_the_loss_per_halving_and_where_distillation_pays_are_those_of_the_data(tmp_path):
    found = low_resource_rows(np.random.default_rng(0), 0.1)
    answer = write_report(results("low_resource", found, tmp_path))
    summary = pd.read_csv(tmp_path / "report/tables/summary.csv").set_index("system")
    assert summary.loc["optical", "per_halving"] == pytest.approx(0.1, abs=0.01)
    assert summary.loc["optical", "per_halving_low"] < 0.1 < summary.loc["optical", "per_halving_high"] + 0.01
    assert summary.loc["optical", "area"] == pytest.approx(0.4, abs=0.02)
    assert "distillation pays from 20 pairs of bitext on" in answer
    assert re.match(r"Halving the bitext costs transport \+ pooled MSE 0\.\d+ of nDCG@10, and distillation pays from", answer)
    assert "4 labelled pairs change the student that had no bitext by +0.0" in answer
    assert "4 labelled pairs" in written(tmp_path)
    assert r"95 \% intervals" in (tmp_path / "report/tables/summary.tex").read_text()


def test_a_size_that_a_language_does_not_have_stands_at_what_was_there(tmp_path):
    found = low_resource_rows(np.random.default_rng(0), 0.1)
    for row in found:
        row["cell"] += f"-{row['bitext']}"
    few = results("low_resource", found, tmp_path)
    few.provenance["training pairs"] = {f"distil-sw-{seed}-{size}": min(size, 50) for seed in range(3) for size in (20, 40, 80)}
    write_report(few)
    summary = pd.read_csv(tmp_path / "report/tables/summary.csv").set_index("system")
    assert summary.loc["optical", "per_halving"] > 0.12, "three points from 20 to 50, and not to 80"
    assert "sw: 80 pairs of bitext: 50 were there" in written(tmp_path)
    assert set(pd.read_csv(tmp_path / "report/figures/bitext_at_0.csv")["x"]) == {0, 20, 40, 50}


def test_distillation_that_never_pays_is_called_so(tmp_path):
    answer = write_report(results("low_resource", low_resource_rows(np.random.default_rng(0), 0.0), tmp_path))
    assert "distillation pays significantly at no size that was run" in answer
    assert "no size that was run" in written(tmp_path)


def test_a_study_with_only_the_untrained_student_still_has_a_report(tmp_path):
    found = rows("floor", "sw", np.full((1, 9), 0.3), stage="reference", bitext="0", pairs="0")
    answer = write_report(results("low_resource", found, tmp_path))
    assert "do not answer the question" in answer
    written(tmp_path)


def test_a_seed_that_is_missing_is_left_out_of_a_difference():
    rng = np.random.default_rng(0)
    one, two = pd.DataFrame(rows("a", "sw", queries(0.5, rng))), pd.DataFrame(rows("b", "sw", queries(0.4, rng)))
    found = difference(one, two[two["seed"] != 1], "nDCG@10")
    assert found.seeds == 2
    both = one[one["seed"] != 1]["nDCG@10"].to_numpy() - two[two["seed"] != 1]["nDCG@10"].to_numpy()
    assert found.value == pytest.approx(both.mean())
    assert not difference(one, two[two["seed"] > 5], "nDCG@10")


def test_a_reference_meets_every_seed():
    rng = np.random.default_rng(0)
    trained, reference = queries(0.5, rng), queries(0.4, rng)[:1]
    found = difference(
        pd.DataFrame(rows("a", "sw", trained)), pd.DataFrame(rows("bm25", "sw", reference, stage="reference")), "nDCG@10"
    )
    assert (found.seeds, found.value) == (3, pytest.approx((trained - reference).mean()))


def test_rows_of_several_runs_are_not_taken_for_one():
    values = np.full((1, 3), 0.5)
    twice = pd.DataFrame([*rows("a", "sw", values), *rows("a", "sw", values)])
    with pytest.raises(ValueError, match="of several runs or collections"):
        estimate(twice, "nDCG@10")


def test_a_curve_that_is_level_has_its_height_as_area_and_no_slope():
    assert sum(weights_of_area([0, 10, 25, 99])) == pytest.approx(1)
    assert sum(weights_of_slope([100, 1000, 10000])) == pytest.approx(0)
    sizes = np.array([100, 1000, 7000])
    assert np.dot(weights_of_slope(sizes), 0.3 + 0.07 * np.log2(sizes)) == pytest.approx(0.07)


def test_numbers_are_written_for_people():
    assert number(0.12345, (0.1, 0.2)) == "0.123 [0.100, 0.200]"
    assert number(-0.0001, (-0.0002, 0.01), sign=True) == "+0.000 [+0.000, +0.010]"
    assert number(None) == "–"
    assert (chance(0.0001), chance(0.25), chance(None)) == ("< 0.001", "0.250", "–")
    assert markdown_table(pd.DataFrame({"a": ["x|y"]})).splitlines()[2] == "| x\\|y |"


def test_rows_of_a_table_are_texts_on_the_page_and_numbers_in_the_csv():
    rows = [
        {"system": "a", "language": "sw", "gain": Estimate(0.12345, (0.1, 0.2))},
        {"system": "a", "language": "de", "gain": Estimate()},
        {"system": "b", "language": "de", "gain": Estimate(-0.5)},
    ]
    shown = shown_table(rows, {"name": lambda row: row["system"].upper(), "gain": "gain", "less": signed("gain")})
    assert shown.iloc[0].tolist() == ["A", "0.123 [0.100, 0.200]", "+0.123 [+0.100, +0.200]"]
    assert shown.iloc[1].tolist() == ["A", "–", "–"]
    numbers = numbers_of(rows, ["gain", "system"])
    assert list(numbers) == ["gain", "gain_low", "gain_high", "system"]
    assert numbers.iloc[0].tolist() == [0.12345, 0.1, 0.2, "a"]
    assert numbers["gain"].isna().tolist() == [False, True, False]
    wide = pivoted(rows, {"system": "system"}, "language", signed("gain"))
    assert wide.to_dict("list") == {"system": ["a", "b"], "sw": ["+0.123 [+0.100, +0.200]", "–"], "de": ["–", "-0.500"]}


def test_a_failed_run_is_named_in_the_report(tmp_path):
    found = results("variance", variance_rows(np.random.default_rng(0), 0.1), tmp_path, EIGHT)
    failed = {"cell": "distil-yo-seed_0", "stage": "distil", "state": "failed", "seconds": "2", "error": "no queries in 'yo'"}
    write_report(dataclasses.replace(found, cells=pd.concat([found.cells, pd.DataFrame([failed])])))
    assert "`distil-yo-seed_0` failed: no queries in 'yo'" in written(tmp_path)


def test_a_page_ends_with_what_would_change_the_answer(tmp_path):
    changes = "would_change=[Longer training., More languages.]"
    write_report(results("variance", variance_rows(np.random.default_rng(0), 0.12), tmp_path, EIGHT, changes))
    heading, bullets = written(tmp_path).rstrip().split("\n\n")[-2:]
    assert heading == "## What would change this answer"
    assert bullets == "- Longer training.\n- More languages."
