"""The console script `optical`."""

from __future__ import annotations

import argparse
import io
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from typing import Any

from .commands import (
    adapt_vocabulary,
    align,
    card,
    compare,
    completion,
    demo,
    distill,
    doctor,
    encode,
    evaluate,
    export,
    fine_tune,
    index,
    project_teacher,
    push,
    run,
    search,
    serve,
    study,
    train_teacher,
)

# One file per command; heavy imports are inside their functions, so that `optical --help` answers at once.
_COMMANDS = (
    run,
    distill,
    adapt_vocabulary,
    train_teacher,
    fine_tune,
    project_teacher,
    evaluate,
    compare,
    encode,
    index,
    search,
    serve,
    demo,
    align,
    export,
    study,
    card,
    push,
    doctor,
    completion,
)

_FIRST_PROCESS_SECONDS = 3.0
_GOES_ON = ("distill", "run", "study", "train-teacher", "fine-tune", "encode", "index", "push")
_ENDED_BY_SIGPIPE = 141  # as a shell says it
_OVERRIDE = re.compile(r"[a-z_]+(\.\w+|\[\d+\])*=")

_DESCRIPTION = """\
Teach an English retriever another language, from bitext.

  optical run recipes/quickstart/swahili.yaml     a whole run: distil, evaluate, write card and results
  optical distill --teacher … --bitext …          the same without a recipe file
  optical adapt-vocabulary --student … --bitext … a student with pieces for another language
  optical train-teacher recipes/…/teacher.yaml    a retriever from labelled queries
  optical fine-tune --model … --pairs …           a student and ten or more labelled pairs
  optical project-teacher --model … --texts …     shorter token vectors by PCA, and what that costs
  optical evaluate --queries-model … …            measure a query encoder on a collection
  optical compare runs/a runs/b --metric AP@100   test the differences between runs, query by query
  optical index corpus.jsonl --model … …          encode and index a corpus; `optical encode` does it on many GPUs
  optical search INDEX "swali langu"              passages, with the words that matched
  optical serve INDEX                             the same over HTTP
  optical demo [FOLDER …]                         try students out in the browser
  optical align STUDENT SENTENCE TRANSLATION      the transport plan of a pair, as a picture or a page
  optical export MODEL --format … --output …      write it for sentence-transformers, PyLate, colbert-ai or ONNX
  optical study recipes/studies/…/study.yaml      a research question: a grid of runs and its report
  optical card RUN --license … --add-results …    complete the model card of a finished run
  optical push FOLDER org/name                    put a student on the Hub (--dry-run shows what would go there)
  optical doctor                                  versions, devices, missing packages (`optical --version`: versions alone)
  optical completion bash                         completion by the tab key: eval "$(optical completion bash)"
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Every error becomes one message and exit status 2, never a stack trace.

    If the reader of the output ends early (`| head`), the command ends silently with the status of SIGPIPE.
    """
    # Before PyTorch is imported: threads that wait for a core and spin take it from those that work (docs/speed.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        # A console that cannot show a character shows its number; the command goes on.
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="backslashreplace")
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        status = options.work(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # What Python still wants to write at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _ENDED_BY_SIGPIPE
    except KeyboardInterrupt:
        again = " Start the same command again to go on where it stopped." if options.command in _GOES_ON else ""
        print(f"\noptical: interrupted.{again}", file=sys.stderr)
        return 130
    except BaseException as error:  # the last place: libraries raise many types, and a panic in Rust is not an Exception
        if options.debug or isinstance(error, (SystemExit, GeneratorExit)):
            raise
        rank = int(os.environ.get("RANK", "0"))
        if rank > 0:
            # What all processes meet, the first one says, and the launcher ends the others; what only this one meets, it says.
            time.sleep(_FIRST_PROCESS_SECONDS)
        print(f"optical: {f'(process {rank}) ' if rank else ''}{_shown(_sentence(error))}", file=sys.stderr, flush=True)
        print("(--debug shows where in the code)", file=sys.stderr, flush=True)
        return 2


def _shown(text: str) -> str:
    """A message that is safe for a terminal: it may quote other people's files."""
    from modeling_optical.files.lines import printable

    return "\n".join(map(printable, text.split("\n")))


def _sentence(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, (ValueError, OSError, ImportError, ArithmeticError)):
        return text or type(error).__name__
    # The messages of these do not say what happened without their name.
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="optical", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show the versions of this package, Python, torch and transformers"
    )
    parser.add_argument("--debug", action="store_true", help="show stack traces")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_CommandParser)
    for command in _COMMANDS:
        command.add_parser(commands)
    for command_parser in commands.choices.values():
        command_parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show stack traces")
    return parser


class _Version(argparse.Action):
    """Prints versions without importing what they are of."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        others = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers"))
        print(f"optical {metadata.version('modeling-optical')} (Python {platform.python_version()}, {others})")
        parser.exit()


class _Once(argparse.Action):
    """Stores the values of an option; refuses second ones for an option of several, which would silently replace the first."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: str | None = None) -> None:
        if option_string and self.nargs == "+" and getattr(namespace, self.dest, self.default) is not self.default:
            raise argparse.ArgumentError(self, f"given twice; give all values behind one: {option_string} A B")
        setattr(namespace, self.dest, values)


class _CommandParser(argparse.ArgumentParser):
    """A parser whose options may stand anywhere: before, between and behind the other arguments."""

    _intermixed = False

    def __init__(self, *arguments: Any, **settings: Any):
        super().__init__(*arguments, **settings)
        for action in (None, "store"):
            self.register("action", action, _Once)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._intermixed:  # argparse's own intermixed parsing calls this method for its two passes
            return super().parse_known_args(args, namespace)
        self._intermixed = True
        try:
            return self.parse_known_intermixed_args(self._without_theft(list(args)), namespace)
        finally:
            self._intermixed = False

    def _without_theft(self, words: list[str]) -> list[str]:
        """The arguments; first those that an option of several values would wrongly take: overrides (`key=value`), and existing
        runs of `optical compare`."""
        several = {name for action in self._actions if action.nargs == "+" for name in action.option_strings}
        kinds = {action.dest for action in self._actions if not action.option_strings}
        first: list[str] = []
        kept: list[str] = []
        taken = 0
        for place, word in enumerate(words):
            if word == "--":
                return [*first, *kept, *words[place:]]
            if word.startswith("-"):
                taken = 1 if word in several else 0
            elif taken:
                foreign = ("overrides" in kinds and _OVERRIDE.match(word)) or ("runs" in kinds and taken > 1)
                if foreign and os.path.exists(word) == ("runs" in kinds):
                    first.append(word)
                    continue
                taken += 1
            kept.append(word)
        return [*first, *kept]


if __name__ == "__main__":
    sys.exit(main())
