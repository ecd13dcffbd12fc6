"""What a run says at its end."""

import shlex

import pytest
from datasets import Dataset

from modeling_optical.evaluation import Collection, Evaluator
from recipes.cli import main
from recipes.runs.data import Data
from recipes.runs.recipe.distillation import Recipe
from recipes.runs.reporting.report import held_out_collections
from recipes.runs.reporting.verdict import next_steps, verdicts


def judged(evaluator, system, ranks, language="sw"):
    """Records a run in which the relevant document of query n has the given rank."""
    names = {f"q{n}": f"d{n}" for n in range(len(ranks))}
    runs = {
        query: {f"x{place}": 10.0 - place for place in range(1, rank)} | {names[query]: 10.0 - rank}
        for query, rank in zip(names, ranks, strict=True)
    }
    qrels = {query: {document: 1} for query, document in names.items()}
    evaluator.record(system, Collection("tiny", language, {}, dict.fromkeys(names, ""), qrels), runs)


@pytest.mark.parametrize(("student", "words"), [(1, "better than"), (4, "worse than"), (2, "not distinguishable from")])
def test_the_verdict_compares_the_student_with_its_start_and_with_the_best_rival(student, words):
    evaluator = Evaluator(metrics=["RR@10"])
    judged(evaluator, "optical", [student] * 60)
    for system, rank in (("start", 2), ("weak", 8), ("strong", 2)):
        judged(evaluator, system, [rank] * 60)
    (found,) = verdicts(evaluator, "RR@10", ["weak", "strong", "absent"])
    assert f"The student is {words} its start (0.500)" in found
    assert f"The student is {words} the best rival, strong (0.500)" in found
    (without_rivals,) = verdicts(evaluator, "RR@10", [])
    assert "rival" not in without_rivals


@pytest.mark.parametrize(("floor", "student", "share"), [(10, 1, "100%"), (10, 10, "0%"), (4, 2, "33%"), (1, 2, None)])
def test_of_the_way_is_measured_from_the_floor_to_the_ceiling(floor, student, share):
    evaluator = Evaluator(metrics=["RR@10"])
    judged(evaluator, "floor", [floor] * 60)
    judged(evaluator, "optical", [student] * 60)
    judged(evaluator, "ceiling", [1] * 60, "en")
    (found,) = verdicts(evaluator, "RR@10", [])
    assert ("of the way" in found) == (share is not None)
    if share is not None:
        assert f"{share} of the way from the floor ({1 / floor:.3f}) to the ceiling (1.000)" in found
    assert "the floor" in found  # what stands for a start that was not changed


def test_too_few_queries_get_no_verdict():
    evaluator = Evaluator(metrics=["RR@10"])
    judged(evaluator, "optical", [1] * 49)
    judged(evaluator, "start", [9] * 49)
    (found,) = verdicts(evaluator, "RR@10", [])
    assert "49 queries are too few" in found
    assert "better" not in found


def test_the_commands_that_come_next_are_commands(tmp_path, capsys):
    recipe = Recipe.of({"language": "sw", "teacher": {"model": "org/teach er"}})
    commands = [line[11:] for line in next_steps(recipe, tmp_path / "a run").splitlines() if "  optical " in line]
    assert len(commands) >= 6
    for command in commands:
        name, word, *_ = shlex.split(command)
        assert name == "optical"
        with pytest.raises(SystemExit) as stopped:
            main([word, "--help"])
        assert stopped.value.code == 0


def test_held_out_names_of_emoji_are_measured_apart_from_held_out_bitext(tmp_path):
    (tmp_path / "names.jsonl").write_text("")
    (tmp_path / "pairs.tsv").write_text("")
    source = {"path": str(tmp_path / "pairs.tsv"), "source": 0, "target": 1, "language": "sw"}
    data = {"annotations": {"path": str(tmp_path / "names.jsonl")}, "bitext": [source]}
    recipe = Recipe.of({"language": "sw", "teacher": {"model": "org/teacher"}, "data": data})
    rows = {
        "source": ["cat", "a long sentence", "dog"],
        "target": ["paka", "sentensi ndefu", "mbwa"],
        "language": ["sw"] * 3,
        "origin": ["names.jsonl", "pairs.tsv", "names.jsonl"],
    }
    held_out = Dataset.from_dict(rows)
    found = held_out_collections(recipe, Data(held_out, held_out, held_out))
    assert {one.name: list(one.queries.values()) for one in found} == {
        "held_out_annotations": ["paka", "mbwa"],
        "held_out_bitext": ["sentensi ndefu"],
    }
