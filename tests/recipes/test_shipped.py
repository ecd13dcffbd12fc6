"""The recipes that ship and need a network or folders: every key is checked, for every language."""

import pytest

from recipes.runs.distillation_run import Run
from recipes.runs.recipe.distillation import Recipe

LANGUAGES = ("sw", "so", "tl", "mr", "fi", "de", "fr")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("start", ["google-bert/bert-base-multilingual-cased", "FacebookAI/xlm-roberta-base"])
def test_the_papers_set_up_resolves_for_every_language_and_backbone(language: str, start: str):
    recipe = Recipe.load("recipes/optical/optical.yaml", [f"language={language}", f"student.start={start}"])
    source = recipe.data.bitext[0]
    assert (source.name, source.language, source.hub) == (
        f"en-{language}",
        language,
        "sentence-transformers/parallel-sentences-ccmatrix",
    )
    assert recipe.student.start == start
    assert recipe.student.config["embedding_dim"] == 128
    assert recipe.objectives == {"transport": 1.0}
    assert recipe.output.endswith(f"-{language}")


def test_the_papers_set_up_takes_an_opus_archive_in_place_of_the_hub():
    recipe = Recipe.load(
        "recipes/optical/optical.yaml", ["language=so", "data.bitext=[{path: en-so.txt.zip, source: en, target: so}]"]
    )
    assert recipe.data.bitext[0].path == "en-so.txt.zip"


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_language_reads_all_sets_that_have_it(language: str):
    recipe = Recipe.load(
        "recipes/seven_languages/one_language.yaml", [f"language={language}", "paths.bitext=b", "paths.collections=c"]
    )
    assert recipe.data.bitext[0].path == f"b/*/{language}.jsonl"
    assert recipe.languages == [language]


def test_the_example_of_an_adapter_names_options_that_peft_has():
    pytest.importorskip("peft", reason="peft is not installed")
    recipe = Recipe.load("recipes/optical/lora.yaml", ["language=so"])
    Run.check_training(recipe)
    assert recipe.student.lora["modules_to_save"] == ["projection"]
    recipe.student.lora["lora_alfa"] = recipe.student.lora.pop("lora_alpha")
    with pytest.raises(ValueError, match=r"unknown key `student\.lora\.lora_alfa`\. Did you mean 'lora_alpha'"):
        Run.check_training(recipe)


def test_seven_languages_together_are_seven():
    recipe = Recipe.load("recipes/seven_languages/all.yaml", ["paths.bitext=b", "paths.collections=c"])
    assert recipe.languages == list(LANGUAGES)
    assert recipe.student.vocabulary.mode == "add"
    assert recipe.data.temperature == 2.0


@pytest.mark.parametrize("student", ["sw", "so", "tl", "mr", "all"])
def test_students_of_a_multilingual_encoder_start_from_their_teacher_and_never_end_below_it(student: str):
    recipe = Recipe.load(f"recipes/students/{student}.yaml", ["paths.bitext=b", "paths.collections=c"])
    Run.check_training(recipe)
    first = recipe.teacher_recipe
    assert first is not None
    assert first.model.start == "intfloat/multilingual-e5-small"
    assert {rival.model for rival in recipe.evaluation.rivals.values()} == {first.model.start}
    assert recipe.teacher.model == f"{first.output}/model"
    assert recipe.student.start == "teacher"
    assert recipe.selection is not None
    assert recipe.languages == ([student] if student != "all" else [*LANGUAGES, "es", "hi", "tr", "ar"])
