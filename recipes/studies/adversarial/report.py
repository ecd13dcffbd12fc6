"""Robustness to noise: curves, drops, adversarial against plain training, and what it costs on clean queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ...checked_yaml import build
from ..reporting.comparisons import shown_system
from ..reporting.document import MISSING, ReportDocument, chance, legend_below, look, number
from ..reporting.results_table import StudyResults
from .robustness import AdversarialOptions, ArmTest, MeanOverLanguages, Panel, arm_tests, less, mean_over_languages

_LEVEL = 0.05
_EQUAL = {
    "updates": "as many updates",
    "passes": "as many forward passes",
    "both": "as many updates and forward passes",
}


def report_adversarial(results: StudyResults, document: ReportDocument) -> str:
    """Writes the report's body and returns the answer."""
    options = build(AdversarialOptions, results.study.report_options, "report_options")
    found = results.queries[["collection", "student"]].drop_duplicates()
    panels = [
        panel
        for collection in found["collection"].unique()
        for pooled in (False, True)
        if (panel := Panel(results, collection, pooled, options)).languages
    ]
    if not panels:
        return "No student ended well, so the question is not answered."
    tests = arm_tests(panels)
    answer = _answer(results, options, tests)
    document.text(f"**{answer}**")
    for panel in panels:
        _curves(document, panel)
    _show_summary(document, panels, options)
    _show_comparisons(document, panels, tests, options)
    _show_kinds(document, panels, options)
    _show_non_inferiority(document, tests, options)
    _show_drops(document, panels)
    _show_costs(document, results)
    _show_noise(document, panels)
    kept = document.kept_table("tests", pd.DataFrame([_numbers(test) for test in tests]))
    points = document.kept_table("curves", pd.DataFrame([row for panel in panels for row in _points(panel, panel.systems)]))
    everything = document.kept_table("languages", _by_language(results))
    document.text(
        f"All tests by language: [{kept}]({kept}). All systems, kinds and levels: [{points}]({points}). Means of every "
        f"language, system, noise and metric ({', '.join(results.study.metrics)}): [{everything}]({everything})."
    )
    return answer


def _shown(panel: Panel, system: str) -> str:
    return shown_system(system, panel.results.study.systems)


def _estimated(found: MeanOverLanguages | None, *, sign: bool = False) -> str:
    return MISSING if found is None else number(found.value, found.interval, sign=sign)


def _columns(name: str, found: MeanOverLanguages | None) -> dict[str, float | None]:
    low, high = (None, None) if found is None or found.interval is None else found.interval
    return {name: None if found is None else found.value, f"{name}_low": low, f"{name}_high": high}


def _points(panel: Panel, systems: Sequence[str]) -> list[dict[str, object]]:
    """Means over languages of every system, kind and level."""
    rows = []
    for kind, levels in panel.levels.items():
        for system in systems:
            for level in (0.0, *levels):
                found = mean_over_languages(panel.under(system, kind, level), one_training=panel.pooled)
                if found is not None:
                    key = {"panel": panel.label, "metric": panel.metric, "noise": kind, "level": level, "system": system}
                    rows.append(key | _columns("value", found) | {"languages": found.languages})
    return rows


def _curves(document: ReportDocument, panel: Panel) -> None:
    drawn = [system for system in panel.options.drawn if system in panel.systems]
    data = pd.DataFrame(_points(panel, drawn))
    if data.empty:
        document.text(f"{panel.label}: no noise reaches enough queries to draw a curve.")
        return
    kinds = list(data["noise"].unique())

    def draw(axes: Sequence[Axes]) -> None:
        for axis, kind in zip(axes, kinds, strict=True):
            own = data[data["noise"] == kind]
            for position, system in enumerate(drawn):
                line = own[own["system"] == system].sort_values("level")
                low, high = (line[name].fillna(line["value"]) for name in ("value_low", "value_high"))
                reach = [(line["value"] - low).clip(lower=0), (high - line["value"]).clip(lower=0)]
                name = _shown(panel, system)
                axis.errorbar(line["level"], line["value"], yerr=reach, label=name, capsize=2, **look(position))
            axis.set_title(f"{kind.replace('_', ' ')} ({own['languages'].iloc[0]} languages)", fontsize=9)
            axis.set_xlabel("share changed")
            axis.set_ylabel(panel.metric)
        legend_below(axes)

    name = f"robustness_{panel.collection}{'_all' if panel.pooled else ''}"
    caption = f"{panel.label}: {panel.metric} against noise in the queries, mean over languages, with 95 % intervals."
    document.figure(name, caption, data, draw, panels=len(kinds))


