"""The study of images and captions: who is trained on what, what is measured, what the report makes of it, what is refused."""

import json
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from modeling_optical.evaluation import per_query, read_qrels, read_run
from recipes.cli import main
from recipes.studies.cells import Cell, cells_of, distillation_recipe
from recipes.studies.reporting.results_table import StudyResults
from recipes.studies.reporting.write_report import write_report
from recipes.studies.study import load_study

from .conftest import STUDIES, make_data
from .test_reports import written

FILE = STUDIES["image_text"]
SIX = [f"{way} R@{k}" for way in ("text to image", "image to text") for k in (1, 5, 10)]
PATHS = [f"paths.{name}=folder/{name}" for name in ("clip", "student", "multi30k", "images")]


def test_a_student_has_bitext_in_the_languages_of_its_setting_alone():
    study = load_study(FILE, "full", PATHS, "out")
    cells = [cell for cell in cells_of(study) if cell.stage == "distil"]
    assert [cell.name for cell in cells[::3]] == [
        f"distil-mul-seen_{seen}-seed_0" for seen in ("de+fr+cs", "fr+cs", "de+cs", "de+fr")
    ]
    recipe = distillation_recipe(study, cells[3])
    assert recipe.languages == ["fr", "cs"]
    assert recipe.data.bitext[0].path == [f"folder/multi30k/data/task1/raw/train.{code}.gz" for code in ("en", "fr")]
    assert recipe.student.config["project_pooled"]
    arms = {name: set(recipe.baseline(name).objectives) for name in recipe.baselines} | {"optical": set(recipe.objectives)}
    assert all("pooled_vector_mse" in objectives for objectives in arms.values())
    tokens = {name: objectives - {"pooled_vector_mse"} for name, objectives in arms.items()}
    assert tokens == {
        "optical": {"transport"},
        "pooled": set(),
        "both": {"transport", "contrastive"},
        "contrastive": {"contrastive"},
    }


def test_a_reference_is_measured_on_the_set_without_a_setting():
    study = load_study(FILE, "full", PATHS, "out")
    assert [cell.language for cell in cells_of(study) if cell.stage == "reference"] == ["en", "de", "fr", "cs"]
    assert distillation_recipe(study, Cell("reference", "cs")).languages == ["de", "fr", "cs"]


def test_every_student_is_measured_in_every_language_with_bitext_or_without(finished):
    table = pd.read_csv(finished["image_text"] / "results.csv")
    assert set(table["metric"]) == {"mean recall", *SIX}
    trained = table[table["stage"] == "distil"]
    assert set(trained["seen"]) == {"de+fr+cs", "de+fr"}
    assert set(trained["language"]) == {"en", "de", "fr", "cs"}
    assert set(trained["system"]) == {"optical", "pooled", "both", "contrastive"}
    references = table[table["stage"] == "reference"]
    assert set(references[references["language"] == "de"]["system"]) == {"ceiling", "clip", "floor"}
    assert set(references[references["language"] == "en"]["system"]) == {"ceiling", "floor"}, "English captions are CLIP's own"
    ceiling = references[references["system"] == "ceiling"].pivot(index="metric", columns="language", values="value")
    assert (ceiling.nunique(axis=1) == 1).all(), "English captions, whatever the language"


def test_the_values_are_those_of_the_runs_that_are_kept(finished):
    cell = finished["image_text"] / "cells/distil-mul-seen_de+fr-seed_1"
    values = pd.read_parquet(cell / "per_query.parquet")
    own = values[(values["system"] == "both") & (values["language"] == "cs")]
    assert own["mean recall"].to_numpy() == pytest.approx(own[SIX].mean(axis=1).to_numpy())
    for way in ("text_to_image", "image_to_text"):
        name = f"test_2016_flickr-{way}.cs"
        found = per_query(read_qrels(cell / f"runs/{name}.qrels"), read_run(cell / f"runs/both.{name}.trec"), ["Success@5"])[
            "Success@5"
        ]
        assert np.mean(list(found.values())) == pytest.approx(own[f"{way.replace('_', ' ')} R@5"].mean())


