"""How well captions and images find each other, language by language, with bitext in the language and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ..reporting.comparisons import compared, with_holm
from ..reporting.document import ReportDocument
from ..reporting.estimates import NOTHING, Row, estimate, number
from ..reporting.figures import beside, draw_bars, look, reach
from ..reporting.over_languages import between, deviation, difference_of, mean
from ..reporting.panel import estimates_of
from ..reporting.results_table import StudyResults
from ..reporting.table import Format, numbers_of, pivoted, signed
from .languages import ImagePanel

_MEAN, _DEVIATION, _UNSEEN, _LOSS = (
    "mean with bitext",
    "standard deviation with bitext",
    "mean without bitext in the language",
    "loss without bitext",
)
_PAIRED = ["collection", "bitext", "language", "against", "difference", "wins", "ties", "losses", "t_test", "randomisation",
           "note", "images", "t_test_holm"]  # fmt: skip


@dataclass
class ImageTextOptions:
    """Options of the report.

    Args:
        main: the system that the question is about.
        against: the system that it is compared with.
    """

    main: str = "optical"
    against: str = "pooled"


def report_image_text(results: StudyResults, options: ImageTextOptions, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    panels = [ImagePanel(results, name) for name in results.queries["collection"].unique()]
    comparisons = [row for panel in panels for row in _comparisons(panel, options)]
    answer = _answer(document, panels, options, comparisons)
    _figures(document, panels)
    _show_summary(document, panels)
    caption = (
        f"{panels[0].shown(options.main)} less each other arm, {panels[0].metric}, with 95 % intervals over seeds "
        "and images. Loss without bitext: what a language loses when it is left out of the bitext, mean over those that were."
    )
    keys: dict[str, Format] = {"images": "collection", "against": lambda row: panels[0].shown(row["against"])}
    shown = pivoted(comparisons, keys, "quantity", signed("difference"))
    document.table("comparisons", caption, comparisons, shown)
    _show_left_out(document, panels)
    _show_recalls(document, panels)
    languages = [row | {"images": row["queries"]} for row in estimates_of(_measured(panels), results.study.metrics)]
    columns = ["collection", "bitext", "language", "system", "metric", "value", "seeds", "images"]
    kept = document.kept_table("languages", languages, columns)
    pairs = [
        (
            {"collection": panel.label, "bitext": setting, "language": code, "against": other},
            *(panel.of(system, code, setting) for system in (options.main, other)),
        )
        for panel in panels
        for setting in panel.settings
        for code in panel.languages
        for other in panel.systems
        if other != options.main
    ]
    paired = with_holm([row | {"images": row["queries"]} for row in compared(pairs, panels[0].metric)], "t_test")
    document.text(
        f"Every setting, language, system and metric with its interval: {kept}. Paired tests over images in every language and "
        f"setting, Holm's correction over all of them: {document.kept_table('paired_by_language', paired, _PAIRED)}."
    )
    return answer


def _measured(panels: Sequence[ImagePanel]) -> Iterator[tuple[Row, pd.DataFrame]]:
    """References, then trained systems in every setting, language by language."""
    for panel in panels:
        for code in panel.languages:
            key = {"collection": panel.label, "bitext": "", "language": code}
            for system in panel.references.systems:
                yield key | {"system": system}, panel.references.of(system, code)
            for setting in panel.settings:
                for system in panel.systems:
                    yield key | {"bitext": setting, "system": system}, panel.of(system, code, setting)


def _show_summary(document: ReportDocument, panels: Sequence[ImagePanel]) -> None:
    """A row per setting and system: languages with bitext, those without, how much they differ."""
    rows: list[Row] = []
    for panel in panels:
        for setting in panel.settings:
            seen, unseen = panel.units(setting, seen=True), panel.units(setting, seen=False)
            every = [*seen, *unseen]
            gap = between(range(len(seen)), range(len(seen), len(every)))
            rows += [
                {"collection": panel.label, "bitext": setting, "system": system}
                | {"seen": panel.over(mean, [system], seen), "unseen": panel.over(mean, [system], unseen)}
                | {"gap": panel.over(gap, [system], every) if unseen else NOTHING}
                | {"deviation": panel.over(deviation, [system], every) if len(every) > 1 else NOTHING}
                for system in panel.systems
            ]
    images = {panel.label: f"{panel.label} ({panel.images:,})" for panel in panels}
    targets = "; ".join(dict.fromkeys(", ".join(panel.targets) for panel in panels))
    caption = (
        f"{panels[0].metric} over the target languages ({targets}), those with bitext and those without, with 95 % intervals "
        "over seeds and images; the languages are taken as given. The draws' noise adds to a deviation, so its interval leans "
        "upwards."
    )
    document.table("summary", caption, rows, {
        "images": lambda row: images[row["collection"]], "bitext in": "bitext",
        "system": lambda row: panels[0].shown(row["system"]), "languages with bitext": "seen", "without": "unseen",
        "with less without": signed("gap"), "standard deviation": "deviation",
    })  # fmt: skip


def _comparisons(panel: ImagePanel, options: ImageTextOptions) -> Iterator[Row]:
    """The main system less each other by quantity, all of them of the setting with most languages."""
    if not panel.settings:
        return
    seen, left_out = panel.units(panel.settings[0], seen=True), list(panel.left_out.values())
    count = len(left_out)
    with_bitext = [(code, panel.settings[0]) for code in panel.left_out]
    quantities = {_MEAN: (mean, seen)}
    if len(seen) > 1:
        quantities[_DEVIATION] = (deviation, seen)
    if left_out:
        loss = between(range(count), range(count, 2 * count))
        quantities |= {_UNSEEN: (mean, left_out), _LOSS: (loss, [*with_bitext, *left_out])}
    for other in panel.systems:
        for quantity, (statistic, units) in quantities.items():
            if other != options.main:
                found = panel.over(difference_of(statistic), [options.main, other], units)
                key = {"collection": panel.label, "main": options.main, "against": other, "quantity": quantity}
                yield key | {"difference": found}


def _show_left_out(document: ReportDocument, panels: Sequence[ImagePanel]) -> None:
    """A row per language and system: with bitext, without, and the difference."""
    rows = [
        {"collection": panel.label, "language": code, "system": system}
        | {"with_bitext": panel.estimate(system, code, panel.settings[0]), "without_bitext": panel.estimate(system, *unit)}
        | {"loss": panel.over(between([0], [1]), [system], [(code, panel.settings[0]), unit])}
        for panel in panels
        for code, unit in panel.left_out.items()
        for system in panel.systems
    ]
    caption = f"{panels[0].metric} in each language when all have bitext, and when it alone has none."
    document.table("left_out", caption, rows, {
        "images": "collection", "language": "language", "system": lambda row: panels[0].shown(row["system"]),
        "with bitext": "with_bitext", "without": "without_bitext", "loss": signed("loss"),
    })  # fmt: skip


def _show_recalls(document: ReportDocument, panels: Sequence[ImagePanel]) -> None:
    """All recalls in every language, of the students with all bitext and of the references."""
    metrics, rows = panels[0].study.metrics, []
    for panel in panels:
        for key, own in _measured([panel]):
            if key["bitext"] in ("", *panel.settings[:1]) and not own.empty:
                note = "" if key["language"] in panel.targets else " (never bitext)"
                shown = {"images": panel.label, "language": key["language"] + note, "system": panel.shown(key["system"])}
                rows.append(shown | {_short(metric): number(estimate(own, metric).value) for metric in metrics})
    sizes = ", ".join(f"k / {panel.images:,} on {panel.label}" for panel in panels)
    caption = (
        "Recall by language, students with bitext in all target languages: T→I text to image, I→T image to text. By chance "
        f"T→I R@k is {sizes}. Intervals are in the table that is linked below."
    )
    document.table("recall", caption, rows, {name: name for name in rows[0]} if rows else {})


def _short(metric: str) -> str:
    return metric.replace("text to image", "T→I").replace("image to text", "I→T")


def _figures(document: ReportDocument, panels: Sequence[ImagePanel]) -> None:
    bars, points = [], []
    for panel in panels:
        for code in panel.languages:
            key = {"panel": panel.label, "language": code}
            for system in panel.references.systems:
                bars.append(key | {"system": system, "value": panel.references.estimate(system, code)})
            for system in panel.systems:
                with_bitext = panel.estimate(system, code, panel.settings[0])
                bars.append(key | {"system": system, "value": with_bitext})
                if code in panel.left_out:
                    without = panel.estimate(system, *panel.left_out[code])
                    points.append({"bitext": "with"} | key | {"system": system, "value": with_bitext})
                    points.append({"bitext": "without"} | key | {"system": system, "value": without})
    drawn, metric = {panel.label: panel for panel in panels}, panels[0].metric
    bar_data, point_data = numbers_of(bars), numbers_of(points)

    def draw_languages(axis: Axes, panel: ImagePanel) -> None:
        own = bar_data[bar_data["panel"] == panel.label]
        draw_bars(axis, own, panel.languages, {system: panel.shown(system) for system in panel.systems}, ("",))
        for place, system, x, values in beside(axis, own, panel.languages, panel.references.systems, 0):
            style: dict[str, Any] = {"color": "black", "linewidth": 0.9, "linestyle": ("-", "--", ":", "-.")[place % 4]}
            for middle, value in zip(x, values["value"], strict=True):
                axis.plot([middle - 0.42, middle + 0.42], [value] * 2, label=panel.shown(system), **style)

    caption = f"{metric} by language, bitext in all target languages, with 95 % intervals; marks are references."
    document.figure("languages", caption, bar_data, drawn, draw_languages, y=metric)

    def draw_left_out(axis: Axes, panel: ImagePanel) -> None:
        for bitext, own in point_data[point_data["panel"] == panel.label].groupby("bitext"):
            for place, system, x, values in beside(axis, own, list(panel.left_out), panel.systems, 0.16):
                filled = {"label": panel.shown(system)} if bitext == "with" else {"markerfacecolor": "white"}
                style = look(place) | {"linestyle": "none"} | filled
                axis.errorbar(x, values["value"], yerr=reach(values), capsize=2, **style)

    if points:
        caption = f"{metric} in each language with bitext (filled) and when it alone has none (hollow), with 95 % intervals."
        document.figure("left_out", caption, point_data, drawn, draw_left_out, y=metric)


def _answer(
    document: ReportDocument, panels: Sequence[ImagePanel], options: ImageTextOptions, comparisons: Sequence[Row]
) -> str:
    main, against = panels[0].shown(options.main), panels[0].shown(options.against)

    def said(row: Row, lower: str, higher: str) -> str:
        found = row["difference"]
        if found.interval is None:
            verdict = "not known"
        elif not found.clear:
            verdict = "not distinguishable"
        else:
            verdict = f"{lower if found.value < 0 else higher} with {main}"
        return f"{verdict} ({found.signed})"

    parts: list[str] = []
    first: dict[str, str] = {}
    for panel in panels:
        asked = [row for row in comparisons if (row["collection"], row["against"]) == (panel.label, options.against)]
        own = {row["quantity"]: row for row in asked if row["difference"]}
        if _MEAN not in own:
            continue
        text = f"on {panel.label}, with bitext in every language {panel.metric} is {said(own[_MEAN], 'lower', 'higher')}"
        if _DEVIATION in own:
            count = len(panel.units(panel.settings[0], seen=True))
            text += f"; its standard deviation over {count} languages is {said(own[_DEVIATION], 'smaller', 'larger')}"
        if _LOSS in own:
            text += f"; in a language without bitext it is {said(own[_UNSEEN], 'lower', 'higher')}"
            text += f"; what a language loses without bitext is {said(own[_LOSS], 'smaller', 'larger')}"
        parts.append(text)
        first[panel.label] = _first(main, against, own)
    if not parts:
        return document.answer(f"{main} and {against} were not both measured, so the question is not answered.")
    told = [f"On {label}: {sentence}" for label, sentence in first.items()] if len(first) > 1 else list(first.values())
    return document.answer(" ".join(told), parts, lead=f"{main} against {against}: ", between=". ")


def _first(main: str, against: str, own: Mapping[str, Row]) -> str:
    """Whether the gap between languages is smaller: what a language loses without bitext, or how much languages differ."""
    quantity = next((name for name in (_LOSS, _DEVIATION) if name in own), None)
    if quantity is None:
        return f"The gap between languages cannot be told from these runs: they have one language or one setting with {main}."
    what = "what a language loses without bitext" if quantity == _LOSS else "the difference between languages"
    found = own[quantity]["difference"]
    if not found.clear:
        return f"No difference was found: {what} is about the same with {main} as with {against} ({found.signed})."
    verdict, how = ("Yes", "smaller") if found.value < 0 else ("No", "larger")
    return f"{verdict}: {what} is {how} with {main} than with {against} ({found.signed})."
