"""Recipes as nobody should write them: read, or refused with file and line; nothing runs, nothing fills the memory."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as some

from recipes.checked_yaml import override, read_values
from recipes.runs.recipe.distillation import Recipe

PARTS = [
    "language: sw",
    "teacher:",
    "  model: x",
    "data:",
    "  bitext:",
    "    - path: x",
    "objectives: ",
    "transport: ",
    "&a ",
    "*a",
    "<<: ",
    "\n",
    " ",
    "\t",
    "- ",
    "? ",
    ": ",
    "[",
    "]",
    "{",
    "}",
    "!!bool maybe",
    "!!int ''",
    "!!timestamp x",
    "!!binary x",
    "!!set {a}",
    "!!python/object/apply:os.getcwd []",
    "|",
    "'",
    '"',
    "#",
    "---",
    "%YAML 9.9",
    "2026-99-99",
    "1e-4",
    ".nan",
    "0x",
    "{x}",
    "\0",
    "\x85",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recipes")


@given(text=some.one_of(some.text(max_size=60), some.lists(some.sampled_from(PARTS), max_size=25).map("".join)))
@example(text="[" * 10_000)
@example(text="a: &a [*a]")
@example(text="- !!float x")
def test_any_text_is_a_recipe_or_refused_by_its_name(text, folder):
    path = folder / "x.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        Recipe.load(path)
    except ValueError as error:
        if "x.yaml" not in str(error) or len(str(error)) > 10_000:
            raise


@given(item=some.text(max_size=40))
@example(item="a=!!bool maybe")
@example(item="a=" + "[" * 10_000)
@example(item="data.bitext.0.path=x")
def test_any_override_is_taken_or_refused(item):
    try:
        override({"data": {"bitext": []}}, item)
    except ValueError as error:
        if "override" not in str(error):
            raise


VALUES = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=5),
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(some.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
KEYS = [
    "name",
    "language",
    "output",
    "seed",
    "paths",
    "teacher",
    "teacher.model",
    "student.config",
    "student.max_length",
    "data.bitext",
    "data.held_out",
    "data.temperature",
    "data.streaming",
    "objectives",
    "objectives.transport",
    "objectives.score_kl",
    "transport",
    "transport.epsilon",
    "training",
    "training.max_steps",
    "baselines",
    "baselines.x",
    "baselines.x.objectives",
    "evaluation.collections",
]


@given(key=some.sampled_from(KEYS), value=VALUES)
def test_a_value_of_any_type_is_taken_or_refused_by_the_recipes_name(key, value, folder):
    path = folder / "x.yaml"
    path.write_text("language: sw\nteacher: {model: x}\n")
    try:
        Recipe.load(path, [f"{key}={yaml.safe_dump(value, default_flow_style=True).removesuffix('...' + chr(10))}"])
    except ValueError as error:
        if "x.yaml" not in str(error) and "override" not in str(error):
            raise


def test_aliases_that_stand_for_billions_are_refused_at_once(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "laughs.yaml").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=r"laughs\.yaml is not a YAML file: line \d+: more than 100,000 values"):
        read_values(tmp_path / "laughs.yaml")


def test_an_anchor_that_contains_itself_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a\n  b: *a\n")
    with pytest.raises(ValueError, match=r"x\.yaml is not a YAML file: line 1: the anchor here contains itself"):
        read_values(tmp_path / "x.yaml")


def test_yaml_runs_no_code(tmp_path):
    (tmp_path / "x.yaml").write_text(f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'ran'}']")
    with pytest.raises(ValueError, match=r"x\.yaml is not a YAML file"):
        read_values(tmp_path / "x.yaml")
    assert not (tmp_path / "ran").exists()


def test_anchors_and_merged_keys_stay_possible(tmp_path):
    (tmp_path / "x.yaml").write_text("a: &a {b: 1}\nc: {<<: *a, d: 2}\ne: [*a, *a]\n")
    values, _ = read_values(tmp_path / "x.yaml")
    assert values == {"a": {"b": 1}, "c": {"b": 1, "d": 2}, "e": [{"b": 1}, {"b": 1}]}