def test_the_report_names_images_and_says_how_many(finished):
    text = (finished["image_text"] / "report/report.md").read_text()
    assert "- Images: test_2016_flickr cs 24" in text
    assert "bootstrap over seeds and images" in text
    assert "by chance T→I R@k is k / 24 on test_2016_flickr" in text.replace("By", "by")
    assert "| test_2016_flickr | en (never bitext) | CLIP, English captions |" in text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweeps=[{language: [mul], seen: [de+ws]}]"], "unknown key `data.languages`"),
        (["metrics=[mean recal]"], "Did you mean 'mean recall'"),
        (["image_text.splits=[test_2017_flickr]"], "there is no set 'test_2017_flickr'"),
        (["image_text.images=/nowhere"], "images '/nowhere': there is no such folder"),
        (["image_text.captions=/nowhere"], "captions '/nowhere': there is no such folder"),
        (['image_text.captions="{paths.nowhere}"'], "{paths.nowhere} is not known"),
        (["distil.values.student.config={embedding_dim: 32}"], "need a pooled vector in CLIP's space"),
        (["synthetic_images.pictures=400"], "there are 324 different pictures"),
        (["synthetic_images.pictures=1"], "must be at least 2"),
        (["report_options.main=transport"], "report_options.main=transport"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_computed(tmp_path, capsys, overrides, message):
    assert main(["study", FILE, "--profile", "smoke", "--output", str(tmp_path / "out"), *overrides]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/cells").exists()


def test_an_image_that_is_missing_is_told_before_anything_is_computed(tmp_path, capsys):
    output = tmp_path / "out"
    make_data(FILE, output)
    (output / "synthetic_images/images/3.png").unlink()
    assert main(["study", FILE, "--profile", "smoke", "--output", str(output)]) == 2
    assert "1 of 24 are missing, such as 3.png" in capsys.readouterr().err
    assert not (output / "cells").exists()


def test_a_clone_must_be_named(tmp_path, capsys):
    assert main(["study", FILE, "--profile", "full", "--output", str(tmp_path / "out")]) == 2
    assert "`paths.multi30k` is not set: give it on the command line, paths.multi30k=FOLDER" in capsys.readouterr().err


@pytest.mark.slow
def test_students_learn_to_find_pictures(tmp_path):
    short = ["seeds=[0]", "sweeps=[{language: [mul], seen: [de+fr]}]", "synthetic_images.training_steps=250"]
    assert main(["study", FILE, "--profile", "local", "--output", str(tmp_path), *short]) == 0
    table = pd.read_csv(tmp_path / "results.csv")
    values = table[table["metric"] == "mean recall"].set_index(["system", "language"])["value"]
    by_chance = (1 + 5 + 10) / 3 / 84
    assert values["ceiling", "de"] > 5 * by_chance
    for system in ("optical", "pooled", "both", "contrastive"):
        assert values[system, "de"] > 3 * by_chance
        assert values[system, "de"] > values[system, "cs"], "cs has no bitext"


def rows(system: str, setting: str, language: str, level: float, *, images: int = 100, seeds: int = 3) -> list[dict]:
    """A student's rows: images differ in how hard they are, and seeds a little."""
    hard = np.random.default_rng(1).normal(0, 0.1, images)
    noise = np.random.default_rng(zlib.crc32(f"{system}{setting}{language}".encode())).normal(0, 0.02, (seeds, images))
    return [
        {"cell": f"distil-{setting}-{seed}", "stage": "distil", "student": "mul", "seed": seed, "seen": setting}
        | {"system": system, "collection": "tiny", "language": language, "query": f"{image}.jpg"}
        | {"mean recall": float(np.clip(level + hard[image] + noise[seed, image], 0, 1))}
        for seed in range(seeds)
        for image in range(images)
    ]  # fmt: skip


SETTINGS = ("de+fr+cs", "fr+cs", "de+cs", "de+fr")


def student_rows(system: str, spread: float, loss: float, mean: float = 0.6) -> list[dict]:
    """Values of a language: `spread` between languages, `loss` without bitext in it."""
    place = {"de": spread, "fr": 0.0, "cs": -spread, "en": 0.0}
    return [
        row
        for setting in SETTINGS
        for code in place
        for row in rows(system, setting, code, mean + place[code] - (loss if code not in setting.split("+") else 0.0))
    ]


def reported(found: list[dict], folder: Path) -> tuple[str, str]:
    study = load_study(FILE, "smoke", [*PATHS, "metrics=[mean recall]"], str(folder))
    cells = pd.DataFrame([{"cell": "a", "stage": "distil", "state": "done", "seconds": "1.0", "error": ""}])
    record = {"versions": {"torch": "2"}, "machine": {"device": "cpu"}, "files": {}, "training pairs": {}}
    answer = write_report(StudyResults(study, pd.DataFrame(found), cells, [], record))
    return answer.rpartition("\n\nReport: ")[0], written(folder)


def test_smaller_gaps_are_found_and_said_first(tmp_path):
    found = student_rows("optical", 0.01, 0.05) + student_rows("pooled", 0.05, 0.2)
    answer, text = reported(found, tmp_path)
    assert "mean recall is not distinguishable" in answer
    assert "its standard deviation over 3 languages is smaller with pooled + transport" in answer
    assert "in a language without bitext it is higher with pooled + transport" in answer
    assert "what a language loses without bitext is smaller with pooled + transport" in answer
    assert text.split("\n\n")[1] == "**{}**".format(answer.split("\n\n")[0])
    assert answer.startswith(
        "Yes: what a language loses without bitext is smaller with pooled + transport than with pooled alone"
    )
    table = pd.read_csv(tmp_path / "report/tables/comparisons.csv").set_index("quantity")["difference"]
    assert table["loss without bitext"] == pytest.approx(0.05 - 0.2, abs=0.01)
    assert table["standard deviation with bitext"] == pytest.approx(0.01 - 0.05, abs=0.005)
    summary = pd.read_csv(tmp_path / "report/tables/summary.csv").set_index(["bitext", "system"])
    assert summary.loc[("fr+cs", "pooled"), "gap"] == pytest.approx(0.575 - 0.45, abs=0.01)
    left_out = pd.read_csv(tmp_path / "report/tables/left_out.csv").set_index(["language", "system"])
    assert left_out.loc[("cs", "pooled"), "loss"] == pytest.approx(0.2, abs=0.01)


def test_the_same_values_are_called_not_distinguishable(tmp_path):
    answer, _ = reported(student_rows("optical", 0.03, 0.1) + student_rows("pooled", 0.03, 0.1), tmp_path)
    assert answer.count("not distinguishable") == 4


def test_worse_is_called_worse(tmp_path):
    answer, _ = reported(student_rows("optical", 0.06, 0.2, 0.5) + student_rows("pooled", 0.01, 0.1), tmp_path)
    assert "mean recall is lower with pooled + transport" in answer
    assert "is larger with pooled + transport" in answer


def test_gaps_in_the_table_are_left_open(tmp_path):
    found = [row for row in student_rows("optical", 0.01, 0.1) if row["seen"] != "fr+cs"]
    found += [row for row in student_rows("pooled", 0.01, 0.1) if row["seen"] == "de+fr+cs"]
    answer, _ = reported(found, tmp_path)
    assert "loses without bitext" not in answer, "pooled was not run without a language"
    left_out = pd.read_csv(tmp_path / "report/tables/left_out.csv")
    assert set(left_out["language"]) == {"fr", "cs"}, "de was left out nowhere"
    assert left_out[left_out["system"] == "pooled"]["loss"].isna().all()
    only = [row for row in found if row["system"] == "optical"]
    answer, _ = reported(only, tmp_path / "one")
    assert answer.endswith("were not both measured, so the question is not answered.")


def test_one_language_has_no_deviation(tmp_path):
    found = [row for system in ("optical", "pooled") for row in rows(system, "de", "de", 0.5)]
    answer, _ = reported(found, tmp_path)
    assert "standard deviation" not in answer


def test_all_settings_are_in_the_kept_tables(finished):
    folder = finished["image_text"] / "report/tables"
    languages = pd.read_csv(folder / "languages.csv", keep_default_na=False)
    assert set(languages["bitext"]) == {"", "de+fr+cs", "de+fr"}
    paired = pd.read_csv(folder / "paired_by_language.csv")
    assert len(paired) == 2 * 4 * 3
    assert json.loads((finished["image_text"] / "provenance.json").read_text())["files"]["test_2016_flickr.cs"]
