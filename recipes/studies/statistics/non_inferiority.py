"""Is a system at most so much worse than another? One-sided tests for values of several trainings on the same queries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .seeds_and_queries import checked_table


@dataclass(frozen=True)
class MeanDifference:
    """A mean of paired differences, with the error that it has because seeds and queries are samples.

    Attributes:
        seeds, queries: how many.
        mean: of all differences.
        error: its standard error; None where it cannot be estimated (a single query, or no two different values).
        freedom: degrees of freedom of the t distribution that (mean - truth) / error has, about.
        note: why there is no error.
    """

    seeds: int
    queries: int
    mean: float
    error: float | None = None
    freedom: float | None = None
    note: str = ""

    def p_above(self, bound: float) -> float | None:
        """One-sided p of the hypothesis that the true mean is at most `bound`."""
        from scipy.stats import t

        if self.error is None:
            return None
        return float(t.sf((self.mean - bound) / self.error, self.freedom))

    def p_different(self) -> float | None:
        """Two-sided p of the hypothesis that the true mean is 0."""
        from scipy.stats import t

        return None if self.error is None else float(2 * t.sf(abs(self.mean) / self.error, self.freedom))

    def lower(self, level: float = 0.95) -> float | None:
        """One-sided lower confidence bound: `p_above(bound) < 1 - level` just for the bounds below it."""
        from scipy.stats import t

        return None if self.error is None else float(self.mean - t.ppf(level, self.freedom) * self.error)


def mean_difference(differences: Sequence[Sequence[float]] | np.ndarray) -> MeanDifference:
    """The mean of differences of two systems, seeds and queries both being samples.

    Args:
        differences: (seeds, queries), or (queries,) of one seed.

    Every seed is measured on the same queries, so the two are crossed and the error of the mean is that of a two-way layout
    with random effects: `(MS_seeds + MS_queries - MS_rest) / (seeds * queries)`, its degrees of freedom by Satterthwaite's
    rule (Clark, Journal of Verbal Learning and Verbal Behavior 12, 1973: quasi F; Satterthwaite, Biometrics Bulletin 2,
    1946). Where the seeds differ by less than their noise, the queries' part alone counts, never less. With one seed it is the
    paired t-test, which says nothing about other seeds. Two seeds that differ much give a test that errs a little too often.

    Raises:
        ValueError: for an empty table or a value that is not finite.
    """
    table = checked_table(differences)
    table = np.where(np.abs(table) < 1e-12, 0.0, table)  # ties that differ by rounding only are ties
    seeds, queries = table.shape
    mean = float(table.mean())
    if queries == 1:
        return MeanDifference(seeds, queries, mean, note="a single query: no test")
    by_query = table.mean(0)
    of_queries = seeds * float(by_query.var(ddof=1))
    freedom: float = queries - 1
    square = of_queries
    if seeds > 1:
        by_seed = table.mean(1)
        of_seeds = queries * float(by_seed.var(ddof=1))
        rest = table - by_query - by_seed[:, None] + mean
        of_rest = float((rest**2).sum()) / ((seeds - 1) * (queries - 1))
        if of_seeds > of_rest:
            square = of_seeds + of_queries - of_rest
            spread = of_seeds**2 / (seeds - 1) + of_queries**2 / (queries - 1) + of_rest**2 / ((seeds - 1) * (queries - 1))
            freedom = min(square**2 / spread, queries - 1)
    if square <= 1e-24:
        return MeanDifference(seeds, queries, mean, note="the same difference at every query: no test")
    return MeanDifference(seeds, queries, mean, math.sqrt(square / (seeds * queries)), freedom)


@dataclass(frozen=True)
class NonInferiority:
    """Whether the first system is at most `margin` below the second.

    Attributes:
        difference: mean of first less second, and its error.
        margin: the loss that would not matter, above 0.
        p: one-sided p of the hypothesis that the first is below the second by the margin or more; None without an error.
        lower: lower bound of the difference, one-sided, at 95 %.
    """

    difference: MeanDifference
    margin: float
    p: float | None
    lower: float | None


def non_inferiority(differences: Sequence[Sequence[float]] | np.ndarray, margin: float) -> NonInferiority:
    """Tests whether a system is not worse than another by a margin: it is not if p is small, or `lower` above `-margin`.

    A large p does not show harm: few queries and seeds cannot exclude it. `mean_difference` says what the test is.

    Args:
        differences: first less second, (seeds, queries).
        margin: in the metric's units: 0.005 for half a point.

    Raises:
        ValueError: for a margin that is not above 0, and as `mean_difference`.
    """
    if not margin > 0:
        raise ValueError(f"the margin is {margin!r}; it must be above 0: the loss that would not matter.")
    found = mean_difference(differences)
    return NonInferiority(found, margin, found.p_above(-margin), found.lower())
