"""The report of a study, from its results table alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ...checked_yaml import PACKAGE_FOLDER, build, unknown_key
from ..adversarial.report import AdversarialOptions, report_adversarial
from ..domain.domains import DomainsOptions, report_domains
from ..domain.report import DomainOptions, report_domain
from ..image_text.report import ImageTextOptions, report_image_text
from ..low_resource.report import LowResourceOptions, report_low_resource
from ..ranking.report import RankingOptions, report_ranking
from ..study import Study
from ..variance.report import VarianceOptions, report_variance
from .document import ReportDocument
from .panel import shown_system
from .results_table import StudyResults

_REPORTS: dict[str, tuple[type, Callable[[StudyResults, Any, ReportDocument], str]]] = {
    "adversarial": (AdversarialOptions, report_adversarial),
    "domain": (DomainOptions, report_domain),
    "domains": (DomainsOptions, report_domains),
    "low_resource": (LowResourceOptions, report_low_resource),
    "ranking": (RankingOptions, report_ranking),
    "variance": (VarianceOptions, report_variance),
    "image_text": (ImageTextOptions, report_image_text),
}


def check_report(study: Study) -> None:
    """Checks which report a study asks for, and its options.

    Raises:
        ValueError: naming the key.
    """
    if study.report not in _REPORTS:
        raise ValueError(f"`report` is {study.report!r}; there are: {', '.join(_REPORTS)}.")
    _options(study)
    if study.report == "adversarial" and study.query_noise is None:
        raise ValueError("report: adversarial is about noisy queries: set `query_noise.levels`.")
    if study.report == "low_resource" and any(None in sweep.get("pairs", ()) for sweep in study.sweeps):
        raise ValueError("sweeps: `pairs: null` has no place on the axis of labelled pairs: name a number.")
    for key in ("main", "against", "plain", "arms"):
        named = study.report_options.get(key)
        for system in named if isinstance(named, list) else [named]:
            if system is not None and system not in study.systems:
                raise ValueError(unknown_key(f"report_options.{key}={system}", system, study.systems))


def write_report(results: StudyResults) -> str:
    """Writes `report/report.md` with its tables and figures.

    Returns:
        What to print: the answer, and where the report is.

    Raises:
        ValueError: for a report that there is none of, or results that it cannot be made from.
    """
    study = results.study
    check_report(study)
    document = ReportDocument(results.folder / "report", study.question)
    answer = _REPORTS[study.report][1](results, _options(study), document)
    if study.limits:
        document.heading("What this does not show")
        document.bullets(study.limits)
    _gaps(results, document)
    _provenance(results, document)
    if changes := [*study.would_change, *document.would_change]:
        document.heading("What would change this answer")
        document.bullets(changes)
    return f"{answer}\n\nReport: {document.write()}"


def _options(study: Study) -> Any:
    return build(_REPORTS[study.report][0], study.report_options, "report_options")


def _gaps(results: StudyResults, document: ReportDocument) -> None:
    """Planned results that are missing."""
    cells = results.cells
    missing = cells[cells["state"] != "done"]
    lines = [
        f"`{row.cell}` {row.state}{': ' + str(row.error).splitlines()[0] if row.error else ''}" for row in missing.itertuples()
    ]
    if len(lines) > 10:
        lines = [*lines[:10], f"and {len(lines) - 10} more, in `cells.csv`"]
    lines += document.gaps
    found = pd.DataFrame(results.not_run, columns=["system", "language", "collection", "reason"])
    for (system, reason), group in found.groupby(["system", "reason"], sort=False):
        where = ", ".join(sorted({f"{row.collection} {row.language}" for row in group.itertuples()}))
        lines.append(f"{shown_system(str(system), results.study.systems)}: not run: {reason} ({where})")
    if lines:
        document.heading("What is missing")
        document.bullets(lines)


def _command(results: StudyResults) -> str:
    """How the study was started, without what differs from machine to machine."""
    study, folder = results.study, Path(results.study.folder)
    shipped = folder.relative_to(PACKAGE_FOLDER.parent) if folder.is_relative_to(PACKAGE_FOLDER) else Path(folder.name)
    own = (
        []
        if study.synthetic_data or study.synthetic_images
        else [f"paths.{name}=…" for name, value in study.paths.items() if Path(str(value)).is_dir()]
    )
    return " ".join(["optical study", str(shipped / study.file), "--profile", study.profile, *own])


def _whose(results: StudyResults) -> str:
    other = results.runs_of
    seeds = f"; seeds {', '.join(map(str, (other or results.study).seeds))}"
    if other is None:
        return seeds
    return f"{seeds}; all of them of the study `{other.name}`, profile {other.profile} (`--report-only --results`)"


def _provenance(results: StudyResults, document: ReportDocument) -> None:
    record = results.provenance
    document.heading("Provenance")
    done = results.cells[results.cells["state"] == "done"]
    seconds = pd.to_numeric(done["seconds"]).sum()
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    machine = ", ".join(f"{key} {value}" for key, value in record["machine"].items())
    counted = done.groupby("stage", sort=False).size()
    runs = ", ".join(f"{count} {stage}" for stage, count in counted.items())
    queries = results.queries.groupby(["collection", "language"])["query"].nunique()
    kind = "queries" if results.study.image_text is None else "images"
    tested = ", ".join(f"{collection} {language} {count:,}" for (collection, language), count in queries.items())
    document.bullets(
        [
            f"Command: `{_command(results)}`; the study with all settings is `study.yaml`, each run's recipe is in `cells/`.",
            f"Runs: {runs}{_whose(results)}; {seconds / 3600:.1f} hours of computing.",
            f"{kind.capitalize()}: {tested}.",
            f"Machine: {machine}. Versions: {versions}.",
            "Data (first 16 digits of SHA-256): "
            + (", ".join(f"{k} {v}" for k, v in record["files"].items()) or "from the Hub"),
            f"Intervals: 95 %, percentile bootstrap over seeds and {kind}, all seeds of a sample on the same {kind}. Tests: "
            "two-sided.",
        ]
    )