def _show_summary(document: ReportDocument, panels: Sequence[Panel], options: AdversarialOptions) -> None:
    shown, numbers = [], []
    for panel in panels:
        for system in panel.systems:
            clean, noisy = panel.clean(system), panel.noisy(system)
            if not clean:
                continue
            means = {
                "clean": mean_over_languages(clean, one_training=panel.pooled),
                "noisy": mean_over_languages(noisy, one_training=panel.pooled),
                "drop": mean_over_languages(less(clean, noisy), one_training=panel.pooled),
            }
            key = {"collection": panel.label, "metric": panel.metric, "system": _shown(panel, system), "languages": len(clean)}
            shown.append(key | {name: _estimated(found) for name, found in means.items()})
            columns = [_columns(name, found) for name, found in means.items()]
            numbers.append(key | {"system": system} | columns[0] | columns[1] | columns[2])
    caption = (
        "Means over languages with 95 % intervals: clean queries, noisy ones (all kinds and levels that count in the language, "
        "with the same weight), and what noise costs. What has no noisy value was measured on clean queries only. A noise "
        f"counts where at its highest level at least {_percent(options.fewest_changed)} of the queries look different to the "
        "student. Code-switching puts in words of the teacher's language, so it may help more than it costs."
    )
    document.table("summary", caption, pd.DataFrame(shown), pd.DataFrame(numbers))


def _show_comparisons(
    document: ReportDocument, panels: Sequence[Panel], tests: Sequence[ArmTest], options: AdversarialOptions
) -> None:
    shown, numbers = [], []
    for panel in panels:
        for arm in options.arms:
            for equal, rival in panel.rivals(arm).items():
                if arm not in panel.systems:
                    continue
                own = [t for t in tests if (t.panel, t.arm, t.equal) == (panel, arm, equal)]
                drops = [less(panel.clean(one), panel.noisy(one)) for one in (arm, rival)]
                means = {
                    "clean": mean_over_languages(less(panel.clean(arm), panel.clean(rival)), one_training=panel.pooled),
                    "noisy": mean_over_languages(less(panel.noisy(arm), panel.noisy(rival)), one_training=panel.pooled),
                    "drop": mean_over_languages(less(*drops), one_training=panel.pooled),
                }
                key = {"collection": panel.label, "system": _shown(panel, arm), "against": f"plain, {_EQUAL[equal]}"}
                counts = {
                    "noisy better / worse": "{} / {} of {}".format(*_counted(own, "noisy")),
                    "drop smaller / larger": "{1} / {0} of {2}".format(*_counted(own, "drop")),
                }
                shown.append(key | {name: _estimated(one, sign=True) for name, one in means.items()} | counts)
                columns = [_columns(name, one) for name, one in means.items()]
                raw: dict[str, object] = {"collection": panel.label, "metric": panel.metric, "system": arm}
                numbers.append(raw | {"equal": equal, "rival": rival} | columns[0] | columns[1] | columns[2])
    if not shown:
        document.text("No adversarial training has a plain one of the same updates or forward passes beside it.")
        return
    caption = (
        "Adversarial less plain training, means over languages with 95 % intervals; a drop below 0: noise costs less. The "
        "last two columns: languages in which the difference is beyond chance (two-sided tests over seeds and queries, "
        f"Holm's correction over all {len(tests)} tests of the column)."
    )
    document.table("comparisons", caption, pd.DataFrame(shown), pd.DataFrame(numbers))


def _show_kinds(document: ReportDocument, panels: Sequence[Panel], options: AdversarialOptions) -> None:
    """Adversarial less plain training on noisy queries, kind by kind."""
    shown, numbers = [], []
    for panel in panels:
        for arm in options.arms:
            for equal, rival in panel.rivals(arm).items():
                means = {
                    kind: mean_over_languages(
                        less(panel.noisy(arm, kind=kind), panel.noisy(rival, kind=kind)), one_training=panel.pooled
                    )
                    for kind in panel.levels
                }
                key = {"collection": panel.label, "system": _shown(panel, arm), "against": f"plain, {_EQUAL[equal]}"}
                shown.append(key | {kind.replace("_", " "): _estimated(one, sign=True) for kind, one in means.items()})
                row: dict[str, object] = {"collection": panel.label, "system": arm, "equal": equal, "rival": rival}
                for kind, one in means.items():
                    row |= _columns(kind, one)
                numbers.append(row)
    if shown:
        caption = "Adversarial less plain training on noisy queries by kind, means over levels and languages, 95 % intervals."
        document.table("kinds", caption, pd.DataFrame(shown), pd.DataFrame(numbers))


