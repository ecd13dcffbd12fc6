"""Runs read and compared: which files belong together, what is missing, what is corrected, what is shown."""

import json
from pathlib import Path

import pytest

from modeling_optical.evaluation import Collection, holm, save_run
from modeling_optical.evaluation.comparison import (
    TextFile,
    compare_systems,
    largest_differences,
    read_judged_runs,
    unjudged,
)

QUERIES = {f"q{n}": f"query {n}" for n in range(6)}
CORPUS = {f"d{n}": f"document {n}" for n in range(8)}
QRELS = {query: {f"d{n}": 1, "d7": 0} for n, query in enumerate(QUERIES)}
GOOD = {query: {f"d{n}": 2.0, "d6": 1.0} for n, query in enumerate(QUERIES)}
POOR = {query: {"d6": 2.0, f"d{n}": 1.0} for n, query in enumerate(QUERIES)} | {"q5": {"d5": 1.0}}


def evaluated(folder: Path, language: str = "sw", queries=None, qrels=None, **runs) -> Path:
    collection = Collection("emoji", language, CORPUS, queries or QUERIES, qrels or QRELS)
    for system, run in (runs or {"optical": GOOD, "pooled_mse": POOR}).items():
        save_run(folder / "runs", system, collection, run)
    return folder


def test_a_folder_of_runs_reads_back_with_judgements_and_texts(tmp_path):
    (found,) = read_judged_runs([evaluated(tmp_path / "a")])
    assert (found.collection, found.qrels, found.queries) == ("emoji.sw", QRELS, QUERIES)
    assert found.runs == {"optical": GOOD, "pooled_mse": POOR}
    assert found.notes == []


def test_run_files_are_named_by_themselves(tmp_path):
    runs = evaluated(tmp_path / "a") / "runs"
    files = [runs / "optical.emoji.sw.trec", runs / "pooled_mse.emoji.sw.trec"]
    (found,) = read_judged_runs(files, runs / "emoji.sw.qrels")
    assert list(found.runs) == ["optical.emoji.sw", "pooled_mse.emoji.sw"]
    with pytest.raises(ValueError, match="its judgements are needed"):
        read_judged_runs(files)


def test_the_same_system_of_two_folders_is_told_apart(tmp_path):
    folders = [evaluated(tmp_path / name, optical=run) for name, run in (("one", GOOD), ("two", POOR))]
    (found,) = read_judged_runs(folders)
    assert set(found.runs) == {"one/optical", "two/optical"}


def test_collections_of_several_folders_stay_apart(tmp_path):
    folders = [evaluated(tmp_path / language, language) for language in ("sw", "so")]
    assert [one.collection for one in read_judged_runs(folders)] == ["emoji.so", "emoji.sw"]
    assert [one.collection for one in read_judged_runs(folders, collections=["emoji.sw"])] == ["emoji.sw"]
    assert [list(one.runs) for one in read_judged_runs(folders, systems=["optical"])] == [["optical"]] * 2
    asked = ["pooled_mse", "optical"]
    assert [list(one.runs) for one in read_judged_runs(folders, systems=asked)] == [asked] * 2
    with pytest.raises(ValueError, match=r"no system teacher in the folders\. There: optical, pooled_mse"):
        read_judged_runs(folders, systems=["teacher"])


def test_folders_that_judge_other_queries_are_refused_with_some_of_them(tmp_path):
    other = {f"x{n}": {"d0": 1} for n in range(5)} | {"q0": {"d0": 1}}
    texts = dict.fromkeys(other, "t")
    folders = [evaluated(tmp_path / "one"), evaluated(tmp_path / "two", queries=texts, qrels=other, b={"q0": {"d0": 1.0}})]
    with pytest.raises(ValueError, match=r"missing here q1, q2, q3 and 2 more; only here x0, x1, x2 and 2 more"):
        read_judged_runs(folders)


def test_queries_that_a_run_lacks_count_nothing_and_are_told(tmp_path):
    half = {query: GOOD[query] for query in ("q0", "q1", "q2")} | {"other": {"d0": 1.0}}
    (found,) = read_judged_runs([evaluated(tmp_path / "a", full=GOOD, half=half)])
    assert found.notes[0].endswith("run 'half' lacks 3 of 6 judged queries, which count as 0: q3, q4, q5.")
    assert found.notes[1].endswith("run 'half' has 1 queries without judgements, which do not count: other.")
    (pair,) = compare_systems([found], ["RR@10"])
    assert (pair.result.first, pair.result.second) == (1.0, 0.5)


