"""`optical compare` as a user runs it."""

import json
import re
from pathlib import Path

import pytest

from modeling_optical.evaluation import Collection, save_run
from recipes.cli import main

QUERIES = {f"q{n}": f"swali {n}" for n in range(8)}
CORPUS = {f"d{n}": f"document {n}" for n in range(9)}
QRELS = {query: {f"d{n}": 1} for n, query in enumerate(QUERIES)}
GOOD = {query: {f"d{n}": 1.0} for n, query in enumerate(QUERIES)}
POOR = {query: {"d8": 2.0, f"d{n}": 1.0 if n % 2 else 3.0} for n, query in enumerate(QUERIES)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    collection = Collection("emoji", "sw", CORPUS, QUERIES, QRELS)
    for system, run in {"optical": GOOD, "pooled_mse": POOR}.items():
        save_run(tmp_path / "run" / "runs", system, collection, run)
    return tmp_path / "run"


def test_a_folder_gives_a_table_with_tests_and_counts(folder, capsys):
    assert main(["compare", str(folder), "--metric", "RR@10", "AP@100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| collection | metric | first | second | queries")
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:7] == ["emoji.sw", "RR@10", "optical", "pooled_mse", "8", "1.000", "0.750"]
    assert cells[7].startswith("+0.250 [+")
    assert cells[11] == "4 / 4 / 0"
    assert "Unjudged among the first 10, emoji.sw: optical 0.0%, pooled_mse 50.0%." in lines
    assert "Holm's correction is over 2 comparisons." in lines


def test_run_files_with_texts_show_wins_and_losses_and_write_json(folder, tmp_path, capsys):
    corpus, report = tmp_path / "corpus.jsonl", tmp_path / "out" / "compare.json"
    corpus.write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in CORPUS.items()))
    runs = folder / "runs"
    files = [str(runs / "pooled_mse.emoji.sw.trec"), str(runs / "optical.emoji.sw.trec")]
    texts = ["--queries", str(runs / "emoji.sw.queries.jsonl"), "--corpus", str(corpus), "--json", str(report)]
    assert main(["compare", *files, "--qrels", str(runs / "emoji.sw.qrels"), "--examples", "1", *texts]) == 0
    out = capsys.readouterr().out
    assert "### pooled_mse.emoji.sw is above\n\nNo query." in out
    assert "swali 1 (0.500 and 1.000)" in out
    assert "relevant: d1 document 1" in out
    assert "pooled_mse.emoji.sw 1: d8 document 8 (unjudged)" in out
    record = json.loads(report.read_text())
    (pair,) = record["pairs"]
    assert (pair["result"]["wins"], pair["result"]["ties"], pair["result"]["losses"]) == (0, 4, 4)
    assert pair["result"]["difference"] == pytest.approx(-0.25)
    assert record["examples"][0]["losses"][0]["text"] == "swali 1"


def test_texts_give_a_terminal_no_commands_and_stay_on_their_line(folder, tmp_path, capsys):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"_id": key, "text": "one\n\x1b[2J# two | three"}) + "\n" for key in CORPUS))
    runs = folder / "runs"
    files = [str(runs / "pooled_mse.emoji.sw.trec"), str(runs / "optical.emoji.sw.trec")]
    texts = ["--queries", str(runs / "emoji.sw.queries.jsonl"), "--corpus", str(corpus)]
    assert main(["compare", *files, "--qrels", str(runs / "emoji.sw.qrels"), "--examples", "1", *texts]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\n# two" not in out
    assert re.search(r"relevant: d1 one .*# two \| three", out)


def test_a_single_query_and_equal_runs_are_said_not_tested(tmp_path, capsys):
    collection = Collection("one", "sw", CORPUS, {"q0": "swali"}, {"q0": {"d0": 1}})
    for system, document in (("a", "d0"), ("b", "d1")):
        save_run(tmp_path / "run", system, collection, {"q0": {document: 1.0}})
    report = tmp_path / "report.json"
    assert main(["compare", str(tmp_path / "run"), "--json", str(report)]) == 0
    out = capsys.readouterr().out
    assert "| +1.000 | - | - | - | 1 / 0 / 0 |" in out
    assert "one.sw, AP@100, a and b: a single query: no interval, no test." in out
    assert "NaN" not in report.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["RUN/runs/optical.emoji.sw.trec", "RUN/runs/pooled_mse.emoji.sw.trec"], "judgements are needed (--qrels FILE)"),
        (["RUN/nothing"], "there is no such run file or folder"),
        (["RUN", "--systems", "optical"], "give two or more runs"),
        (["RUN", "--systems", "teacher"], "There: optical, pooled_mse"),
        (["RUN", "--baseline", "teacher"], "no run of 'teacher'"),
        (["RUN", "--metric", "MAPP"], "unknown metric"),
        (["RUN", "--corpus", "RUN/nothing"], "there is no such file"),
    ],
)
def test_a_mistake_is_one_message(folder, capsys, arguments, message):
    assert main(["compare", *[argument.replace("RUN", str(folder)) for argument in arguments]]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_broken_run_is_refused_with_file_and_line(folder, capsys):
    path = folder / "runs" / "optical.emoji.sw.trec"
    path.write_text(path.read_text() + "q1 Q0 d3\n")
    assert main(["compare", str(folder)]) == 2
    assert f"{path}:9: expected `query Q0 document rank score tag`" in capsys.readouterr().err
