"""Progress of a whole run: how long it will take on this machine, which stage it is in, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from ..speed import BUSY, Speed, Work, in_words
from .data import Data, examples_seen
from .recipe.distillation import Recipe

# Tokens of the texts that the speed was measured with, and tokens a word in English and in languages that are cut finer.
_MEASURED_TOKENS, _TOKENS_PER_WORD = 16, 1.6
_MINILM = 6 * 384**2
_SAMPLE = 500


class Progress:
    """Prints before every stage its number, its name and how long the rest will take.

    The measured times of finished stages correct the estimates of the others.

    Args:
        say: prints.
        expected: stage to seconds, in the order of the run, without the finished ones.
        clock: seconds, ever growing.
    """

    def __init__(self, say: Callable[[str], None], expected: Mapping[str, float], clock: Callable[[], float] = time.monotonic):
        self._say, self._clock = say, clock
        self._expected = dict(expected)
        self._began: dict[str, float] = {}
        self._taken: dict[str, float] = {}

    def announce(self, *, busy: bool = False) -> None:
        """Says how long the whole will take.

        Args:
            busy: whether other programs use the machine, which no estimate knows.
        """
        time = in_words(sum(self._expected.values()))
        self._say(f"{BUSY} this run takes about {time}." if busy else f"This run will take about {time} on this machine.")

    def begin(self, stage: str) -> None:
        """Prints the stage and the time left; stages without an estimate are skipped."""
        now = self._clock()
        if self._began:
            last = next(reversed(self._began))
            self._taken.setdefault(last, now - self._began[last])
        if stage not in self._expected:
            return
        self._began[stage] = now
        names = list(self._expected)
        place = names.index(stage)
        left = sum(self._expected[name] for name in names[place:]) * self._slower()
        self._say(f"[{place + 1}/{len(names)}] {stage}; about {in_words(left)} left")

    def _slower(self) -> float:
        """Measured time over expected time of the stages so far; 1 while too little is known."""
        expected = sum(self._expected[name] for name in self._taken)
        taken = sum(self._taken.values())
        return taken / expected if expected and taken > 5 else 1.0


def relative_size(config: Any) -> float:
    """Layers × hidden size², against the model that the speed was measured with."""
    return config.num_hidden_layers * config.hidden_size**2 / _MINILM


def mean_tokens(texts: Sequence[str]) -> float:
    """About how many tokens a text has, on the mean."""
    return sum(len(text.split()) + 2 for text in texts) / max(len(texts), 1) * _TOKENS_PER_WORD


def relative_length(texts: Sequence[str]) -> float:
    """Tokens of a text, on the mean of some, against the texts that the speed was measured with."""
    return mean_tokens(texts) / _MEASURED_TOKENS


def expected_stages(recipe: Recipe, data: Data, backbone: Any, speed: Speed, done: Container[str]) -> dict[str, float]:
    """Seconds of each stage of a distillation that follows the reading of its data.

    Args:
        recipe: of the run.
        data: what it has read.
        backbone: the teacher's configuration, whose size the student shares.
        speed: of this machine.
        done: the systems that are trained already.
    """
    size = relative_size(backbone)
    unit = relative_length([*data.sample[:_SAMPLE]["source"], *data.sample[:_SAMPLE]["target"]])
    sources = 0 if recipe.teacher.live else len(data.train) + len(data.held_out)
    expected = {"teacher vectors": Work(unit * sources, 0, 2.0, size).seconds(speed)}
    first = {} if recipe.student.prealign is None else {"prealigned": recipe.prealignment().training}
    trainings = first | {name: own.training for name, own in recipe.systems.items()}
    for name, training in trainings.items():
        if name not in done:
            trained = examples_seen(training, len(data.sample))
            expected[f"training {name}"] = Work(0, unit * trained, 5.0, size).seconds(speed)
    queries = len(data.held_out) + sum(len(collection.queries) for collection in data.collections)
    documents = len(data.held_out) + sum(len(collection.corpus) for collection in data.collections)
    everything = (len(trainings) + 2) * queries + documents
    expected["evaluation"] = Work(unit * everything, 0, 10.0, size).seconds(speed)
    return expected
