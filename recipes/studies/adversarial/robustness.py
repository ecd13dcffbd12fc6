"""What a table of clean and noisy queries says: means over languages, drops, and adversarial against plain training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from recipes.studies.statistics.non_inferiority import MeanDifference, NonInferiority, mean_difference, non_inferiority
from recipes.studies.statistics.seeds_and_queries import bootstrap_over_languages

from ..reporting.comparisons import in_order, selected, table_of
from ..reporting.results_table import CLEAN, StudyResults
from ..study import ALL_LANGUAGES

Tables = Mapping[str, pd.DataFrame]
"""Language to seeds (down) and queries (across)."""


@dataclass
class AdversarialOptions:
    """What the report looks at.

    Args:
        main: plain training.
        plain: plain trainings of different length, `main` among them: each arm is compared with the one that had as many
            updates and with the one that had as many forward passes.
        arms: the systems that the question is about.
        drawn: systems of the curves.
        high: the group of languages that must not be harmed.
        margin: the loss, in the metric's units, that would not matter.
        metrics: collection to the metric that decides there, where it is not the study's first.
        fewest_changed: a noise counts in a language if, at its highest level, at least this share of the queries looks
            different to the student.
    """

    main: str = "optical"
    plain: list[str] = field(default_factory=list)
    arms: list[str] = field(default_factory=list)
    drawn: list[str] = field(default_factory=list)
    high: str = "high"
    margin: float = 0.005
    metrics: dict[str, str] = field(default_factory=dict)
    fewest_changed: float = 0.25

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ValueError(f"margin is {self.margin!r}; it must be above 0, in the metric's units (0.005: half a point).")
        if not 0 < self.fewest_changed <= 1:
            raise ValueError(f"fewest_changed is {self.fewest_changed!r}; it is a share, above 0 and at most 1.")


class Panel:
    """One collection, with students of one language each or with one student of all."""

    def __init__(self, results: StudyResults, collection: str, pooled: bool, options: AdversarialOptions):
        self.results, self.collection, self.pooled, self.options = results, collection, pooled, options
        self.metric = options.metrics.get(collection, results.study.metrics[0])
        rows = selected(results.queries, collection=collection)
        of_all = rows["student"] == ALL_LANGUAGES
        rows = rows[of_all | (rows["stage"] == "reference")] if pooled else rows[~of_all]
        trained = rows[rows["stage"] == "distil"]
        there = set(trained["language"])
        self.languages = [code for code in results.study.languages if code in there]
        self.systems = in_order(list(rows["system"].unique()), results.study.systems) if self.languages else []
        self._tables = {
            key: table
            for key, group in rows.groupby(["system", "language", "noise", "level"], sort=False)
            if (table := table_of(group, self.metric)) is not None
        }

    @property
    def label(self) -> str:
        """Its name in tables."""
        return f"{self.collection}, one student of all languages" if self.pooled else self.collection

    def student_of(self, language: str) -> str:
        """The student that is tested in the language."""
        return ALL_LANGUAGES if self.pooled else language

    @property
    def levels(self) -> dict[str, list[float]]:
        """Kind of noise to its levels."""
        noise = self.results.study.query_noise
        return {} if noise is None else noise.levels

    @cached_property
    def noise(self) -> pd.DataFrame:
        """What each noise changed, a row per language, kind and level; means over the seeds."""
        counts = selected(self.results.noise, collection=self.collection)
        counts = counts[(counts["student"] == ALL_LANGUAGES) == self.pooled]
        numbers = ["queries", "applicable", "changed", "seen", "units"]
        grouped = counts.groupby(["language", "noise", "level"], sort=False)
        return grouped[numbers].mean().join(grouped["why_not"].first()).reset_index()

    def reaches(self, language: str, kind: str) -> bool:
        """Whether enough of the language's queries look different to the student at the noise's highest level."""
        found = selected(self.noise, language=language, noise=kind)
        if found.empty:
            return False
        highest = found.loc[found["level"].idxmax()]
        return bool(highest["seen"] >= self.options.fewest_changed * highest["queries"])

    def kinds(self, language: str) -> list[str]:
        """The kinds of noise that count in a language."""
        return [kind for kind in self.levels if self.reaches(language, kind)]

    def clean(self, system: str) -> Tables:
        """Values on the queries as they are."""
        return self._of(system, {language: [(CLEAN, 0.0)] for language in self.languages})

    def under(self, system: str, kind: str, level: float) -> Tables:
        """Values under one noise, in the languages in which it counts; level 0 is without it."""
        condition = (CLEAN, 0.0) if level == 0 else (kind, level)
        return self._of(system, {language: [condition] for language in self.languages if self.reaches(language, kind)})

    def noisy(self, system: str, *, place: int | None = None, kind: str | None = None) -> Tables:
        """Means over all noises that count, or over those of one place among the levels of their kind, or of one kind."""
        chosen = slice(None) if place is None else slice(place, place + 1)
        conditions = {
            language: [(one, x) for one in self.kinds(language) if kind in (None, one) for x in self.levels[one][chosen]]
            for language in self.languages
        }
        return self._of(system, conditions)

    def _of(self, system: str, conditions: Mapping[str, Sequence[tuple[str, float]]]) -> Tables:
        found = {}
        for language, own in conditions.items():
            tables = [self._tables.get((system, language, kind, level)) for kind, level in own]
            there = [table for table in tables if table is not None]
            if there and len(there) == len(tables):
                total = sum(there[1:], start=there[0])
                found[language] = total.dropna(axis=0, how="all").dropna(axis=1) / len(there)
        return found

    def rivals(self, arm: str) -> dict[str, str]:
        """The plain training with as many `updates` as an arm, and the one with as many `passes`, as far as there are; the
        training that has as many of `both`, where that is one."""
        costs = self._costs
        found = {}
        for equal in ("updates", "passes"):
            own = costs.get(arm, {}).get(equal)
            same = [one for one in self.options.plain if own and one != arm and costs.get(one, {}).get(equal) == own]
            if same:
                found[equal] = same[0]
        if found and len(found) == 2 and found["updates"] == found["passes"]:
            return {"both": found["updates"]}
        return found

    @cached_property
    def _costs(self) -> dict[str, dict[str, float]]:
        students = {self.student_of(language) for language in self.languages}
        trainings = [one for one in self.results.provenance["trainings"] if one["student"] in students]
        first = next((one["student"] for one in trainings), None)
        return {one["system"]: one for one in trainings if one["student"] == first}


@dataclass(frozen=True)
class MeanOverLanguages:
    """A mean over languages, each with the same weight.

    Attributes:
        value: the mean.
        interval: 95 %, over seeds and queries, the languages being given.
        languages: how many.
    """

    value: float
    interval: tuple[float, float] | None
    languages: int


def mean_over_languages(tables: Tables, *, one_training: bool) -> MeanOverLanguages | None:
    """The mean with its interval; None without a language."""
    if not tables:
        return None
    values = {language: {"": table.to_numpy()} for language, table in tables.items()}
    interval = bootstrap_over_languages(values, lambda means: means[""].mean(axis=0), one_training=one_training)
    value = float(np.mean([table.to_numpy().mean() for table in tables.values()]))
    return MeanOverLanguages(value, interval, len(tables))


def less(first: Tables, second: Tables) -> Tables:
    """First less second, on the seeds and queries that both have."""
    found = {}
    for language in first:
        if language in second:
            one, two = first[language].align(second[language], join="inner")
            if one.size:
                found[language] = one - two
    return found


@dataclass
class ArmTest:
    """An adversarial training against a plain one in one language.

    Attributes:
        panel, language, arm, rival: what is compared.
        equal: what both had the same of: `updates`, `passes` or `both`.
        clean: difference on clean queries, tested for non-inferiority.
        noisy: difference on noisy queries; None where no noise counts.
        drop: difference of what noise costs; below 0 the arm loses less.
        clean_holm, noisy_holm, drop_holm: the tests' p after Holm's correction over all tests of the same kind; of `clean` only
            in the languages that must not be harmed.
    """

    panel: Panel
    language: str
    arm: str
    rival: str
    equal: str
    clean: NonInferiority
    noisy: MeanDifference | None
    drop: MeanDifference | None
    clean_holm: float | None = None
    noisy_holm: float | None = None
    drop_holm: float | None = None

    @property
    def high(self) -> bool:
        """Whether it is a language that must not be harmed."""
        return self.panel.results.study.languages[self.language].group == self.panel.options.high


def arm_tests(panels: Sequence[Panel]) -> list[ArmTest]:
    """Every arm against its plain rivals, in every language; Holm's correction over all of them."""
    from modeling_optical.evaluation import holm

    tests = [
        test
        for panel in panels
        for arm in panel.options.arms
        for equal, rival in panel.rivals(arm).items()
        for test in _tests_against(panel, arm, rival, equal)
    ]
    for test, p in zip(tests, holm([t.noisy.p_different() if t.noisy else None for t in tests]), strict=True):
        test.noisy_holm = p
    for test, p in zip(tests, holm([t.drop.p_different() if t.drop else None for t in tests]), strict=True):
        test.drop_holm = p
    for test, p in zip(tests, holm([t.clean.p if t.high else None for t in tests]), strict=True):
        test.clean_holm = p
    return tests


def _tests_against(panel: Panel, arm: str, rival: str, equal: str) -> list[ArmTest]:
    clean = less(panel.clean(arm), panel.clean(rival))
    noisy = less(panel.noisy(arm), panel.noisy(rival))
    drop = less(less(panel.clean(arm), panel.noisy(arm)), less(panel.clean(rival), panel.noisy(rival)))
    return [
        ArmTest(
            panel,
            language,
            arm,
            rival,
            equal,
            non_inferiority(table.to_numpy(), panel.options.margin),
            mean_difference(noisy[language].to_numpy()) if language in noisy else None,
            mean_difference(drop[language].to_numpy()) if language in drop else None,
        )
        for language, table in clean.items()
    ]
