"""How well captions and images find each other, language by language, with bitext in the language and without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from modeling_optical.evaluation import holm

from ...checked_yaml import build
from ..reporting.comparisons import Estimate, difference, estimate, interval_columns, shown_system
from ..reporting.document import MISSING, ReportDocument, colour, legend_below, look, number
from ..reporting.results_table import StudyResults
from .languages import Interval, Panel, Unit, deviation, difference_of, first_less_rest, mean

_REFERENCES = {
    "ceiling": "CLIP, English captions",
    "translation": "CLIP, translated captions",
    "clip": "CLIP, captions as they are",
    "floor": "untrained student",
}


@dataclass
class ImageTextOptions:
    """What the report looks at.

    Args:
        main: the system that the question is about.
        against: the system that it is compared with.
    """

    main: str = "optical"
    against: str = "pooled"


def report_image_text(results: StudyResults, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    options = build(ImageTextOptions, results.study.report_options, "report_options")
    panels = [Panel(results, name) for name in results.queries["collection"].unique()]
    comparisons = [row for panel in panels for row in _comparisons(panel, options)]
    answer = _answer(results, options, panels, comparisons)
    document.text(f"**{answer}**")
    _figures(document, panels, results)
    _summary(document, panels, results)
    _show_comparisons(document, results, options, comparisons)
    _left_out(document, panels, results)
    _recalls(document, panels, results)
    kept = document.kept_table("languages", _languages(panels, results))
    paired = document.kept_table("paired_by_language", _paired(panels, options))
    document.text(
        f"Every setting, language, system and metric with its interval: [{kept}]({kept}). Paired tests over images in every "
        f"language and setting, Holm's correction over all of them: [{paired}]({paired})."
    )
    return answer


def _shown(system: str, results: StudyResults) -> str:
    return _REFERENCES.get(system) or shown_system(system, results.study.systems)


def _references(panel: Panel) -> list[str]:
    return [system for system in _REFERENCES if system in panel.references]


def _units(setting: str, languages: Sequence[str]) -> list[Unit]:
    return [(setting, language) for language in languages]


def _summary(document: ReportDocument, panels: Sequence[Panel], results: StudyResults) -> None:
    """A row per setting and system: languages with bitext, those without, how much they differ."""
    shown, numbers = [], []
    for panel in panels:
        for setting in panel.settings:
            seen, unseen = _units(setting, panel.seen_in(setting)), _units(setting, panel.unseen_in(setting))
            for system in panel.systems:
                found = {
                    "seen": panel.value([system], seen, mean),
                    "unseen": panel.value([system], unseen, mean),
                    "gap": panel.value([system], [*seen, *unseen], first_less_rest(len(seen))) if unseen else (None, None),
                    "deviation": panel.value([system], [*seen, *unseen], deviation) if len(panel.targets) > 1 else (None, None),
                }
                key = {"collection": panel.collection, "bitext": setting, "system": system}
                numbers.append(key | {k: v for name, one in found.items() for k, v in interval_columns(name, *one).items()})
                shown.append(
                    {
                        "images": f"{panel.collection} ({panel.images:,})",
                        "bitext in": setting,
                        "system": _shown(system, results),
                        "languages with bitext": number(*found["seen"]),
                        "without": number(*found["unseen"]),
                        "with less without": number(*found["gap"], sign=True),
                        "standard deviation": number(*found["deviation"]),
                    }
                )
    if not shown:
        return
    metric = results.study.metrics[0]
    targets = "; ".join(dict.fromkeys(", ".join(panel.targets) for panel in panels))
    caption = (
        f"{metric} over the target languages ({targets}), those with bitext and those without, with 95 % intervals over seeds "
        "and images; the languages are taken as given. The draws' noise adds to a deviation, so its interval leans upwards."
    )
    document.table("summary", caption, pd.DataFrame(shown), pd.DataFrame(numbers))


@dataclass
class _Comparison:
    """The main system less another, by one quantity."""

    panel: Panel
    other: str
    quantity: str
    value: float | None
    interval: Interval

    def verdict(self, main: str, fewer: bool) -> str:
        """What the interval says; `fewer`: whether less of it is the point."""
        if self.value is None or self.interval is None:
            return "not known"
        if self.interval[0] <= 0 <= self.interval[1]:
            return "not distinguishable"
        return f"{'smaller' if self.value < 0 else 'larger'} with {main}" if fewer else (
            f"{'lower' if self.value < 0 else 'higher'} with {main}"
        )  # fmt: skip


_MEAN, _DEVIATION, _UNSEEN, _LOSS = (
    "mean with bitext",
    "standard deviation with bitext",
    "mean without bitext in the language",
    "loss without bitext",
)


def _comparisons(panel: Panel, options: ImageTextOptions) -> list[_Comparison]:
    if not panel.settings:
        return []
    seen = _units(panel.settings[0], panel.seen_in(panel.settings[0]))
    left_out = panel.left_out
    with_bitext = _units(panel.settings[0], list(left_out))
    found = []
    for other in panel.systems:
        if other == options.main:
            continue
        quantities: dict[str, tuple[list[Unit], Callable[[np.ndarray], np.ndarray]]] = {_MEAN: (seen, mean)}
        if len(seen) > 1:
            quantities[_DEVIATION] = (seen, deviation)
        if left_out:
            quantities[_UNSEEN] = (list(left_out.values()), mean)
            quantities[_LOSS] = ([*with_bitext, *left_out.values()], first_less_rest(len(left_out)))
        for name, (units, statistic) in quantities.items():
            value, interval = panel.value([options.main, other], units, difference_of(statistic))
            found.append(_Comparison(panel, other, name, value, interval))
    return found


def _show_comparisons(
    document: ReportDocument, results: StudyResults, options: ImageTextOptions, comparisons: Sequence[_Comparison]
) -> None:
    shown: dict[tuple[str, str], dict[str, str]] = {}
    numbers = []
    for one in comparisons:
        row = shown.setdefault(
            (one.panel.collection, one.other), {"images": one.panel.collection, "against": _shown(one.other, results)}
        )
        row[one.quantity] = number(one.value, one.interval, sign=True)
        key = {"collection": one.panel.collection, "main": options.main, "against": one.other, "quantity": one.quantity}
        numbers.append(key | interval_columns("difference", one.value, one.interval))
    if not shown:
        return
    caption = (
        f"{_shown(options.main, results)} less each other arm, {results.study.metrics[0]}, with 95 % intervals over seeds "
        "and images. Loss without bitext: what a language loses when it is left out of the bitext, mean over those that were."
    )
    document.table("comparisons", caption, pd.DataFrame(list(shown.values())).fillna(MISSING), pd.DataFrame(numbers))


def _left_out(document: ReportDocument, panels: Sequence[Panel], results: StudyResults) -> None:
    """A row per language and system: with bitext, without, and the difference."""
    shown, numbers = [], []
    for panel in panels:
        for code, unit in panel.left_out.items():
            for system in panel.systems:
                seen = panel.of(system, (panel.settings[0], code))
                unseen = panel.of(system, unit)
                loss = panel.value([system], [(panel.settings[0], code), unit], first_less_rest(1))
                own = _estimated("with_bitext", seen) | _estimated("without_bitext", unseen) | interval_columns("loss", *loss)
                numbers.append({"collection": panel.collection, "language": code, "system": system, **own})
                shown.append(
                    {
                        "images": panel.collection,
                        "language": code,
                        "system": _shown(system, results),
                        "with bitext": _cell(seen),
                        "without": _cell(unseen),
                        "loss": number(*loss, sign=True),
                    }
                )
    if shown:
        caption = f"{results.study.metrics[0]} in each language when all have bitext, and when it alone has none."
        document.table("left_out", caption, pd.DataFrame(shown), pd.DataFrame(numbers))


def _cell(found: Estimate | None) -> str:
    return MISSING if found is None else number(found.value, found.interval)


def _estimated(name: str, found: Estimate | None) -> dict[str, float | None]:
    return interval_columns(name, None, None) if found is None else interval_columns(name, found.value, found.interval)


def _recalls(document: ReportDocument, panels: Sequence[Panel], results: StudyResults) -> None:
    """All recalls in every language, of the students with all bitext and of the references."""
    shown = []
    for panel in panels:
        for code in panel.languages:
            own = [(system, panel.reference_rows(system, code)) for system in _references(panel)]
            own += [(system, panel.rows_of(system, (panel.settings[0], code))) for system in panel.systems if panel.settings]
            for system, rows in own:
                values = {metric: estimate(rows, metric) for metric in results.study.metrics}
                if any(values.values()):
                    cells = {_short(m): MISSING if one is None else number(one.value) for m, one in values.items()}
                    note = "" if code in panel.targets else " (never bitext)"
                    shown.append(
                        {"images": panel.collection, "language": code + note, "system": _shown(system, results)} | cells
                    )
    sizes = ", ".join(f"k / {panel.images:,} on {panel.collection}" for panel in panels)
    caption = (
        "Recall by language, students with bitext in all target languages: T→I text to image, I→T image to text. By chance "
        f"T→I R@k is {sizes}. Intervals are in the table that is linked below."
    )
    document.table("recall", caption, pd.DataFrame(shown))


def _short(metric: str) -> str:
    return metric.replace("text to image", "T→I").replace("image to text", "I→T")


def _languages(panels: Sequence[Panel], results: StudyResults) -> pd.DataFrame:
    rows: list[dict[str, object]] = []

    def add(panel: Panel, setting: str, code: str, system: str, own: pd.DataFrame) -> None:
        for metric in results.study.metrics:
            found = estimate(own, metric)
            if found is not None:
                key = {"collection": panel.collection, "bitext": setting, "language": code, "system": system, "metric": metric}
                size = {"seeds": found.seeds, "images": found.queries}
                rows.append({**key, **interval_columns("value", found.value, found.interval), **size})

    for panel in panels:
        for code in panel.languages:
            for system in _references(panel):
                add(panel, "", code, system, panel.reference_rows(system, code))
            for setting in panel.settings:
                for system in panel.systems:
                    add(panel, setting, code, system, panel.rows_of(system, (setting, code)))
    return pd.DataFrame(rows)


def _paired(panels: Sequence[Panel], options: ImageTextOptions) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    chances: list[float | None] = []
    for panel in panels:
        for setting in panel.settings:
            for code in panel.languages:
                for other in panel.systems:
                    unit = (setting, code)
                    if other == options.main:
                        continue
                    found = difference(panel.rows_of(options.main, unit), panel.rows_of(other, unit), panel.metric)
                    if found is None:
                        continue
                    key = {"collection": panel.collection, "bitext": setting, "language": code, "against": other}
                    names = ("wins", "ties", "losses", "t_test", "randomisation", "note")
                    test = {name: getattr(found.test, name) for name in names} | {"images": found.test.queries}
                    rows.append(key | interval_columns("difference", found.value, found.interval) | test)
                    chances.append(found.test.t_test)
    return pd.DataFrame([row | {"t_test_holm": p} for row, p in zip(rows, holm(chances), strict=True)])


def _figures(document: ReportDocument, panels: Sequence[Panel], results: StudyResults) -> None:
    bars, points = [], []
    for panel in panels:
        for code in panel.languages:
            for system in _references(panel):
                bars.append(_drawn(panel, code, system, estimate(panel.reference_rows(system, code), panel.metric)))
            for system in panel.systems:
                unit = (panel.settings[0], code)
                bars.append(_drawn(panel, code, system, panel.of(system, unit)))
                if code in panel.left_out:
                    points.append({"bitext": "with"} | _drawn(panel, code, system, panel.of(system, unit)))
                    without = panel.of(system, panel.left_out[code])
                    points.append({"bitext": "without"} | _drawn(panel, code, system, without))
    metric = results.study.metrics[0]

    def draw_bars(axes: Sequence[Axes]) -> None:
        for axis, panel in zip(axes, panels, strict=True):
            _draw_languages(axis, panel, results)
        legend_below(axes)

    caption = f"{metric} by language, bitext in all target languages, with 95 % intervals; marks are references."
    document.figure("languages", caption, pd.DataFrame(bars), draw_bars, panels=len(panels))
    if not points:
        return

    def draw_points(axes: Sequence[Axes]) -> None:
        for axis, panel in zip(axes, panels, strict=True):
            _draw_left_out(axis, panel, results)
        legend_below(axes)

    caption = f"{metric} in each language with bitext (filled) and when it alone has none (hollow), with 95 % intervals."
    document.figure("left_out", caption, pd.DataFrame(points), draw_points, panels=len(panels))


def _drawn(panel: Panel, code: str, system: str, found: Estimate | None) -> dict[str, object]:
    return {"panel": panel.collection, "language": code, "system": system, **_estimated("value", found)}


def _draw_languages(axis: Axes, panel: Panel, results: StudyResults) -> None:
    width = 0.8 / max(len(panel.systems), 1)
    for place, code in enumerate(panel.languages):
        for position, system in enumerate(panel.systems):
            found = panel.of(system, (panel.settings[0], code))
            if found is None:
                continue
            x = place + (position - (len(panel.systems) - 1) / 2) * width
            label = _shown(system, results) if place == 0 else None
            axis.bar(x, found.value, width * 0.92, color=colour(position), label=label, edgecolor="white", linewidth=0.4)
            axis.errorbar(x, found.value, yerr=_reach(found), color="black", linewidth=0.7, capsize=1)
        for number_, system in enumerate(_references(panel)):
            found = estimate(panel.reference_rows(system, code), panel.metric)
            if found is not None:
                label = _shown(system, results)
                axis.plot(
                    [place - 0.42, place + 0.42], [found.value] * 2, color="black", linewidth=0.9,
                    linestyle=("-", "--", ":", "-.")[number_ % 4], label=label,
                )  # fmt: skip
    axis.set_xticks(range(len(panel.languages)), panel.languages)
    axis.set_title(panel.collection, fontsize=9)
    axis.set_ylabel(panel.metric)


def _draw_left_out(axis: Axes, panel: Panel, results: StudyResults) -> None:
    codes = list(panel.left_out)
    for position, system in enumerate(panel.systems):
        for place, code in enumerate(codes):
            x = place + (position - (len(panel.systems) - 1) / 2) * 0.16
            for unit, filled in (((panel.settings[0], code), True), (panel.left_out[code], False)):
                found = panel.of(system, unit)
                if found is not None:
                    style = look(position) | {"linestyle": "none"} | ({} if filled else {"markerfacecolor": "white"})
                    label = _shown(system, results) if filled and place == 0 else None
                    axis.errorbar(x, found.value, yerr=_reach(found), capsize=2, label=label, **style)
    axis.set_xticks(range(len(codes)), codes)
    axis.set_title(panel.collection, fontsize=9)
    axis.set_ylabel(panel.metric)


def _reach(found: Estimate) -> list[list[float]]:
    low, high = found.interval or (found.value, found.value)
    return [[max(found.value - low, 0)], [max(high - found.value, 0)]]


def _answer(
    results: StudyResults, options: ImageTextOptions, panels: Sequence[Panel], comparisons: Sequence[_Comparison]
) -> str:
    main, against = _shown(options.main, results), _shown(options.against, results)
    parts = []
    for panel in panels:
        own = {
            one.quantity: one
            for one in comparisons
            if one.panel is panel and one.other == options.against and one.value is not None
        }
        if _MEAN not in own:
            continue
        said = [f"with bitext in every language {results.study.metrics[0]} is {_said(own[_MEAN], main, False)}"]
        if _DEVIATION in own:
            count = len(panel.seen_in(panel.settings[0]))
            said.append(f"its standard deviation over {count} languages is {_said(own[_DEVIATION], main, True)}")
        if _LOSS in own:
            said.append(f"in a language without bitext it is {_said(own[_UNSEEN], main, False)}")
            said.append(f"what a language loses without bitext is {_said(own[_LOSS], main, True)}")
        parts.append(f"on {panel.collection}, " + "; ".join(said))
    if not parts:
        return f"{main} and {against} were not both measured, so the question is not answered."
    return f"{main} against {against}: " + ". ".join(parts) + "."


def _said(one: _Comparison, main: str, fewer: bool) -> str:
    return f"{one.verdict(main, fewer)} ({number(one.value, one.interval, sign=True)})"