def _counted(tests: Sequence[ArmTest], what: str) -> tuple[int, int, int]:
    """How many differences are above and below 0 beyond chance, and how many tests there are."""
    made = [(t.noisy, t.noisy_holm) if what == "noisy" else (t.drop, t.drop_holm) for t in tests]
    beyond = [one.mean for one, p in made if one is not None and p is not None and p < _LEVEL]
    return sum(mean > 0 for mean in beyond), sum(mean < 0 for mean in beyond), sum(one is not None for one, _ in made)


def _verdict(test: ArmTest) -> str:
    if test.clean_holm is None:
        return f"not tested: {test.clean.difference.note}"
    if test.clean_holm < _LEVEL:
        return "not inferior"
    different = test.clean.difference.p_above(-test.clean.margin)
    assert different is not None
    return "inferior" if 1 - different < _LEVEL else "not shown"


def _show_non_inferiority(document: ReportDocument, tests: Sequence[ArmTest], options: AdversarialOptions) -> None:
    high = [test for test in tests if test.high]
    if not high:
        document.text(f"No language of the group `{options.high}` was measured, so nothing is said of harm there.")
        return
    shown = pd.DataFrame(
        {
            "collection": test.panel.label,
            "language": test.language,
            "system": _shown(test.panel, test.arm),
            "against": f"plain, {_EQUAL[test.equal]}",
            "difference": number(test.clean.difference.mean, sign=True, places=4),
            "lower bound": number(test.clean.lower, sign=True, places=4),
            "p (Holm)": chance(test.clean_holm),
            "verdict": _verdict(test),
        }
        for test in high
    )
    seeds = {test.clean.difference.seeds for test in high}
    one = " With one seed the test speaks of these trainings only, not of others." if seeds == {1} else ""
    caption = (
        f"Clean queries of the group `{options.high}`: adversarial less plain training, one-sided 95 % lower bound, and the "
        f"test that it is worse by {options.margin * 100:g} points or more (seeds and queries are samples; Holm's correction "
        f"over all {len(high)}). Not inferior: that is refuted. Inferior: worse by more than the margin, before correction. "
        f"Not shown: neither.{one}"
    )
    document.table("non_inferiority", caption, shown, pd.DataFrame([_numbers(test) for test in high]))


def _numbers(test: ArmTest) -> dict[str, object]:
    clean = test.clean.difference
    row: dict[str, object] = {
        "collection": test.panel.collection,
        "pooled": test.panel.pooled,
        "metric": test.panel.metric,
        "language": test.language,
        "system": test.arm,
        "equal": test.equal,
        "rival": test.rival,
        "seeds": clean.seeds,
        "queries": clean.queries,
        "clean": clean.mean,
        "clean_error": clean.error,
        "clean_freedom": clean.freedom,
        "clean_lower": test.clean.lower,
        "margin": test.clean.margin,
        "p_inferior": test.clean.p,
        "p_inferior_holm": test.clean_holm,
    }
    for name, found, p in (("noisy", test.noisy, test.noisy_holm), ("drop", test.drop, test.drop_holm)):
        row |= {
            name: found.mean if found else None,
            f"{name}_error": found.error if found else None,
            f"p_{name}": found.p_different() if found else None,
            f"p_{name}_holm": p,
        }
    return row


def _show_drops(document: ReportDocument, panels: Sequence[Panel]) -> None:
    """What each level costs, over the kinds of noise that count."""
    shown, numbers = [], []
    most = max((len(levels) for panel in panels for levels in panel.levels.values()), default=0)
    for panel in panels:
        for system in panel.systems:
            drops = [
                mean_over_languages(less(panel.clean(system), panel.noisy(system, place=place)), one_training=panel.pooled)
                for place in range(most)
            ]
            if any(drops):
                key = {"collection": panel.label, "system": _shown(panel, system)}
                shown.append(key | {f"level {place + 1}": _estimated(one) for place, one in enumerate(drops)})
                row: dict[str, object] = {"collection": panel.label, "system": system}
                for place, one in enumerate(drops):
                    row |= _columns(f"level_{place + 1}", one)
                numbers.append(row)
    if not shown:
        return
    levels = "; ".join(f"{kind.replace('_', ' ')} {', '.join(f'{x:g}' for x in own)}" for kind, own in panels[0].levels.items())
    caption = (
        "What noise costs by level, means over the kinds that count and over languages. Share changed at levels 1 to "
        f"{most}: {levels}."
    )
    document.table("drops", caption, pd.DataFrame(shown), pd.DataFrame(numbers))


