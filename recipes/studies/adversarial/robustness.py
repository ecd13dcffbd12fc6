"""Statistics of clean and noisy queries: means over languages, drops, and adversarial against plain training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from ..reporting.comparisons import with_holm
from ..reporting.estimates import Estimate, Row
from ..reporting.over_languages import mean, over_languages
from ..reporting.panel import Panel, selected
from ..reporting.results_table import CLEAN, StudyResults
from ..statistics.non_inferiority import mean_difference, non_inferiority
from ..study import ALL_LANGUAGES

Tables = Mapping[str, pd.DataFrame]
"""Language to seeds (down) and queries (across)."""


@dataclass
class AdversarialOptions:
    """Options of the report.

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


class NoisyPanel(Panel):
    """One collection, with students of one language each or with one student of all (`pooled`)."""

    def __init__(self, results: StudyResults, collection: str, pooled: bool, options: AdversarialOptions):
        self.pooled, self.options = pooled, options
        rows = selected(results.queries, collection=collection)
        of_all = rows["student"] == ALL_LANGUAGES
        rows = rows[of_all | (rows["stage"] == "reference")] if pooled else rows[~of_all]
        label = f"{collection}, one student of all languages" if pooled else collection
        super().__init__(results, rows, label, ("system", "language", "noise", "level"))
        self.metric = options.metrics.get(collection, self.metric)
        self.collection: Row = {"collection": collection, "pooled": pooled, "metric": self.metric}
        trained = set(rows["language"][rows["stage"] == "distil"])
        self.languages = [code for code in self.languages if code in trained]
        noise = self.study.query_noise
        self.levels: dict[str, list[float]] = {} if noise is None else noise.levels
        self._tables: dict[tuple[object, ...], pd.DataFrame | None] = {}

    def table(self, *values: object) -> pd.DataFrame | None:
        if values not in self._tables:
            self._tables[values] = super().table(*values)
        return self._tables[values]

    @cached_property
    def noise(self) -> pd.DataFrame:
        """The change by each noise, a row per language, kind and level; means over the seeds."""
        counts = selected(self.results.noise, collection=self.collection["collection"])
        counts = counts[(counts["student"] == ALL_LANGUAGES) == self.pooled]
        numbers = ["queries", "applicable", "changed", "seen", "units"]
        grouped = counts.groupby(["language", "noise", "level"], sort=False)
        return grouped[numbers].mean().join(grouped["why_not"].first()).reset_index()

    @cached_property
    def kinds(self) -> dict[str, list[str]]:
        """Language to the kinds of noise that count: at the highest level enough queries look different to the student."""
        found = self.noise.sort_values("level").groupby(["language", "noise"]).last()
        enough = found["seen"] >= self.options.fewest_changed * found["queries"]
        return {code: [kind for kind in self.levels if enough.get((code, kind), False)] for code in self.languages}

    def clean(self, system: str) -> Tables:
        """Values on the queries as they are."""
        return self._under(system, {language: [(CLEAN, 0.0)] for language in self.languages})

    def clean_as_noisy(self, system: str) -> Tables:
        """Values on the queries as they are, of those queries alone that were measured under noise, too."""
        return _as_in(self.clean(system), self.noisy(self.options.main))

    def at(self, system: str, kind: str, level: float) -> Tables:
        """Values under one noise, in the languages in which it counts; level 0 is without it, on the same queries."""
        if level == 0:
            return _as_in(self.clean(system), self.noisy(system, kind=kind))
        return self._under(system, {language: [(kind, level)] for language in self.languages if kind in self.kinds[language]})

    def noisy(self, system: str, *, place: int | None = None, kind: str | None = None) -> Tables:
        """Means over all noises that count, or over those of one place among the levels of their kind, or of one kind."""
        chosen = slice(None) if place is None else slice(place, place + 1)
        conditions = {
            language: [(one, x) for one in self.kinds[language] if kind in (None, one) for x in self.levels[one][chosen]]
            for language in self.languages
        }
        return self._under(system, conditions)

    def drop(self, system: str, *, place: int | None = None) -> Tables:
        """The loss by noise: clean less noisy."""
        return less(self.clean(system), self.noisy(system, place=place))

    def _under(self, system: str, conditions: Mapping[str, Sequence[tuple[str, float]]]) -> Tables:
        found = {}
        for language, own in conditions.items():
            tables = [table for condition in own if (table := self.table(system, language, *condition)) is not None]
            if tables and len(tables) == len(own):
                total = sum(tables[1:], start=tables[0])
                found[language] = total.dropna(axis=0, how="all").dropna(axis=1) / len(tables)
        return found

    def mean(self, tables: Tables) -> Estimate:
        """The mean over languages, each with the same weight."""
        return over_languages({language: [table] for language, table in tables.items()}, mean, one_training=self.pooled)

    def rivals(self, arm: str) -> dict[str, str]:
        """The plain training with the same number of `updates` as an arm, and the one with the same number of `passes`, where
        they exist; `both` where one training matches both."""
        found = {}
        for equal in ("updates", "passes"):
            own = self._costs.get(arm, {}).get(equal)
            same = [one for one in self.options.plain if own and one != arm and self._costs.get(one, {}).get(equal) == own]
            if same:
                found[equal] = same[0]
        return {"both": found["updates"]} if len(found) == 2 and len(set(found.values())) == 1 else found

    @cached_property
    def _costs(self) -> dict[str, dict[str, float]]:
        students = {ALL_LANGUAGES} if self.pooled else {*self.languages}
        trainings = [one for one in self.results.provenance["trainings"] if one["student"] in students]
        return {one["system"]: one for one in trainings if one["student"] == trainings[0]["student"]}


