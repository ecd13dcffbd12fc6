"""The recipe: what a key and a value may be, and what is said about those that may not."""

from pathlib import Path

import pytest
import yaml

from recipes.checked_yaml import PACKAGE_FOLDER, find_recipe
from recipes.runs.recipe.distillation import Recipe

MINIMAL = "language: sw\n"


def load(folder: Path, text: str, *overrides: str) -> Recipe:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return Recipe.load(path, overrides)


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ValueError) as error:
        load(folder, text, *overrides)
    return str(error.value)


def test_a_recipe_of_one_line_has_the_documented_defaults(tmp_path: Path):
    recipe = load(tmp_path, MINIMAL)
    assert (recipe.name, recipe.language, recipe.seed, recipe.output) == ("optical", "sw", 0, "runs/optical-sw")
    assert recipe.objectives == {"transport": 1.0}
    assert recipe.evaluation.metrics[0] == "AP@100"


# A study's recipes are whole only with what the study lays over them; tests/recipes/studies loads them so. Those of accelerate
# are no recipes.
OTHERS = ("studies", "accelerate", "table.yaml", "table.recipe.yaml")
RECIPES = sorted(path for path in PACKAGE_FOLDER.rglob("*.yaml") if not set(OTHERS) & set(path.parts))
TEACHERS = [path for path in RECIPES if "\nmodel:" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", [path for path in RECIPES if path not in TEACHERS], ids=lambda path: path.name)
@pytest.mark.parametrize("language", ["sw", "so"])
def test_every_recipe_that_is_shipped_loads_from_any_folder(
    path: Path, language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    name = f"recipes/{path.relative_to(PACKAGE_FOLDER)}"
    text = path.read_text(encoding="utf-8")
    folders = ["paths.bitext=x", "paths.collections=y"] if "{paths." in text else []
    recipe = Recipe.load(name, [f"language={language}", *folders])
    assert recipe.language == language
    assert ("{language}" in text) == (f"-{language}" in recipe.output)
    assert find_recipe(name) == path


def test_the_quickstart_finds_its_annotations_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    annotations = Recipe.load("recipes/quickstart/swahili.yaml").data.annotations
    assert Path(annotations.path) == PACKAGE_FOLDER / "quickstart" / "cldr_annotations_48.2.jsonl"


def test_a_recipe_here_goes_before_the_installed_one_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "recipes" / "quickstart").mkdir(parents=True)
    (tmp_path / "recipes" / "quickstart" / "swahili.yaml").write_text("language: sw\nname: mine\n")
    monkeypatch.chdir(tmp_path)
    assert Recipe.load("recipes/quickstart/swahili.yaml").name == "mine"


@pytest.mark.parametrize("name", ["nowhere.yaml", "recipes/nowhere.yaml", "", "quickstart"])
def test_a_recipe_that_does_not_exist_lists_the_installed_ones(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Installed recipes: .*recipes/quickstart/swahili\.yaml") as error:
        Recipe.load(name)
    assert repr(name) in str(error.value) or name == ""


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("langauge: sw\n", "langauge", "language"),
        (MINIMAL + "teacher: {modle: x}\n", "teacher.modle", "model"),
        (MINIMAL + "student: {vocabulary: {sise: 3}}\n", "student.vocabulary.sise", "size"),
        (MINIMAL + "transport: {epsilom: 0.1}\n", "transport.epsilom", "epsilon"),
        (MINIMAL + "data: {bitext: [{path: x}, {pth: y}]}\n", "data.bitext.1.pth", "path"),
        (MINIMAL + "evaluation: {collections: [{path: x, spilt: dev}]}\n", "evaluation.collections.0.spilt", "split"),
    ],
)
def test_an_unknown_key_is_named_in_full_with_the_nearest_known_one(tmp_path: Path, text: str, key: str, nearest: str):
    message = refusal(tmp_path, text)
    assert f"unknown key `{key}`. Did you mean '{nearest}'?" in message
    assert str(tmp_path / "run.yaml") in message


