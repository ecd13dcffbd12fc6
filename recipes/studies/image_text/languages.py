"""Statistics of a report on images and captions: settings of languages with bitext, values and intervals over them."""

from __future__ import annotations

from collections.abc import Sequence

from ..reporting.estimates import NOTHING, Estimate
from ..reporting.over_languages import Statistic, over_languages
from ..reporting.panel import Panel, selected
from ..reporting.results_table import StudyResults

SEEN = "seen"
"""The factor that says which languages have bitext: codes joined by `+`."""
Unit = tuple[str, str]
"""A language that is tested, and a setting of languages with bitext."""
_REFERENCES = {
    "ceiling": "CLIP, English captions",
    "translation": "CLIP, translated captions",
    "clip": "CLIP, captions as they are",
    "floor": "untrained student",
}


class ImagePanel(Panel):
    """One set of captioned images: the trained systems by language and setting.

    Args:
        results: of the study.
        collection: the set.

    Attributes:
        references: the other systems that were measured, by language.
        languages: those tested, in the study's order.
        settings: those run, the one with the most languages first.
        images: how many.
    """

    def __init__(self, results: StudyResults, collection: str):
        rows = selected(results.queries, collection=collection)
        super().__init__(results, selected(rows, stage="distil"), collection, ("system", "language", SEEN))
        self.references = Panel(results, selected(rows, stage="reference"))
        there = set(rows["language"])
        self.languages = [code for code in self.study.languages if code in there]
        self.references.systems = [system for system in _REFERENCES if system in self.references.systems]
        self.settings = sorted(self.rows[SEEN].unique(), key=lambda setting: -len(setting.split("+")))
        self.images = rows["query"].nunique()

    def shown(self, system: str) -> str:
        return _REFERENCES.get(system) or super().shown(system)

    @property
    def targets(self) -> list[str]:
        """Languages that have bitext in some setting."""
        return [code for code in self.languages if any(code in setting.split("+") for setting in self.settings)]

    def units(self, setting: str, *, seen: bool) -> list[Unit]:
        """Target languages with bitext in a setting, or those without."""
        return [(code, setting) for code in self.targets if (code in setting.split("+")) == seen]

    @property
    def left_out(self) -> dict[str, Unit]:
        """Language to the unit in which it, and it alone of the largest setting's, has no bitext; as far as that was run."""
        if not self.settings:
            return {}
        largest = set(self.settings[0].split("+"))
        found = {code: [one for one in self.settings if set(one.split("+")) == largest - {code}] for code in self.targets}
        return {code: (code, settings[0]) for code, settings in found.items() if settings and code in largest}

    def over(self, statistic: Statistic, systems: Sequence[str], units: Sequence[Unit]) -> Estimate:
        """A statistic of systems over units, with its interval over seeds and images, the languages being given.

        An image is the same in all languages, and so are its draws. Nothing where a system was not measured in a unit.
        """
        if any(self.of(system, *unit).empty for system in systems for unit in units):
            return NOTHING
        tables = {unit: [self.table(system, *unit) for system in systems] for unit in units}
        return over_languages(tables, statistic, one_training=True)
