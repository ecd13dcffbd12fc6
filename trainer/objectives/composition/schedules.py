"""Weights that change in the course of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...option_checks import finite_number, unknown_key


@dataclass(frozen=True)
class WeightSchedule:
    """A weight that goes linearly from `initial` to `final` and stays there; a constant one has both equal.

    Args:
        initial, final: numbers of at least 0.
        steps: updates until `final` is reached; below 1, a share of all updates.
    """

    initial: float
    final: float
    steps: float = 0.0

    @classmethod
    def parse(cls, value: Any, where: str) -> WeightSchedule:
        """A schedule from a number or a mapping `{"initial": …, "final": …, "steps": …}`.

        Raises:
            ValueError: naming the key, its value and the allowed values.
        """
        if not isinstance(value, Mapping):
            number = finite_number(value, where, "a weight is a number of at least 0, or {initial: …, final: …, steps: …}", 0.0)
            return cls(number, number)
        known = ("initial", "final", "steps")
        for key in value:
            if key not in known:
                raise ValueError(unknown_key(f"{where}.{key}", str(key), known))
        for key in known:
            if key not in value:
                raise ValueError(f"{where} lacks the key {key!r}: a schedule is {{initial: …, final: …, steps: …}}.")
        numbers = {key: finite_number(value[key], f"{where}.{key}", "it must be a number of at least 0", 0.0) for key in known}
        if numbers["steps"] == 0:
            raise ValueError(f"{where}.steps is 0; it must be a number of updates, or a share of all of them below 1.")
        return cls(**numbers)

    def at(self, step: int, total_steps: int) -> float:
        """The weight before update `step` (from 0) of `total_steps`."""
        steps = self.steps if self.steps >= 1 else self.steps * total_steps
        progress = min(step / steps, 1.0) if steps > 0 else 1.0
        return self.initial + (self.final - self.initial) * progress

    @property
    def largest(self) -> float:
        """The largest weight that it takes."""
        return max(self.initial, self.final)

    def __str__(self) -> str:
        return f"{self.final:g}" if self.initial == self.final else f"{self.initial:g} to {self.final:g}"