def test_an_unknown_key_that_is_like_none_lists_the_known_ones(tmp_path: Path):
    message = refusal(tmp_path, MINIMAL + "qqqqqq: 1\n")
    assert "unknown key `qqqqqq`. Known here: baselines, data, evaluation, language" in message


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.e-4", "1.0e-4", "+1e-4", "0.0001"])
def test_a_number_with_an_exponent_is_a_number(tmp_path: Path, text: str):
    assert load(tmp_path, MINIMAL + f"training: {{learning_rate: {text}}}\n").training["learning_rate"] == 1e-4
    assert load(tmp_path, MINIMAL, f"training.learning_rate={text}").training["learning_rate"] == 1e-4


@pytest.mark.parametrize("code", ["no", "on", "yes", "off", "y", "NO"])
def test_a_language_code_that_yaml_takes_for_a_switch_stays_a_text(tmp_path: Path, code: str):
    assert load(tmp_path, f"language: {code}\n").language == code
    assert load(tmp_path, MINIMAL, f"language={code}").output == f"runs/optical-{code}"


@pytest.mark.parametrize(("text", "value"), [("true", True), ("True", True), ("false", False), ("FALSE", False)])
def test_true_and_false_are_switches(tmp_path: Path, text: str, value: bool):
    assert load(tmp_path, MINIMAL, f"teacher.live={text}").teacher.live is value


def test_overrides_reach_into_nested_keys_and_lists(tmp_path: Path):
    text = MINIMAL + "data:\n  bitext:\n  - {path: a.tsv, target: sw}\n  - {path: [x.en, x.sw], target: sw}\n"
    recipe = load(
        tmp_path,
        text,
        "data.bitext.0.path=b.tsv",
        "data.bitext.1.path.0=y.en",
        "transport.epsilon=0.1",
        "student.vocabulary.size=500",
        "training.max_steps=7",
        "evaluation.metrics=[RR@10, P@1]",
        "objectives={pooled_mse: 2}",
        "name=a=b",
        "teacher.revision=",
    )
    assert recipe.data.bitext[0].path == "b.tsv"
    assert recipe.data.bitext[1].path == ["y.en", "x.sw"]
    assert (recipe.transport.epsilon, recipe.student.vocabulary.size) == (0.1, 500)
    assert recipe.training == {"max_steps": 7}
    assert recipe.evaluation.metrics == ["RR@10", "P@1"]
    assert recipe.objectives == {"pooled_mse": 2.0}
    assert recipe.name == "a=b"
    assert recipe.teacher.revision is None


def test_the_last_of_two_overrides_counts(tmp_path: Path):
    assert load(tmp_path, MINIMAL, "seed=1", "seed=2").seed == 2


