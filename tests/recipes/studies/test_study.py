"""Reading a study: profiles, sweeps, cells, recipes; every mistake is named."""

from pathlib import Path

import pytest
import yaml

from recipes.runs.recipe.distillation import Recipe
from recipes.runs.recipe.retrieval import RetrievalRecipe
from recipes.studies.cells import Cell, cells_of, distillation_recipe, fine_tuning_recipe, source_of
from recipes.studies.reporting.write_report import check_report
from recipes.studies.study import Study, load_study

LOW, VARIANCE = "recipes/studies/low_resource/study.yaml", "recipes/studies/variance/study.yaml"


def smoke(*overrides: str) -> Study:
    places = [f"paths.{name}=folder/{name}" for name in ("teacher", "bitext", "collections")]
    return load_study(LOW, "smoke", [*places, *overrides], "out")


def names(study: Study, stage: str) -> list[str]:
    return [cell.name for cell in cells_of(study) if cell.stage == stage]


@pytest.mark.parametrize("name", ["adversarial", "domain", "image_text", "low_resource", "variance"])
def test_students_of_a_multilingual_encoder_have_it_for_teacher_or_start_and_name_their_limits(name: str):
    places = [f"paths.{one}=folder/{one}" for one in ("start", "bitext", "collections", "questions", "font", "annotations")]
    pictures = [f"paths.{one}=folder/{one}" for one in ("clip", "multi30k", "images")]  # made when the study is started
    known = places if name != "image_text" else [places[0], *places[-2:], *pictures]
    study = load_study(f"recipes/studies/{name}/study.yaml", "multilingual", known, "out")
    recipes = [distillation_recipe(study, cell) for cell in cells_of(study) if cell.stage == "distil"]
    for recipe in recipes:
        own = recipe.student.start == "teacher"
        assert (recipe.teacher.model if own else recipe.student.start) == "folder/start"
        assert recipe.training["embedding_learning_rate"] == 0
        assert set(recipe.baselines) <= set(study.systems), "the report has a name for every system"
    assert study.seeds == [0, 1, 2]
    assert study.limits
    assert study.would_change
    check_report(study)


def test_a_profile_leaves_a_baseline_out_by_null():
    study = smoke("distil.values.baselines.contrastive=null")
    cell = next(cell for cell in cells_of(study) if cell.stage == "distil")
    assert set(distillation_recipe(study, cell).baselines) == {"transport", "pooled_mse"}


def test_a_sweep_is_every_combination_and_a_factor_may_leave_a_stage_out():
    study = smoke("seeds=[3]")
    assert names(study, "reference") == ["reference-sw"]
    assert names(study, "distil") == ["distil-sw-bitext_20-seed_3", "distil-sw-bitext_40-seed_3"]
    assert names(study, "fine_tune") == [
        "fine_tune-sw-bitext_0-pairs_4-tiny-floor-seed_3",
        "fine_tune-sw-bitext_20-pairs_4-tiny-start-seed_3",
        "fine_tune-sw-bitext_20-pairs_4-tiny-optical-seed_3",
        "fine_tune-sw-bitext_40-pairs_4-tiny-start-seed_3",
        "fine_tune-sw-bitext_40-pairs_4-tiny-optical-seed_3",
    ]


def test_what_two_sweeps_have_in_common_is_run_once():
    crossed = [{"language": ["sw"], "bitext": [20], "pairs": [0, 4]}, {"language": ["sw"], "bitext": [20, 40], "pairs": [4]}]
    study = smoke("seeds=[0]", f"sweeps={yaml.safe_dump(crossed, default_flow_style=True)}")
    found = names(study, "distil") + names(study, "fine_tune")
    assert len(found) == len(set(found)) == 2 + 4


def test_the_recipe_of_a_cell_has_its_factors_seed_and_place():
    study = smoke()
    cell = next(cell for cell in cells_of(study) if cell.name == "distil-sw-bitext_20-seed_1")
    recipe = distillation_recipe(study, cell)
    assert isinstance(recipe, Recipe)
    assert (recipe.data.max_training_pairs, recipe.seed, recipe.language) == (20, 1, "sw")
    assert recipe.output == "out/cells/distil-sw-bitext_20-seed_1"
    assert recipe.data.bitext[0].path == "folder/bitext/*/sw.jsonl"
    assert recipe.evaluation.collections[0].path == "out/data/tiny"
    assert recipe.teacher.model == "folder/teacher"


