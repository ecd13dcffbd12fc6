"""Robustness to noise: curves, drops, adversarial against plain training, and what it costs on clean queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..reporting.comparisons import LEVEL, is_significant
from ..reporting.document import ReportDocument
from ..reporting.estimates import MISSING, Row, chance, number
from ..reporting.figures import draw_lines
from ..reporting.panel import selected, shown_system
from ..reporting.results_table import StudyResults
from ..reporting.table import Format, numbers_of, signed
from .robustness import AdversarialOptions, NoisyPanel, arm_tests, less

_EQUAL = {
    "updates": "as many updates",
    "passes": "as many forward passes",
    "both": "as many updates and forward passes",
}
_TESTS = ["collection", "pooled", "metric", "language", "system", "equal", "rival", "seeds", "queries", "clean", "clean_error",
          "clean_freedom", "clean_lower", "margin", "p_inferior", "p_inferior_holm", "noisy", "noisy_error", "p_noisy",
          "p_noisy_holm", "drop", "drop_error", "p_drop", "p_drop_holm"]  # fmt: skip


def report_adversarial(results: StudyResults, options: AdversarialOptions, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    names = results.queries["collection"].unique()
    both = [NoisyPanel(results, name, pooled, options) for name in names for pooled in (False, True)]
    panels = [panel for panel in both if panel.languages]
    if not panels:
        return "No student ended well, so the question is not answered."
    tests = arm_tests(panels)
    answer = _answer(document, options, tests)
    for panel in panels:
        _curves(document, panel)
    _show_summary(document, panels)
    _show_comparisons(document, panels, tests)
    _show_non_inferiority(document, panels, tests)
    _show_drops(document, panels)
    _show_costs(document, results)
    _show_noise(document, panels)
    kept = document.kept_table("tests", tests, _TESTS)
    points = document.kept_table("curves", [row for panel in panels for row in _points(panel, panel.systems)])
    keys = ["student", "system", "collection", "language", "noise", "level"]
    means = results.queries.groupby(keys, sort=False)[results.study.metrics].mean().round(6).reset_index()
    document.text(
        f"All tests by language: {kept}. All systems, kinds and levels: {points}. Means of every language, system, noise and "
        f"metric ({', '.join(results.study.metrics)}): {document.kept_table('languages', means)}."
    )
    return answer


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _points(panel: NoisyPanel, systems: Sequence[str]) -> list[Row]:
    """Means over languages of every system, kind and level."""
    return [
        {"panel": panel.label, "metric": panel.metric, "noise": kind, "level": level, "system": system}
        | {"value": panel.mean(tables), "languages": len(tables)}
        for kind, levels in panel.levels.items()
        for system in systems
        for level in (0.0, *levels)
        if (tables := panel.at(system, kind, level))
    ]


def _curves(document: ReportDocument, panel: NoisyPanel) -> None:
    drawn = {system: panel.shown(system) for system in panel.options.drawn if system in panel.systems}
    data = numbers_of(_points(panel, list(drawn)))
    if data.empty:
        document.text(f"{panel.label}: no noise reaches enough queries to draw a curve.")
        return
    counts = data.groupby("noise", sort=False)["languages"].first()
    titles = {f"{_words(kind)} ({count} languages)": kind for kind, count in counts.items()}

    def draw(axis: Axes, kind: str) -> None:
        draw_lines(axis, data[data["noise"] == kind], "level", drawn)

    name = f"robustness_{panel.collection['collection']}{'_all' if panel.pooled else ''}"
    caption = f"{panel.label}: {panel.metric} against noise in the queries, mean over languages, with 95 % intervals."
    document.figure(name, caption, data, titles, draw, x="share changed", y=panel.metric)


def _show_summary(document: ReportDocument, panels: Sequence[NoisyPanel]) -> None:
    rows = [
        {"collection": panel.label, "metric": panel.metric, "system": system, "languages": len(clean)}
        | {"clean": panel.mean(panel.clean_as_noisy(system) or clean)}
        | {"noisy": panel.mean(panel.noisy(system)), "drop": panel.mean(panel.drop(system))}
        for panel in panels
        for system in panel.systems
        if (clean := panel.clean(system))
    ]
    caption = (
        "Means over languages with 95 % intervals: clean queries, noisy ones (all kinds and levels that count in the language, "
        "with the same weight), and what noise costs. What has no noisy value was measured on clean queries only. A noise "
        f"counts where at its highest level at least {_percent(panels[0].options.fewest_changed)} of the queries look "
        "different to the student. Code-switching puts in words of the teacher's language, so it may help more than it costs."
    )
    shown = {name: name for name in ("collection", "metric", "system", "languages", "clean", "noisy", "drop")}
    document.table("summary", caption, rows, shown | {"system": _named(panels)})


def _named(panels: Sequence[NoisyPanel]) -> Format:
    return lambda row: panels[0].shown(row["system"])


def _show_comparisons(document: ReportDocument, panels: Sequence[NoisyPanel], tests: Sequence[Row]) -> None:
    """Adversarial less plain training, over all noises and kind by kind."""
    rows: list[Row] = []
    for panel in panels:
        for arm in panel.options.arms:
            for equal, rival in panel.rivals(arm).items():
                own = [row for row in tests if (row["label"], row["system"], row["equal"]) == (panel.label, arm, equal)]
                clean, noisy, drop = (panel.mean(less(of(arm), of(rival))) for of in (panel.clean, panel.noisy, panel.drop))
                kinds = {
                    kind: panel.mean(less(panel.noisy(arm, kind=kind), panel.noisy(rival, kind=kind))) for kind in panel.levels
                }
                row: Row = {"collection": panel.label, "metric": panel.metric, "system": arm, "equal": equal, "rival": rival}
                row |= {"clean": clean, "noisy": noisy, "drop": drop, "measured": arm in panel.systems} | kinds
                rows.append(row | {"above": _counted(own, "noisy"), "below": _counted(own, "drop")})
    key: dict[str, Format] = {"collection": "collection", "system": _named(panels)}
    key["against"] = lambda row: f"plain, {_EQUAL[row['equal']]}"
    measured = [row for row in rows if row["measured"]]
    caption = (
        "Adversarial less plain training, means over languages with 95 % intervals; a drop below 0: noise costs less. The "
        "last two columns: languages in which the difference is beyond chance (two-sided tests over seeds and queries, "
        f"Holm's correction over all {len(tests)} tests of the column)."
    )
    counts: dict[str, Format] = {
        "noisy better / worse": lambda row: "{} / {} of {}".format(*row["above"]),
        "drop smaller / larger": lambda row: "{1} / {0} of {2}".format(*row["below"]),
    }
    means = ["clean", "noisy", "drop"]
    numbers = ["collection", "metric", "system", "equal", "rival", *means]
    if not measured:
        document.text("No adversarial training has a plain one of the same updates or forward passes beside it.")
    document.table("comparisons", caption, measured, key | {name: signed(name) for name in means} | counts, numbers)
    kinds_of = panels[0].levels
    caption = "Adversarial less plain training on noisy queries by kind, means over levels and languages, 95 % intervals."
    shown = key | {_words(kind): signed(kind) for kind in kinds_of}
    document.table("kinds", caption, rows, shown, ["collection", "system", "equal", "rival", *kinds_of])


def _counted(tests: Sequence[Row], what: str) -> tuple[int, int, int]:
    """The numbers of differences significantly above and significantly below 0, and of tests."""
    clear = [row[what] for row in tests if is_significant(row[f"p_{what}_holm"])]
    return sum(mean > 0 for mean in clear), sum(mean < 0 for mean in clear), sum(row[what] is not None for row in tests)


def _verdict(row: Row) -> str:
    if row["p_inferior_holm"] is None:
        return f"not tested: {row['note']}"
    if row["p_inferior_holm"] < LEVEL:
        return "not inferior"
    return "inferior" if 1 - row["p_inferior"] < LEVEL else "not shown"


def _show_non_inferiority(document: ReportDocument, panels: Sequence[NoisyPanel], tests: Sequence[Row]) -> None:
    high, options = [row for row in tests if row["high"]], panels[0].options
    if not high:
        document.text(f"No language of the group `{options.high}` was measured, so nothing is said of harm there.")
    seeds = {row["seeds"] for row in high}
    one = " With one seed the test speaks of these trainings only, not of others." if seeds == {1} else ""
    caption = (
        f"Clean queries of the group `{options.high}`: adversarial less plain training, one-sided 95 % lower bound, and the "
        f"test that it is worse by {options.margin * 100:g} points or more (seeds and queries are samples; Holm's correction "
        f"over all {len(high)}). Not inferior: that is refuted. Inferior: worse by more than the margin, before correction. "
        f"Not shown: neither.{one}"
    )
    document.table("non_inferiority", caption, high, {
        "collection": "label", "language": "language", "system": _named(panels),
        "against": lambda row: f"plain, {_EQUAL[row['equal']]}",
        "difference": lambda row: number(row["clean"], sign=True, places=4),
        "lower bound": lambda row: number(row["clean_lower"], sign=True, places=4),
        "p (Holm)": lambda row: chance(row["p_inferior_holm"]), "verdict": _verdict,
    }, _TESTS)  # fmt: skip


def _show_drops(document: ReportDocument, panels: Sequence[NoisyPanel]) -> None:
    """The loss by each level, over the kinds of noise that count."""
    levels = range(max((len(levels) for levels in panels[0].levels.values()), default=0))
    rows = [
        {"collection": panel.label, "system": system} | {f"level_{place + 1}": one for place, one in enumerate(drops)}
        for panel in panels
        for system in panel.systems
        if any(drops := [panel.mean(panel.drop(system, place=place)) for place in levels])
    ]
    kinds = "; ".join(f"{_words(kind)} {', '.join(f'{x:g}' for x in own)}" for kind, own in panels[0].levels.items())
    caption = (
        "What noise costs by level, means over the kinds that count and over languages. Share changed at levels 1 to "
        f"{len(levels)}: {kinds}."
    )
    key: dict[str, Format] = {"collection": "collection", "system": _named(panels)}
    document.table("drops", caption, rows, key | {f"level {place + 1}": f"level_{place + 1}" for place in levels})


def _show_costs(document: ReportDocument, results: StudyResults) -> None:
    trainings = pd.DataFrame(results.provenance["trainings"])
    if trainings.empty:
        return
    grouped = trainings.groupby(["student", "system"], sort=False)
    costs = grouped[["updates", "passes"]].first().join(grouped["seconds"].median()).reset_index()
    costs["kind"] = np.where(costs["student"] == "mul", "all languages", "one language")
    table = costs.groupby(["kind", "system"], sort=False)[["updates", "passes", "seconds"]].median().reset_index()

    def whole(column: str) -> Format:
        return lambda row: MISSING if pd.isna(row[column]) else f"{row[column]:,.0f}"

    document.table("costs", "What each training cost (seconds: median over students and seeds).", table.to_dict("records"), {
        "student of": "kind", "system": lambda row: shown_system(row["system"], results.study.systems),
        "updates": whole("updates"), "forward and backward passes": whole("passes"), "seconds": whole("seconds"),
    }, table)  # fmt: skip


def _show_noise(document: ReportDocument, panels: Sequence[NoisyPanel]) -> None:
    """How many queries each noise changed, and which noise says nothing where."""
    rows: list[Row] = []
    gaps: dict[str, list[str]] = {}
    for panel in panels:
        for language in panel.languages:
            row = {"collection": panel.label, "language": language}
            for kind, levels in panel.levels.items():
                found = selected(panel.noise, language=language, noise=kind).set_index("level").loc[levels]
                row[_words(kind)] = ", ".join(_percent(share) for share in found["seen"] / found["queries"])
                if kind not in panel.kinds[language]:
                    last = found.iloc[-1]
                    reason = found["why_not"].iloc[0] or (
                        f"{last['changed']:.0f} of {last['queries']:.0f} queries change, {last['seen']:.0f} of them for the "
                        "student's tokenizer"
                    )
                    gaps.setdefault(f"{_words(kind)} in {language}: {reason}", []).append(panel.label)
            rows.append(row)
    numbers = pd.concat([panel.noise.assign(collection=panel.label) for panel in panels], ignore_index=True)
    caption = "Share of the queries that look different to the student, level by level (all counts in the CSV)."
    document.table("noise", caption, rows, pd.DataFrame(rows), numbers)
    if gaps:
        document.text("Noise that says nothing there and is left out of means, curves and tests:")
        document.bullets([f"{what} ({'; '.join(where)})" for what, where in gaps.items()])


def _answer(document: ReportDocument, options: AdversarialOptions, tests: Sequence[Row]) -> str:
    details = []
    for equal in ("updates", "passes"):
        own = [row for row in tests if row["equal"] in (equal, "both")]
        better, worse, made = _counted(own, "noisy")
        larger, smaller, _ = _counted(own, "drop")
        if own:
            details.append(
                f"against plain training with {_EQUAL[equal]}, scores on noisy queries are higher in {better}, lower in {worse}"
                f" and not distinguishable in {made - better - worse} of {made} comparisons, and noise costs less in {smaller}"
                f", more in {larger} of them"
            )
    high = [row for row in tests if row["high"]]
    verdicts = [_verdict(row) for row in high]
    if high:
        details.append(
            f"on clean queries of high-resource languages ({', '.join(dict.fromkeys(row['language'] for row in high))}) a loss "
            f"of {options.margin * 100:g} points is ruled out in {verdicts.count('not inferior')} of {len(high)} comparisons "
            f"and shown in {verdicts.count('inferior')}"
        )
        if open_ := verdicts.count("not shown"):
            document.would_change.append(
                f"More queries or seeds in high-resource languages: in {open_} of {len(high)} comparisons a loss of "
                f"{options.margin * 100:g} points can be neither ruled out nor shown."
            )
    if not details:
        return document.answer(
            "No adversarial training ended well beside a plain one of the same cost, so the question is not answered."
        )
    lead = "Adversarial training (each arm, language and collection a comparison): "
    return document.answer(_first(tests, verdicts), details, lead=lead)


def _first(tests: Sequence[Row], verdicts: Sequence[str]) -> str:
    same_passes = [row for row in tests if row["equal"] in ("passes", "both")]
    fair = same_passes or list(tests)
    budget = "forward passes" if same_passes else "updates"
    better, worse, made = _counted(fair, "noisy")
    if better and not worse:
        gain = (
            f"Yes, in {better} of {made} comparisons: with as many {budget}, adversarial training finds more with noisy queries"
        )
    elif worse and not better:
        gain = f"No: with as many {budget}, adversarial training finds less with noisy queries in {worse} of {made} comparisons"
    elif better:
        gain = (
            f"It depends: with as many {budget}, adversarial training finds more with noisy queries in {better} and less in "
            f"{worse} of {made} comparisons"
        )
    else:
        gain = (
            f"No gain was found: with as many {budget}, adversarial training changes nothing significantly with noisy "
            f"queries in any of {made} comparisons"
        )
    harm = verdicts.count("inferior")
    if not verdicts:
        return f"{gain}."
    if harm:
        return f"{gain}, and it harms clean queries of high-resource languages in {harm} of {len(verdicts)}."
    if verdicts.count("not inferior") == len(verdicts):
        return f"{gain}, and it does not harm clean queries of high-resource languages."
    return f"{gain}; harm to clean queries of high-resource languages is not shown, and not ruled out everywhere."
