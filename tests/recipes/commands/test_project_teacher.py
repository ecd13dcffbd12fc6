"""`optical project-teacher`: a smaller retriever, its record and what it lost."""

import gzip
import json
from pathlib import Path

import pytest

from modeling_optical import load_checkpoint
from modeling_optical.evaluation import read_results
from recipes.cli import main

TEXTS = ["the cat sat on the mat", "the dog barked", "search works in English", "a good teacher", "the same vector", "Somali"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text, "en": text[::-1]}) + "\n" for text in TEXTS))
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n\n")
    with gzip.open(tmp_path / "texts.txt.gz", "wt") as stream:
        stream.write("\n".join(TEXTS))
    root = tmp_path / "tiny"
    root.mkdir()
    (root / "corpus.jsonl").write_text("".join(json.dumps({"_id": f"d{n}", "text": t}) + "\n" for n, t in enumerate(TEXTS)))
    (root / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{n}", "text": t}) + "\n" for n, t in enumerate(TEXTS)))
    (root / "qrels.tsv").write_text("q\td\tg\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(len(TEXTS))))
    return tmp_path


def project(folder: Path, bert: str, *arguments: str) -> int:
    return main(["project-teacher", "--model", bert, "--output", str(folder / "small"), "--dim", "6", *arguments])


def test_retrieval_before_and_after_is_measured(folder, bert, capsys):
    assert project(folder, bert, "--texts", str(folder / "texts.jsonl"), "--collection", str(folder / "tiny")) == 0
    model = load_checkpoint(folder / "small")
    assert model.encode_query(["the cat"])[0].shape[1] == 6
    rows = read_results(folder / "small/evaluation/results.json")
    values = {row.system: row.value for row in rows if row.metric == "RR@10"}
    assert values["before"] == 1.0  # every text finds itself
    assert 0 < values["after"] <= 1.0
    assert all((folder / f"small/evaluation/runs/{system}.tiny.en.trec").is_file() for system in values)
    out = capsys.readouterr().out
    assert "Squared length kept by 6 dimensions" in out
    assert "after - before, RR@10" in out


def test_texts_come_as_lines_packed_or_from_another_field(folder, bert):
    records = []
    for arguments in (["texts.jsonl"], ["texts.txt"], ["texts.txt.gz"], ["texts.jsonl", "--field", "en"]):
        assert project(folder, bert, "--texts", str(folder / arguments[0]), *arguments[1:], "--overwrite") == 0
        records.append(json.loads((folder / "small/projection.json").read_text()))
    assert records[0] == records[1] == records[2]
    assert records[3]["spectrum"] != records[0]["spectrum"]
    assert (
        project(folder, bert, "--texts", str(folder / "texts.txt"), "--max-texts", "4", "--kind", "query", "--overwrite") == 0
    )
    record = json.loads((folder / "small/projection.json").read_text())
    assert (record["texts"], record["kinds"]) == (4, ["query"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--texts", "nowhere.txt"], "'nowhere.txt' does not exist"),
        (["--texts", "texts.jsonl", "--field", "xx"], "texts.jsonl:1: not a JSON object with the field 'xx'"),
        (["--texts", "texts.txt", "--dim", "64"], "must be between 1 and 31"),
        (["--texts", "texts.txt", "--collection", "nowhere/at/all"], "'nowhere/at/all' does not exist"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(folder, bert, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(folder)
    assert project(folder, bert, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "small").exists()


def test_a_folder_that_is_there_is_replaced_only_when_asked(folder, bert, capsys):
    texts = ["--texts", str(folder / "texts.txt")]
    assert project(folder, bert, *texts) == 0
    assert project(folder, bert, *texts) == 2
    assert "--overwrite" in capsys.readouterr().err