def test_an_override_can_make_a_mapping_of_an_empty_key(tmp_path: Path):
    assert load(tmp_path, MINIMAL + "training:\n", "training.max_steps=3").training == {"max_steps": 3}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", r"override 'seed': the form is key=value, for instance"),
        ("=3", r"override '=3': the form is key=value"),
        ("training=[1", r"override 'training=\[1': the value is not YAML"),
        ("seed.x=3", r"override 'seed.x=3': 'seed' is a single value"),
        ("data.bitext.2.path=x", r"'2' is not a position from 0 to 1 in that list"),
        ("data.bitext.2=x", r"'2' is not a position from 0 to 1 in that list"),
        ("data.bitext.-1.path=x", r"'-1' is not a position"),
        ("data.bitext.first.path=x", r"'first' is not a position"),
        ("trainer.max_steps=3", r"unknown key `trainer`. Did you mean 'training'\?"),
        ("transport.epsilon=0", r"run.yaml: transport\.epsilon is 0"),
        ("seed=x", r"seed is 'x'; expected a whole number"),
        ("training={a: 1, a: 2}", r"override 'training=.*the key 'a' appears twice"),
    ],
)
def test_a_bad_override_is_refused_with_its_reason(tmp_path: Path, override: str, message: str):
    text = MINIMAL + "seed: 1\ndata: {bitext: [{path: a.tsv}, {path: b.tsv}]}\n"
    with pytest.raises(ValueError, match=message):
        load(tmp_path, text, override)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("language: 3\n", "language is 3; expected a text."),
        ("language:\n", "language is None; expected a text."),
        (MINIMAL + "seed: 1.5\n", "seed is 1.5; expected a whole number."),
        (MINIMAL + "seed: true\n", "seed is True; expected a whole number."),
        (MINIMAL + "seed: '1'\n", "seed is '1'; expected a whole number."),
        (MINIMAL + "teacher: {live: 1}\n", "teacher.live is 1; expected true or false."),
        (MINIMAL + "teacher: {live: yes}\n", "teacher.live is 'yes'; expected true or false."),
        (MINIMAL + "teacher: sentence-bert\n", "teacher must be a mapping of keys; got 'sentence-bert'."),
        (MINIMAL + "data:\n", "data must be a mapping of keys; got None."),
        (MINIMAL + "data: {held_out: much}\n", "data.held_out is 'much'; expected a number."),
        (MINIMAL + "data: {held_out: true}\n", "data.held_out is True; expected a number."),
        (MINIMAL + "data: {bitext: {path: x}}\n", "data.bitext must be a list; got {'path': 'x'}."),
        (MINIMAL + "data: {bitext: [x.tsv]}\n", "data.bitext.0 must be a mapping of keys; got 'x.tsv'."),
        (MINIMAL + "data: {bitext: [{path: 3}]}\n", "data.bitext.0.path is 3; expected a text or a list."),
        (MINIMAL + "data: {bitext: [{target: sw}]}\n", "data.bitext.0: a bitext source needs either `path`"),
        (MINIMAL + "data: {annotations: {held_out: 0.1}}\n", "data.annotations lacks the key 'path'."),
        (
            MINIMAL + "objectives: {transport: heavy}\n",
            "objectives.transport is 'heavy'; expected a number or a mapping of keys.",
        ),
        (MINIMAL + "objectives: [transport]\n", "objectives must be a mapping of keys; got ['transport']."),
        (MINIMAL + "evaluation: {metrics: RR@10}\n", "evaluation.metrics must be a list; got 'RR@10'."),
        (MINIMAL + "evaluation: {metrics: [10]}\n", "evaluation.metrics.0 is 10; expected a text."),
        (MINIMAL + "student: {dropout: none}\n", "student.dropout is 'none'; expected a number."),
        (MINIMAL + "transport: {solver: simplex}\n", "transport.solver"),
        (MINIMAL + "output: {language}\n", "output is {'language': None}; expected a text."),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_what_is_expected(tmp_path: Path, text: str, message: str):
    found = refusal(tmp_path, text)
    assert message in found
    assert found.startswith(f"{tmp_path / 'run.yaml'}: ")


def test_a_whole_number_stands_for_a_number(tmp_path: Path):
    weight = load(tmp_path, MINIMAL + "objectives: {transport: 2}\n").objectives["transport"]
    assert (weight, type(weight)) == (2.0, float)


