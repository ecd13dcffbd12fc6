"""The command line's grammar: options stand anywhere, in every command."""

import argparse
import itertools
from collections.abc import Iterator

import pytest

from recipes.cli import _parser, main


def commands() -> dict[str, argparse.ArgumentParser]:
    (subparsers,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return subparsers.choices


def example(action: argparse.Action) -> list[str]:
    """An option, or what stands for a positional argument, with a value of its type."""
    value = next(
        iter(action.choices or []), {int: "3", float: "0.5"}.get(action.type, "a=1" if action.dest == "overrides" else "word")
    )
    values = [] if action.nargs == 0 else [str(value)] * (action.nargs if isinstance(action.nargs, int) else 1)
    return [*action.option_strings[-1:], *values]


def orders(parser: argparse.ArgumentParser) -> Iterator[list[str]]:
    """The same arguments with the options in front, behind and between."""
    actions = [action for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    positional = [example(action) for action in actions if not action.option_strings]
    required = [action for action in actions if action.option_strings and action.required]
    group = [group._group_actions[0] for group in parser._mutually_exclusive_groups if group.required]
    single = next(
        (action for action in actions if action.option_strings and action.nargs is None and action not in required), None
    )
    # Options of several values would take what follows them, so one of another kind stands last.
    options = [example(action) for action in [*required, *group, *([single] if single and single not in group else [])]]
    debug = ["--debug"]
    yield list(itertools.chain(*positional, *options, debug))
    yield list(itertools.chain(*options, debug, *positional))
    yield list(itertools.chain(positional[0] if positional else [], *options, debug, *positional[1:]))


@pytest.mark.parametrize("name", commands())
def test_options_may_stand_anywhere_in_every_command(name):
    parser = _parser()
    read = [vars(parser.parse_args([name, *arguments])) for arguments in orders(commands()[name])]
    assert read[0] == read[1] == read[2]
    assert read[0]["debug"]


DISTILL = ["distill", "--teacher", "T", "--target", "sw", "--output", "O", "--bitext", "a.txt", "seed=1", "b.txt"]


@pytest.mark.parametrize(
    ("arguments", "key", "expected"),
    [
        (["search", "INDEX", "-k", "5", "query"], "query", "query"),
        (["run", "recipe.yaml", "seed=1", "--debug", "language=so"], "overrides", ["seed=1", "language=so"]),
        (DISTILL, "overrides", ["seed=1"]),
        (DISTILL, "bitext", ["a.txt", "b.txt"]),
        (["search", "INDEX", "--", "-k"], "query", "-k"),
    ],
)
def test_what_stands_between_options_is_read_as_what_it_is(arguments, key, expected):
    assert getattr(_parser().parse_args(arguments), key) == expected


def test_runs_may_stand_behind_the_metrics(tmp_path):
    runs = [str(tmp_path / name) for name in "ab"]
    for run in runs:
        (tmp_path / run).write_text("")
    options = _parser().parse_args(["compare", "--metric", "AP@100", "RR@10", *runs, "--systems", "x"])
    assert (options.runs, options.metric) == (runs, ["AP@100", "RR@10"])


def test_unknown_options_are_named(capsys):
    with pytest.raises(SystemExit):
        main(["doctor", "--depug"])
    assert "--depug" in capsys.readouterr().err
