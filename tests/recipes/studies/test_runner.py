"""A study from the command line: what it leaves, going on after a kill, failures, what a mistake gets."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from datasets import Dataset

from recipes.cli import main
from recipes.studies.reporting.results_table import read_record

from .conftest import STUDIES, make_data

ROOT = Path(__file__).resolve().parents[3]
ONE = ["seeds=[0]", "sweeps=[{language: [sw]}]"]


def study(output: Path, *arguments: str) -> int:
    return main(["study", STUDIES["variance"], "--profile", "smoke", "--output", str(output), *arguments])


def test_the_table_has_a_row_per_run_system_language_and_metric(finished):
    table = pd.read_csv(finished["low_resource"] / "results.csv")
    keys = ["cell", "system", "collection", "language", "metric"]
    assert not table.duplicated(keys).any()
    assert set(table["metric"]) == {"nDCG@10", "AP@100", "RR@10", "R@100"}
    assert table["value"].between(0, 1).all()
    tuned = table[table["stage"] == "fine_tune"]
    assert set(zip(tuned["system"], tuned["bitext"].astype(int), strict=True)) == {
        ("floor", 0), ("start", 20), ("start", 40), ("optical", 20), ("optical", 40)}  # fmt: skip
    assert set(tuned["pairs"]) == {4}
    assert set(table[table["stage"] == "reference"]["system"]) == {"floor", "ceiling", "bm25"}
    assert set(table[table["stage"] == "distil"]["system"]) == {"start", "optical", "transport", "pooled_mse", "contrastive"}


@pytest.mark.parametrize("name", STUDIES)
def test_a_report_answers_first_and_ends_with_where_it_comes_from(finished, name):
    report = finished[name] / "report"
    text = (report / "report.md").read_text()
    paragraphs = text.split("\n\n")
    assert paragraphs[0].startswith("# ")
    assert paragraphs[1].startswith("**")
    assert text.index("## Provenance") > text.index("| ")
    if name != "domain":  # which searches nothing
        assert "translated queries, teacher: not run: no model" in text
    assert "nan" not in text.lower().replace("distinguishable", "").replace("provenance", "")
    for figure in report.glob("figures/*.png"):
        assert figure.with_suffix(".pdf").is_file()
        assert figure.with_suffix(".csv").is_file()
        assert f"figures/{figure.name}" in text
    for table in report.glob("tables/*.tex"):
        assert r"\toprule" in table.read_text()
        assert table.with_suffix(".csv").is_file()


def test_the_report_is_made_anew_from_the_table_alone(finished, tmp_path, capsys):
    source, moved = finished["variance"], tmp_path / "moved"
    moved.mkdir()
    for name in ("study.yaml", "queries.parquet", "cells.csv", "provenance.json"):
        (moved / name).write_bytes((source / name).read_bytes())
    assert main(["study", STUDIES["variance"], "--report-only", "--output", str(moved)]) == 0
    assert (moved / "report/report.md").read_text() == (source / "report/report.md").read_text()
    for figure in (source / "report/figures").iterdir():
        assert (moved / "report/figures" / figure.name).read_bytes() == figure.read_bytes()
    capsys.readouterr()
    assert main(["study", STUDIES["variance"], "--report-only", "--output", str(moved), "report_options.main=both"]) == 0
    assert capsys.readouterr().out.startswith("No difference was found: on tiny")


def test_a_finished_study_has_nothing_left_to_run_and_no_weights(finished, capsys):
    output = finished["variance"]
    before = {path: path.stat().st_mtime_ns for path in output.glob("cells/*/cell.json")}
    assert study(output) == 0
    assert "Nothing is left to run." in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in output.glob("cells/*/cell.json")} == before
    assert not list(output.glob("cells/*/**/*.safetensors"))


def test_the_plan_shows_the_runs_and_runs_none(tmp_path, capsys):
    assert study(tmp_path / "out", "--plan") == 0
    out = capsys.readouterr().out
    assert "distil        6 runs, 0 done; 24 trainings of 2 updates" in out
    assert "How long it takes is known when one run of each kind has ended." in out
    assert not (tmp_path / "out").exists(), "data that the study makes is made by a run, not by its plan"


@pytest.mark.slow
def test_a_cell_that_is_killed_in_the_middle_is_resumed(tmp_path):
    output = tmp_path / "out"
    steps = ["distil.values.training.max_steps=100", "distil.values.training.save_steps=20", *ONE]
    command = [sys.executable, "-c", "from recipes.cli import main; import sys; sys.exit(main(sys.argv[1:]))", "study",
               STUDIES["variance"], "--profile", "smoke", "--output", str(output), *steps]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cell = output / "cells/distil-sw-seed_0"
    deadline = time.monotonic() + 120
    try:
        while not list(cell.glob("checkpoints/both/checkpoint-*/trainer_state.json")):
            assert process.poll() is None, "ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert read_record(cell) == {}
    first = (cell / "baselines/contrastive/model.safetensors").stat().st_mtime_ns
    reference = (output / "cells/reference-sw/cell.json").stat().st_mtime_ns
    assert study(output, *steps, "keep_models=true") == 0
    assert (cell / "baselines/contrastive/model.safetensors").stat().st_mtime_ns == first, (
        "what was trained is not trained again"
    )
    assert (output / "cells/reference-sw/cell.json").stat().st_mtime_ns == reference
    assert read_record(cell)["state"] == "done"
    log = json.loads((cell / "baselines/both/training_log.json").read_text())
    assert [entry["step"] for entry in log if "loss" in entry][-1] == 100


@pytest.mark.slow
def test_a_failure_is_recorded_the_others_go_on_and_the_report_names_the_gap(tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["seeds=[0]", "sweeps=[{language: [sw, fi]}]"]
    make_data(STUDIES["variance"], output, arguments)
    queries = output / "synthetic/collections/tiny/queries.fi.jsonl"
    good = queries.read_text()
    queries.write_text(good + "{\n")
    assert study(output, *arguments) == 1
    assert read_record(output / "cells/distil-sw-seed_0")["state"] == "done"
    failed = read_record(output / "cells/distil-fi-seed_0")
    assert failed["state"] == "failed"
    assert "queries.fi.jsonl:25" in failed["error"]
    assert "Traceback" in failed["trace"]
    text = (output / "report/report.md").read_text()
    assert "`distil-fi-seed_0` failed" in text
    assert "2 of 4 runs failed" in capsys.readouterr().out
    queries.write_text(good)
    assert study(output, *arguments) == 0  # put right, the same command finishes it
    assert "failed" not in (output / "report/report.md").read_text()


def test_students_that_encode_the_documents_are_measured_on_miracls_pools(tmp_path):
    output, place = tmp_path / "out", tmp_path / "MIRACLRetrievalHardNegatives"
    texts = {f"d{i}": f"maandishi {chr(97 + i) * 3} ya mto" for i in range(12)}
    parts = {
        "corpus": [{"_id": key, "title": "mji", "text": text} for key, text in texts.items()],
        "queries": [{"_id": str(i), "text": f"mji maandishi {chr(97 + i) * 3} ya mto"} for i in range(12)],
        "qrels": [{"query-id": str(i), "corpus-id": f"d{i}", "score": 1} for i in range(12)],
    }
    for part, rows in parts.items():
        file = place / f"sw-{part}" / "dev-00000-of-00001.parquet"
        file.parent.mkdir(parents=True)
        Dataset.from_list(rows).to_parquet(file)
    own = ["distil.values.student.encodes_documents=true", f"distil.values.evaluation.collections=[{{path: {place}}}]"]
    assert study(output, *ONE, *own) == 0
    table = pd.read_csv(output / "results.csv")
    trained = table[(table["system"] == "optical") & (table["metric"] == "RR@10")]
    assert trained["value"].tolist() == [1.0], "a query that is its document is found by an encoder of both"
    assert "no parallel queries in 'en'" in (output / "report/report.md").read_text()


@pytest.mark.slow
def test_two_jobs_at_a_time_find_what_one_finds(tmp_path, finished):
    output = tmp_path / "out"
    assert study(output, "seeds=[0]", "sweeps=[{language: [sw, de]}]", "--jobs", "2") == 0
    ours, theirs = (pd.read_csv(folder / "results.csv") for folder in (output, finished["variance"]))
    both = ours.merge(theirs, on=["cell", "system", "collection", "language", "metric"], suffixes=("", "_one"))
    assert len(both) == len(ours)
    assert both["value"].tolist() == pytest.approx(both["value_one"].tolist())
    assert (output / "cells/distil-sw-seed_0/log.txt").read_text()


def test_a_run_with_other_settings_is_refused(finished, capsys):
    assert study(finished["variance"], "distil.values.training.max_steps=3") == 2
    message = capsys.readouterr().err
    assert "was run with other settings (different: training.max_steps)" in message
    assert "--output" in message
    before = (finished["variance"] / "study.yaml").read_text()
    for change, told in (("references.bm25=false", "references"), ("metrics=[nDCG@10, nDCG@3]", "metrics (nDCG@3)")):
        assert study(finished["variance"], change) == 2
        assert f"measured with other settings of the study (different: {told})" in capsys.readouterr().err
    assert study(finished["variance"], "languages.so={group: low}", "sweeps=[{language: [sw, so]}]") == 2
    assert "was made by other settings or for other languages" in capsys.readouterr().err
    assert (finished["variance"] / "study.yaml").read_text() == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["distil.values.data.bitext=[{path: nowhere.jsonl, source: en, target: sw}]"], "nowhere.jsonl"),
        (["distil.values.evaluation.collections=[{path: /nowhere}]"], "collection folder '/nowhere' does not exist"),
        (["distil.values.training.max_step=3"], "Did you mean 'max_steps'"),
        (["distil.recipe=nowhere.yaml"], "nowhere.yaml"),
        (["languages.zz9={}"], "'zz9' is no language code"),
        (["report=other"], "adversarial, domain, domains, low_resource, "),
        (["report_options.main=optcal"], "Did you mean 'optical'"),
        (["report_options.mian=optical"], "Did you mean 'main'"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_computed(tmp_path, capsys, overrides, message):
    assert study(tmp_path / "out", *ONE, *overrides) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/cells").exists()


def test_a_report_of_nothing_says_what_to_do(tmp_path, capsys):
    assert main(["study", STUDIES["variance"], "--report-only", "--output", str(tmp_path)]) == 2
    assert "study.yaml is missing. Run the study first." in capsys.readouterr().err