def test_a_recipe_without_a_language_is_told_how_to_set_it(tmp_path: Path):
    assert "`language` is not set" in (message := refusal(tmp_path, "name: x\n"))
    assert "language=sw" in message


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("language: sw\nseed: 1\nlanguage: so\n", 3, "language"),
        ("language: sw\ntraining:\n  max_steps: 1\n  max_steps: 2\n", 4, "max_steps"),
        ("language: sw\ndata:\n  bitext:\n  - path: a\n    path: b\n", 5, "path"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_file_and_line(tmp_path: Path, text: str, line: int, key: str):
    message = refusal(tmp_path, text)
    assert f"line {line}: the key '{key}' appears twice" in message
    assert str(tmp_path / "run.yaml") in message


@pytest.mark.parametrize("text", ["", "# only a comment\n", "- a\n- b\n", "just words\n", "3\n"])
def test_a_file_without_keys_is_no_recipe(tmp_path: Path, text: str):
    assert f"{tmp_path / 'run.yaml'} holds no recipe: a mapping of keys is expected." == refusal(tmp_path, text)


@pytest.mark.parametrize(
    "content", [b"language: [sw\n", b"language: sw\n\tname: x\n", b"name: caf\xe9\n"], ids=["bracket", "tab", "not UTF-8"]
)
def test_a_file_that_is_not_yaml_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a YAML file") as error:
        Recipe.load(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("line", ["output: {{paths.data}}", "? [a, b]\n: c"], ids=["double braces", "list as key"])
def test_a_key_that_is_no_text_is_refused_with_the_file(tmp_path: Path, line: str):
    assert str(tmp_path / "run.yaml") in refusal(tmp_path, MINIMAL + line + "\n")


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system ['touch MARK']",
        "!!python/object/new:subprocess.check_call [['touch', 'MARK']]",
        "!!python/name:os.system ''",
    ],
)
@pytest.mark.parametrize("place", ["file", "override"])
def test_yaml_that_would_run_code_is_refused_and_runs_nothing(tmp_path: Path, tag: str, place: str):
    mark = tmp_path / "mark"
    tag = tag.replace("MARK", str(mark))
    text, overrides = (f"{MINIMAL}name: {tag}\n", ()) if place == "file" else (MINIMAL, (f"name={tag}",))
    assert "could not determine a constructor" in refusal(tmp_path, text, *overrides)
    assert not mark.exists()


def test_language_name_and_paths_are_filled_into_every_text(tmp_path: Path):
    text = """
name: demo
language: so
paths: {corpora: /corpora, unused: null}
output: "{paths.corpora}/runs/{name}-{language}"
data:
  bitext:
  - {path: ["{paths.corpora}/x.en", "{paths.corpora}/x.{language}"], target: "{language}"}
training: {run_name: "{name}"}
evaluation: {collections: [{path: "{paths.corpora}/{language}"}]}
baselines: {other: {training: {run_name: "other-{language}"}}}
"""
    recipe = load(tmp_path, text)
    assert recipe.output == "/corpora/runs/demo-so"
    assert recipe.data.bitext[0].path == ["/corpora/x.en", "/corpora/x.so"]
    assert (recipe.data.bitext[0].target, recipe.data.bitext[0].language) == ("so", "so")
    assert recipe.training == {"run_name": "demo"}
    assert recipe.evaluation.collections[0].path == "/corpora/so"
    assert recipe.baseline("other").training == {"run_name": "other-so"}


def test_a_path_that_is_used_but_not_set_is_told_how_to_set_it(tmp_path: Path):
    text = MINIMAL + 'paths: {corpora: null}\ndata: {bitext: [{path: "{paths.corpora}/x.tsv"}]}\n'
    message = refusal(tmp_path, text)
    assert "`paths.corpora` is not set: give it on the command line, paths.corpora=FOLDER." in message
    assert load(tmp_path, text, "paths.corpora=/c").data.bitext[0].path == "/c/x.tsv"


def test_a_name_in_braces_that_is_not_known_lists_the_known_ones(tmp_path: Path):
    message = refusal(tmp_path, MINIMAL + 'paths: {corpora: /c}\noutput: "{paths.corpus}/x"\n')
    assert "{paths.corpus} is not known. Known: {name}, {language}, {paths.corpora}." in message


@pytest.mark.parametrize("name", ["corpora2", "Corpora", "my-corpora", "data_48"])
def test_a_path_may_have_any_name(tmp_path: Path, name: str):
    assert load(tmp_path, MINIMAL + f'paths: {{{name}: /c}}\noutput: "{{paths.{name}}}/x"\n').output == "/c/x"


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ('name: "demo-{language}"\n', "runs/demo-sw-sw"),
        ('paths: {corpora: "/c/{language}"}\noutput: "{paths.corpora}/x"\n', "/c/sw/x"),
    ],
    ids=["name", "path"],
)
def test_a_name_or_path_that_names_the_language_is_filled_in_where_it_is_used(tmp_path: Path, text: str, output: str):
    assert load(tmp_path, MINIMAL + text).output == output


