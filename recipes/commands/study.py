"""`optical study`: a research question as a grid of runs, and the report that answers it."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    study = commands.add_parser(
        "study",
        help="carry out a research study and write its report",
        description="Shows the runs of the study and what they cost, carries out those that are not done, each as "
        "`optical run` and `optical fine-tune` would, and writes a report. Started again, it goes on where it stopped and "
        "repeats what failed.",
    )
    study.add_argument(
        "study",
        nargs="?",
        help="a study's YAML file, or one that is installed, such as recipes/studies/variance/study.yaml",
    )
    study.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the study, such as paths.bitext=FOLDER")
    study.add_argument(
        "--profile", default="full", help="which of the study's profiles: full (default), multilingual, local, smoke"
    )
    study.add_argument("--output", help="folder of the study (default: what the study says)")
    study.add_argument("--jobs", type=int, default=1, help="runs at the same time, each in a separate process (default: 1)")
    study.add_argument("--plan", action="store_true", help="show the runs and what they cost, and stop")
    study.add_argument("--report-only", action="store_true", help="write the report anew from the results table alone")
    study.add_argument("--results", help="with --report-only: folder of another study, whose runs answer this question, too")
    study.add_argument("--answers", metavar="DIR", help="put the answers of the reports in DIR/NAME on one page, DIR/README.md")
    study.add_argument("--cell", help=argparse.SUPPRESS)  # how a study starts one of its runs in a process
    study.set_defaults(work=_study)


def _study(options: argparse.Namespace) -> int:
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise ImportError('studies need pandas and matplotlib: pip install "modeling-optical[studies]"') from error
    from ..studies.runner import StudyRun, carry_out_by_name, read_study
    from ..studies.study import load_study

    if options.answers is not None:
        from ..studies.reporting.answers_page import write_answers

        print(f"Answers: {write_answers(Path(options.answers).expanduser())}")
        return 0
    if options.study is None:
        raise ValueError("which study? Name its YAML file, such as recipes/studies/variance/study.yaml.")
    if options.cell is not None:
        return carry_out_by_name(Path(options.study).parent, options.cell)
    if options.results is not None and not options.report_only:
        raise ValueError("--results makes a report from runs that are there: give --report-only, too.")
    if options.report_only:
        from ..studies.reporting.results_table import read_results_table, with_question
        from ..studies.reporting.write_report import write_report

        if options.results is not None:
            study = load_study(options.study, options.profile, options.overrides, options.output)
            results = with_question(read_results_table(read_study(Path(options.results).expanduser())), study)
        else:
            place = options.output or load_study(options.study, options.profile, options.overrides).output
            results = read_results_table(read_study(Path(place).expanduser(), options.overrides))
        print(write_report(results))
        return 0
    run = StudyRun(load_study(options.study, options.profile, options.overrides, options.output), jobs=options.jobs)
    if options.plan:
        print(run.plan())
        return 0
    failed = run()
    if failed:
        print(f"\n{failed} of {len(run.cells)} runs failed; the report says which. The same command tries them again.")
    return 1 if failed else 0