def _as_in(first: Tables, second: Tables) -> Tables:
    """First, in the languages of the second and on the queries that the second has."""
    both = [language for language in first if language in second]
    queries = {language: first[language].columns.intersection(second[language].columns) for language in both}
    return {language: first[language][own] for language, own in queries.items() if len(own)}


def less(first: Tables, second: Tables) -> Tables:
    """First less second, on the seeds and queries that both have."""
    found = {}
    for language in first:
        if language in second:
            one, two = first[language].align(second[language], join="inner")
            if one.size:
                found[language] = one - two
    return found


def arm_tests(panels: Sequence[NoisyPanel]) -> list[Row]:
    """Every arm against its plain rivals, in every language.

    Returns:
        Rows with the differences on clean queries (`clean`, tested for non-inferiority), on noisy ones (`noisy`; None where no
        noise counts) and in the loss by noise (`drop`; below 0 the arm loses less). Their tests have Holm's correction over all
        of a kind, that of `clean` only over the languages that must not be harmed (`high`).
    """
    rows = [
        row
        for panel in panels
        for arm in panel.options.arms
        for equal, rival in panel.rivals(arm).items()
        for row in _tests_against(panel, arm, rival, equal)
    ]
    rows = with_holm(rows, "p_high", "p_inferior_holm")
    return with_holm(with_holm(rows, "p_noisy"), "p_drop")


def _tests_against(panel: NoisyPanel, arm: str, rival: str, equal: str) -> list[Row]:
    others = {
        "noisy": less(panel.noisy(arm), panel.noisy(rival)),
        "drop": less(panel.drop(arm), panel.drop(rival)),
    }
    rows = []
    for language, table in less(panel.clean(arm), panel.clean(rival)).items():
        found = non_inferiority(table.to_numpy(), panel.options.margin)
        clean = found.difference
        high = panel.study.languages[language].group == panel.options.high
        row = panel.collection | {"label": panel.label, "language": language, "system": arm, "equal": equal, "rival": rival}
        row |= {"seeds": clean.seeds, "queries": clean.queries, "clean": clean.mean, "clean_error": clean.error}
        row |= {"clean_freedom": clean.freedom, "clean_lower": found.lower, "margin": found.margin, "p_inferior": found.p}
        row |= {"high": high, "p_high": found.p if high else None, "note": clean.note}
        for name, tables in others.items():
            other = mean_difference(tables[language].to_numpy()) if language in tables else None
            row |= {
                name: other and other.mean,
                f"{name}_error": other and other.error,
                f"p_{name}": other and other.p_different(),
            }
        rows.append(row)
    return rows