def test_files_beside_the_recipe_are_found_and_others_are_left_as_they_are(tmp_path: Path):
    for name in ("a.tsv", "notes.jsonl"):
        (tmp_path / name).write_text("x")
    (tmp_path / "animals").mkdir()
    text = MINIMAL + (
        "data: {bitext: [{path: a.tsv}, {path: elsewhere.tsv}], annotations: {path: notes.jsonl}}\n"
        "evaluation: {collections: [{path: animals}, {path: someone/on-the-hub}]}\n"
    )
    recipe = load(tmp_path, text)
    assert [source.path for source in recipe.data.bitext] == [str(tmp_path / "a.tsv"), "elsewhere.tsv"]
    assert recipe.data.annotations.path == str(tmp_path / "notes.jsonl")
    assert [c.path for c in recipe.evaluation.collections] == [str(tmp_path / "animals"), "someone/on-the-hub"]


BASELINES = (
    MINIMAL
    + """
transport: {epsilon: 0.1, solver: sinkhorn}
training: {max_steps: 10, learning_rate: 1e-3}
baselines:
  pooled: {objectives: {pooled_mse: 1}}
  soft: {transport: {epsilon: 0.5}, training: {max_steps: 5}}
"""
)


def test_a_baseline_is_the_recipe_with_its_changes_and_without_baselines(tmp_path: Path):
    recipe = load(tmp_path, BASELINES)
    pooled, soft = recipe.baseline("pooled"), recipe.baseline("soft")
    assert (pooled.objectives, pooled.training, pooled.baselines) == ({"pooled_mse": 1.0}, recipe.training, {})
    assert (soft.objectives, soft.transport.epsilon, soft.transport.solver) == ({"transport": 1.0}, 0.5, "sinkhorn")
    assert soft.training == {"max_steps": 5, "learning_rate": 1e-3}
    assert recipe.transport.epsilon == 0.1
    assert recipe.training["max_steps"] == 10


@pytest.mark.parametrize("key", ["student", "data", "teacher", "seed", "objectivs"])
def test_a_baseline_may_change_three_keys_only(tmp_path: Path, key: str):
    message = refusal(tmp_path, MINIMAL + f"baselines: {{b: {{{key}: {{}}}}}}\n")
    assert f"baselines.b.{key}: a baseline may change objectives, transport, training only." in message
    assert str(tmp_path / "run.yaml") in message


@pytest.mark.parametrize(
    "changes",
    ["3", "{training: 3}", "{transport: null}", "{training: [max_steps]}", "{transport: {epsilom: 1}}", "{objectives: {x: y}}"],
)
def test_a_baseline_with_a_wrong_value_is_refused_when_the_recipe_is_read(tmp_path: Path, changes: str):
    message = refusal(tmp_path, MINIMAL + f"baselines: {{b: {changes}}}\n")
    assert message.startswith(f"{tmp_path / 'run.yaml'}: ")


def test_a_recipe_reads_back_from_its_own_yaml(tmp_path: Path):
    text = BASELINES + "data: {bitext: [{path: [a.en, a.sw], source: 0, target: 1, max_pairs: 9}]}\nstudent: {dropout: 1e-5}\n"
    recipe = load(tmp_path, text, "language=no")
    assert load(tmp_path, recipe.to_yaml()) == recipe
    assert yaml.safe_load(recipe.to_yaml()) == recipe.to_dict()


@pytest.mark.parametrize("name", ["1e4", "2024", "no", "null", "true", "अ: b", "a # b"])
def test_a_name_that_looks_like_something_else_reads_back_as_the_same_text(tmp_path: Path, name: str):
    recipe = load(tmp_path, f"language: sw\nname: '{name}'\n")
    assert recipe.name == name
    assert load(tmp_path, recipe.to_yaml()).name == name


def test_merge_keys_of_yaml_work(tmp_path: Path):
    text = MINIMAL + "training: &base {max_steps: 3, seed: 1}\nbaselines: {b: {training: {<<: *base, seed: 2}}}\n"
    assert load(tmp_path, text).baselines["b"]["training"] == {"max_steps": 3, "seed": 2}