def test_a_run_of_other_queries_altogether_is_refused(tmp_path):
    folder = evaluated(tmp_path / "a", optical=GOOD, strange={"x": {"d0": 1.0}})
    with pytest.raises(ValueError, match=r"run 'strange' has none of the judged queries.*q0, q1, q2.*the run has x"):
        read_judged_runs([folder])


def test_a_run_that_found_nothing_counts_as_nothing(tmp_path):
    (found,) = read_judged_runs([evaluated(tmp_path / "a", optical=GOOD, bm25={query: {} for query in QUERIES})])
    assert "run 'bm25' lacks 6 of 6 judged queries" in found.notes[0]
    (pair,) = compare_systems([found], ["RR@10"], baseline="bm25")
    assert (pair.result.first, pair.result.second) == (1, 0)


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_what_holds_no_runs_is_named(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=name):
        read_judged_runs([tmp_path / name])


def test_all_pairs_by_all_metrics_are_corrected_together(tmp_path):
    (found,) = read_judged_runs([evaluated(tmp_path / "a", a=GOOD, b=POOR, c=POOR)])
    pairs = compare_systems([found], ["RR@10", "AP@100"])
    assert [(p.metric, p.first, p.second) for p in pairs] == [
        (metric, *names) for metric in ("RR@10", "AP@100") for names in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    assert [p.t_test_holm for p in pairs] == holm([p.result.t_test for p in pairs])
    assert [p.randomisation_holm for p in pairs] == holm([p.result.randomisation for p in pairs])
    assert (pairs[0].result.wins, pairs[0].result.ties, pairs[0].result.losses) == (5, 1, 0)


def test_a_baseline_stands_second_in_every_pair(tmp_path):
    (found,) = read_judged_runs([evaluated(tmp_path / "a", a=GOOD, b=POOR, c=POOR)])
    assert [(p.first, p.second) for p in compare_systems([found], ["RR@10"], baseline="b")] == [("a", "b"), ("c", "b")]
    with pytest.raises(ValueError, match="no run of 'z'"):
        compare_systems([found], ["RR@10"], baseline="z")


def test_a_single_system_cannot_be_compared(tmp_path):
    with pytest.raises(ValueError, match="give two or more runs"):
        compare_systems(read_judged_runs([evaluated(tmp_path / "a", optical=GOOD)]), ["RR@10"])


def test_documents_that_nobody_judged_are_counted(tmp_path):
    (found,) = read_judged_runs([evaluated(tmp_path / "a")])
    assert unjudged(found) == {"optical": 0.5, "pooled_mse": pytest.approx((5 * 0.5 + 0) / 6)}


def test_wins_and_losses_come_with_the_texts(tmp_path):
    mixed = POOR | {"q1": {"d3": 1.0, "d7": 0.5}}
    (found,) = read_judged_runs([evaluated(tmp_path / "a", optical=GOOD | {"q5": {"d6": 1.0}}, other=mixed)])
    wins, losses = largest_differences(found, "RR@10", "optical", "other", count=2, corpus=CORPUS)
    assert wins[0].query == "q1"
    assert (wins[0].text, wins[0].first, wins[0].second) == ("query 1", 1.0, 0.0)
    assert wins[0].relevant == [("d1", "document 1")]
    assert wins[0].found_second == [("d3", "document 3", None), ("d7", "document 7", 0)]
    assert [one.query for one in losses] == ["q5"]


def test_texts_are_read_under_each_name(tmp_path):
    path = tmp_path / "corpus.jsonl"
    records = [{"_id": "a", "title": "T", "text": "x"}, {"docid": "b", "text": "y"}, {"id": 3, "contents": "z"}]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert dict(TextFile(path).items()) == {"a": "T x", "b": "y", "3": "z"}
    assert len(TextFile(path)) == 3
    path.write_text('{"_id": "a"}\n')
    with pytest.raises(ValueError, match=r"corpus\.jsonl:1: a record needs an id"):
        dict(TextFile(path).items())
    with pytest.raises(FileNotFoundError, match="no such file"):
        TextFile(tmp_path / "nowhere")
