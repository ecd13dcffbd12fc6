"""Which units of a text a noise of a level changes."""

from __future__ import annotations

import random


def chosen_units(units: int, level: float, generator: random.Random) -> set[int]:
    """Positions of the units that are changed: `level * units` of them, on average over texts.

    The number is rounded up or down at random, so that short texts have their share, too. From the same state of the generator
    a higher level chooses all that a lower one does, and the generator is left in the same state.
    """
    rounding = generator.random()
    order = generator.sample(range(units), units)
    return set(order[: min(int(level * units + rounding), units)])
