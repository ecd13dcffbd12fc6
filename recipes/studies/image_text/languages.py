"""What a report of images and captions computes: settings of languages with bitext, values and intervals over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from recipes.studies.statistics.seeds_and_queries import bootstrap_over_languages

from ..reporting.comparisons import Estimate, estimate, in_order, selected, table_of
from ..reporting.results_table import StudyResults

SEEN = "seen"
"""The factor that says which languages have bitext: codes joined by `+`."""
Interval = tuple[float, float] | None
Unit = tuple[str, str]
"""A setting of languages with bitext, and a language that is tested."""


class Panel:
    """One set of captioned images.

    Args:
        results: of the study.
        collection: the set.

    Attributes:
        languages: those tested, in the study's order.
        settings: those run, the one with the most languages first.
        systems: trained ones, in the study's order.
        references: the others that were measured.
        images: how many.
    """

    def __init__(self, results: StudyResults, collection: str):
        self.collection = collection
        self.metric = results.study.metrics[0]
        rows = selected(results.queries, collection=collection)
        self._trained, self._references = (rows[rows["stage"] == stage] for stage in ("distil", "reference"))
        there = set(rows["language"])
        self.languages = [code for code in results.study.languages if code in there]
        self.settings = sorted(self._trained[SEEN].unique(), key=lambda setting: -len(setting.split("+")))
        self.systems = in_order(list(self._trained["system"].unique()), results.study.systems)
        self.references = set(self._references["system"])
        self.images = rows["query"].nunique()

    @property
    def targets(self) -> list[str]:
        """Languages that have bitext in some setting."""
        return [code for code in self.languages if any(code in setting.split("+") for setting in self.settings)]

    def seen_in(self, setting: str) -> list[str]:
        """Target languages with bitext in a setting."""
        return [code for code in self.targets if code in setting.split("+")]

    def unseen_in(self, setting: str) -> list[str]:
        """Target languages without."""
        return [code for code in self.targets if code not in setting.split("+")]

    @property
    def left_out(self) -> dict[str, Unit]:
        """Language to the unit in which it, and it alone of the largest setting's, has no bitext; as far as that was run."""
        if not self.settings:
            return {}
        largest = set(self.settings[0].split("+"))
        found = {}
        for code in self.seen_in(self.settings[0]):
            setting = next((one for one in self.settings if set(one.split("+")) == largest - {code}), None)
            if setting is not None:
                found[code] = (setting, code)
        return found

    def rows_of(self, system: str, unit: Unit) -> pd.DataFrame:
        """A trained system's rows in a language."""
        return selected(self._trained, system=system, seen=unit[0], language=unit[1])

    def reference_rows(self, system: str, language: str) -> pd.DataFrame:
        """A reference's rows in a language."""
        return selected(self._references, system=system, language=language)

    def of(self, system: str, unit: Unit, metric: str | None = None) -> Estimate | None:
        """A trained system's value in a language."""
        return estimate(self.rows_of(system, unit), metric or self.metric)

    def measured(self, systems: Sequence[str], units: Sequence[Unit]) -> bool:
        """Whether all systems were measured in all units."""
        return bool(units) and all(not self.rows_of(system, unit).empty for system in systems for unit in units)

    def value(
        self, systems: Sequence[str], units: Sequence[Unit], statistic: Callable[..., np.ndarray]
    ) -> tuple[float | None, Interval]:
        """A statistic of systems over units, and its interval over seeds and images, the languages being given.

        Args:
            systems: one, or several that are compared.
            units: in which they are measured.
            statistic: takes for each system an array (units, samples), gives (samples,).

        Returns:
            None where something was not measured. An image is the same in all languages, and so are its draws.
        """
        if not self.measured(systems, units):
            return None, None
        tables: dict[str, dict[str, np.ndarray]] = {}
        for number, unit in enumerate(units):
            found = [t for system in systems if (t := table_of(self.rows_of(system, unit), self.metric)) is not None]
            images = sorted(set.intersection(*(set(table.columns) for table in found)))
            seeds = sorted(set.intersection(*(set(table.index) for table in found)))
            if not images or not seeds:
                return None, None
            tables[str(number)] = {str(i): table.loc[seeds, images].to_numpy() for i, table in enumerate(found)}
        means = [np.array([[own[str(i)].mean()] for own in tables.values()]) for i in range(len(systems))]
        interval = bootstrap_over_languages(
            tables, lambda drawn: statistic(*(drawn[str(i)] for i in range(len(systems)))), one_training=True
        )
        return float(statistic(*means)[0]), interval


def mean(values: np.ndarray) -> np.ndarray:
    """Over the units."""
    return values.mean(axis=0)


def deviation(values: np.ndarray) -> np.ndarray:
    """Standard deviation over the units (n - 1)."""
    return values.std(axis=0, ddof=1)


def first_less_rest(first: int) -> Callable[[np.ndarray], np.ndarray]:
    """Mean over the first so many units less that over the others."""

    def statistic(values: np.ndarray) -> np.ndarray:
        return values[:first].mean(axis=0) - values[first:].mean(axis=0)

    return statistic


def difference_of(statistic: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The statistic of one system less that of another."""
    return lambda one, other: statistic(one) - statistic(other)
