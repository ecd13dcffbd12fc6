"""The summary at the end of a run: how good the student is, in sentences, and which commands come next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from hub_cards.languages import language_name
from hub_cards.results import CEILING, FEWEST_QUERIES, FLOOR, of_the_way
from modeling_optical.evaluation import Evaluator, compare_paired

from ..recipe.distillation import Recipe
from ..run_folder import student_of

CHANCE = 0.05
START = "start"


def verdicts(evaluator: Evaluator, metric: str, rivals: Iterable[str], student: str = "optical") -> list[str]:
    """A paragraph per collection and language: the student beside floor and ceiling, against its start and the best rival.

    Args:
        evaluator: with the values of all systems.
        metric: for the comparison.
        rivals: names of the systems that one could use instead of the student.
        student: its name.
    """
    rivals, found = list(rivals), []
    for system, collection, language in list(evaluator.values):
        own = evaluator.values[system, collection, language]
        if system != student or metric not in own:
            continue
        where = f"{collection}, {language}"
        queries = len(own[metric])
        if queries < FEWEST_QUERIES:
            found.append(f"{where}: {queries} queries are too few for a verdict; take {FEWEST_QUERIES} or more.")
            continue
        others = {
            name: values[metric]
            for (name, one, code), values in evaluator.values.items()
            if one == collection and metric in values and (code == language or name == CEILING)
        }
        sentences = [f"{where} ({queries:,} queries): {metric} {_mean(own[metric]):.3f}{_way(others, student)}."]
        start = START if START in others else FLOOR
        if start in others:
            sentences.append(_against(own[metric], others[start], "its start" if start == START else "the floor"))
        beside = {name: _mean(others[name]) for name in rivals if name in others}
        if beside:
            best = max(beside, key=lambda name: beside[name])
            sentences.append(_against(own[metric], others[best], f"the best rival, {best}"))
        found.append(" ".join(sentences))
    return found


def _mean(values: dict[str, float]) -> float:
    return sum(values.values()) / len(values)


def _way(values: dict[str, dict[str, float]], student: str) -> str:
    if FLOOR not in values or CEILING not in values:
        return ""
    floor, own, ceiling = (_mean(values[name]) for name in (FLOOR, student, CEILING))
    share = of_the_way(own, floor, ceiling)
    return "" if share is None else f", {share:.0%} of the way from the floor ({floor:.3f}) to the ceiling ({ceiling:.3f})"


def _against(own: dict[str, float], other: dict[str, float], name: str) -> str:
    test = compare_paired(list(own.values()), [other[query] for query in own])
    chance = test.randomisation is None or test.randomisation >= CHANCE
    word = "not distinguishable from" if chance else "better than" if test.difference > 0 else "worse than"
    p = "" if test.randomisation is None else f" (p = {test.randomisation:.2g}, paired randomisation test)"
    return f"The student is {word} {name} ({test.second:.3f}): {test.difference:+.3f}{p}."


def next_steps(recipe: Recipe, folder: Path) -> str:
    """Where the student is, and the commands that search, serve, measure and publish it."""
    student, start = student_of(folder, "optical"), student_of(folder, START)
    documents = str(student) if recipe.student.encodes_documents else recipe.teacher.model
    language = recipe.languages[0]
    asked, read = (shlex.quote(str(name)) for name in (student, documents))
    beside = shlex.quote(f"{folder}-more")
    measure = f"optical evaluate --queries-model {asked} --documents-model {read} --collection FOLDER --language {language}"
    steps = [
        ("search", f"optical index corpus.jsonl --model {read} --output index"),
        ("", f'optical search index "a query in {language_name(language)}" --model {asked}'),
        ("serve", f"optical serve index --model {asked}"),
        ("measure", f"{measure} --output {beside}"),
        ("", f"optical card {shlex.quote(str(folder))} --add-results {beside}"),
    ]
    if recipe.license is None:
        steps.append(("licence", f"optical card {shlex.quote(str(folder))} --license LICENCE"))
    steps.append(("publish", f"optical push {asked} ORGANISATION/NAME"))
    lines = [f"Student: {student}", f"Before training: {start} (`measure` it, too: the difference is what training brought)"]
    return "\n".join([*lines, "Next:", *(f"  {name:8} {command}" for name, command in steps)])