def _show_costs(document: ReportDocument, results: StudyResults) -> None:
    trainings = pd.DataFrame(results.provenance["trainings"])
    if trainings.empty:
        return
    keys = ["student", "system"]
    grouped = trainings.groupby(keys, sort=False)
    costs = grouped[["updates", "passes"]].first().join(grouped["seconds"].median()).reset_index()
    costs["kind"] = np.where(costs["student"] == "mul", "all languages", "one language")
    table = costs.groupby(["kind", "system"], sort=False)[["updates", "passes", "seconds"]].median().reset_index()
    shown = pd.DataFrame(
        {
            "student of": row.kind,
            "system": shown_system(str(row.system), results.study.systems),
            "updates": _whole(row.updates),
            "forward and backward passes": _whole(row.passes),
            "seconds": _whole(row.seconds),
        }
        for row in table.itertuples()
    )
    document.table("costs", "What each training cost (seconds: median over students and seeds).", shown, table)


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _whole(value: float | None) -> str:
    return MISSING if value is None or pd.isna(value) else f"{value:,.0f}"


def _show_noise(document: ReportDocument, panels: Sequence[Panel]) -> None:
    """How many queries each noise changed, and which noise says nothing where."""
    rows: list[dict[str, object]] = []
    gaps: dict[str, list[str]] = {}
    for panel in panels:
        for language in panel.languages:
            row: dict[str, object] = {"collection": panel.label, "language": language}
            for kind, levels in panel.levels.items():
                found = panel.noise[(panel.noise["language"] == language) & (panel.noise["noise"] == kind)]
                by_level = found.set_index("level")
                shares = [(by_level.loc[x, "changed"], by_level.loc[x, "seen"], by_level.loc[x, "queries"]) for x in levels]
                row[kind.replace("_", " ")] = ", ".join(_percent(seen / total) for _, seen, total in shares)
                if not panel.reaches(language, kind):
                    changed, seen, total = shares[-1]
                    reason = found["why_not"].iloc[0] or (
                        f"{changed:.0f} of {total:.0f} queries change, {seen:.0f} of them for the student's tokenizer"
                    )
                    gaps.setdefault(f"{kind.replace('_', ' ')} in {language}: {reason}", []).append(panel.label)
            rows.append(row)
    numbers = pd.concat([panel.noise.assign(collection=panel.label) for panel in panels], ignore_index=True)
    caption = "Share of the queries that look different to the student, level by level (all counts in the CSV)."
    document.table("noise", caption, pd.DataFrame(rows), numbers)
    if gaps:
        document.text("Noise that says nothing there and is left out of means, curves and tests:")
        document.bullets([f"{what} ({'; '.join(where)})" for what, where in gaps.items()])


def _by_language(results: StudyResults) -> pd.DataFrame:
    keys = ["student", "system", "collection", "language", "noise", "level"]
    return results.queries.groupby(keys, sort=False)[results.study.metrics].mean().round(6).reset_index()


def _answer(results: StudyResults, options: AdversarialOptions, tests: Sequence[ArmTest]) -> str:
    if not tests:
        return "No adversarial training ended well beside a plain one of the same cost, so the question is not answered."
    parts = []
    for equal in ("updates", "passes"):
        own, words = [test for test in tests if test.equal in (equal, "both")], _EQUAL[equal]
        if not own:
            continue
        better, worse, made = _counted(own, "noisy")
        larger, smaller, _ = _counted(own, "drop")
        parts.append(
            f"against plain training with {words}, scores on noisy queries are higher in {better}, lower in {worse} and not "
            f"distinguishable in {made - better - worse} of {made} comparisons, and noise costs less in {smaller}, more in "
            f"{larger} of them"
        )
    high = [test for test in tests if test.high]
    verdicts = [_verdict(test) for test in high]
    codes = ", ".join(dict.fromkeys(test.language for test in high))
    if high:
        parts.append(
            f"on clean queries of high-resource languages ({codes}) a loss of {options.margin * 100:g} points is ruled out in "
            f"{verdicts.count('not inferior')} of {len(high)} comparisons and shown in {verdicts.count('inferior')}"
        )
    text = "; ".join(parts)
    return f"Adversarial training (each arm, language and collection a comparison): {text}."