def test_fine_tuning_starts_from_the_student_of_its_distillation_or_from_the_untrained_one():
    study = smoke()
    tuned = {cell.name: cell for cell in cells_of(study) if cell.stage == "fine_tune"}
    distilled = tuned["fine_tune-sw-bitext_40-pairs_4-tiny-optical-seed_1"]
    recipe = fine_tuning_recipe(study, distilled)
    assert isinstance(recipe, RetrievalRecipe)
    assert recipe.model.start == "out/cells/distil-sw-bitext_40-seed_1/student"
    assert recipe.documents.model == "folder/teacher"
    assert (recipe.data.train[0].path, recipe.data.train[0].max_examples) == ("out/data/pairs/tiny.sw.seed_1.jsonl", 4)
    assert source_of(study, distilled).name == "distil-sw-bitext_40-seed_1"
    untrained = tuned["fine_tune-sw-bitext_0-pairs_4-tiny-floor-seed_1"]
    assert fine_tuning_recipe(study, untrained).model.start == "folder/teacher"
    assert source_of(study, untrained) is None


@pytest.mark.parametrize("file", [LOW, VARIANCE])
@pytest.mark.parametrize("profile", ["full", "local"])
def test_the_profiles_that_ship_resolve_in_every_cell(file: str, profile: str):
    study = load_study(file, profile, ["paths.bitext=b", "paths.collections=c"] if profile == "local" else [])
    cells = cells_of(study)
    assert len(study.seeds) >= 3
    for cell in cells[:: max(len(cells) // 12, 1)]:
        (fine_tuning_recipe if cell.stage == "fine_tune" else distillation_recipe)(study, cell)
    start = distillation_recipe(study, Cell("reference", "de")).student.start
    assert start == ("teacher" if profile == "local" else "google-bert/bert-base-multilingual-cased")


def test_the_pooled_student_of_miracl_has_the_bitext_of_all_languages():
    study = load_study(VARIANCE, "full")
    recipe = distillation_recipe(study, next(cell for cell in cells_of(study) if cell.language == "mul"))
    assert len(recipe.languages) == 17
    assert recipe.student.encodes_documents
    assert {source.kind for source in recipe.data.bitext} == {"both"}
    assert recipe.evaluation.collections[0].revision


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["languages.zz9={}"], r"languages.zz9: 'zz9' is no language code"),
        (["sweeps=[{language: [ws], bitext: [20], pairs: [0]}]"], r"unknown key `sweeps.0.language`. Did you mean 'sw'"),
        (["sweeps=[{language: [sw], bitexts: [20], pairs: [0]}]"], r"sweeps.0.bitexts`. Did you mean 'bitext'"),
        (["sweeps=[{language: [sw], bitext: [20]}]"], r"sweeps.0 lacks `pairs`"),
        (["sweeps=[{language: [sw], bitext: [], pairs: [0]}]"], r"sweeps.0.bitext is empty"),
        (["seeds=[]"], "at least one sweep and one seed"),
        (["sedes=[0]"], r"unknown key `sedes`. Did you mean 'seeds'"),
        (["collections.tiny.labelled_share=1.5"], "labelled_share is 1.5"),
        (["collections.tiny.languages=[de]"], r"collections.tiny.languages"),
        (["references.translator_languages={sw: [swh_Latn]}"], "needs two codes"),
    ],
)
def test_a_slip_is_named(overrides: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        smoke(*overrides)


def test_a_study_that_ships_is_found_from_any_folder_and_is_no_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    study = smoke()
    assert set(distillation_recipe(study, cells_of(study)[0]).objectives) == {"transport", "pooled_mse"}
    with pytest.raises(ValueError, match="is a study, a grid of runs: start it with `optical study"):
        Recipe.load(LOW, ["language=sw"])


def test_an_unknown_profile_and_a_recipe_in_place_of_a_study_are_told(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no profile 'big'. Profiles: full, local, multilingual, smoke"):
        load_study(LOW, "big")
    with pytest.raises(ValueError, match="is no study"):
        load_study("recipes/quickstart/swahili.yaml")
