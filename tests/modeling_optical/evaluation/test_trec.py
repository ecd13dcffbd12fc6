"""TREC run files."""

from pathlib import Path

import pytest

from modeling_optical.evaluation import per_query, read_qrels, read_run, write_qrels, write_run

RUN = {"q1": {"d2": 3.5, "d1": 12.25, "d3": -1.0}, "q2": {"d1": 0.5}}


def test_a_run_file_has_trecs_six_columns_best_first(tmp_path: Path):
    assert write_run(tmp_path / "a.trec", RUN, "optical").read_text() == (
        "q1 Q0 d1 1 12.25 optical\nq1 Q0 d2 2 3.5 optical\nq1 Q0 d3 3 -1 optical\nq2 Q0 d1 1 0.5 optical\n"
    )


def test_a_run_reads_back_as_it_was_written(tmp_path: Path):
    assert read_run(write_run(tmp_path / "runs" / "a.trec", RUN, "optical")) == RUN


@pytest.mark.parametrize(("tag", "written"), [("my system", "my-system"), ("", "run"), (" \n", "run"), ("a\tb\nc", "a-b-c")])
def test_a_tag_never_breaks_the_columns(tmp_path: Path, tag: str, written: str):
    path = write_run(tmp_path / "a.trec", RUN, tag)
    assert [line.split()[5:] for line in path.read_text().splitlines()] == [[written]] * 4
    assert read_run(path) == RUN


@pytest.mark.parametrize("relevant", ["a", "b"])
@pytest.mark.parametrize("better", ["a", "b"])
def test_a_run_that_was_written_and_read_has_the_metrics_it_had_before(tmp_path: Path, relevant: str, better: str):
    # Scores of single precision that differ: 0.12345672 and 0.12345671.
    run = {"q": {document: 0.12345672 if document == better else 0.12345671 for document in ("a", "b")}}
    qrels = {"q": {relevant: 1}}
    back = read_run(write_run(tmp_path / "a.trec", run, "t"))
    assert per_query(qrels, back, ["RR@10"]) == per_query(qrels, run, ["RR@10"])


def test_blank_lines_and_any_white_space_between_columns_are_read(tmp_path: Path):
    path = tmp_path / "a.trec"
    path.write_text("\nq1\tQ0\td1\t1\t2.5\ttag\n   \nq1  Q0  d2  2  1e-3  tag\n")
    assert read_run(path) == {"q1": {"d1": 2.5, "d2": 0.001}}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 Q0 d9", r"expected `query Q0 document rank score tag`"),
        ("q1 Q0 d9 1 high tag", r"expected `query Q0 document rank score tag`"),
        ("q1 Q0 d9 1 nan tag", r"the score nan is not finite"),
        ("q1 Q0 d9 1 inf tag", r"the score inf is not finite"),
        ("q1 Q0 d1 2 1.0 tag", r"document 'd1' appears twice for query 'q1'"),
    ],
)
def test_a_line_that_is_not_of_a_run_is_refused_with_file_and_line(tmp_path: Path, line: str, message: str):
    path = tmp_path / "a.trec"
    path.write_text(f"q1 Q0 d1 1 2.0 tag\n\n{line}\n")
    with pytest.raises(ValueError, match=message) as error:
        read_run(path)
    assert f"{path}:3:" in str(error.value)


def test_a_missing_run_file_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.trec"):
        read_run(tmp_path / "nowhere.trec")


def test_judgements_read_back_as_they_were_written(tmp_path):
    qrels = {"q1": {"d1": 1, "d2": 0}, "q2": {"d1": 3}}
    assert read_qrels(write_qrels(tmp_path / "x.qrels", qrels)) == qrels


def test_a_line_that_is_no_judgement_is_named(tmp_path):
    (tmp_path / "x.qrels").write_text("q1 0 d1 1\nq1 0 d2 high\n")
    with pytest.raises(ValueError, match=r"x\.qrels:2: the grade 'high' is not a whole number"):
        read_qrels(tmp_path / "x.qrels")
