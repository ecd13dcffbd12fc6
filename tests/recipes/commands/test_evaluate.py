"""`optical evaluate` with references, several languages and published layouts."""

import json
import sys
from pathlib import Path

import pytest

from modeling_optical.evaluation import read_results, read_run
from recipes.cli import main

DOCUMENTS = ["the cat sat on the mat", "the dog barked", "search works in English", "a good teacher", "Somali"]
QUERIES = {
    "sw": ["paka alikaa kwenye mkeka", "mbwa akabweka", "utafutaji hufanya kazi", "mwalimu mzuri"],
    "en": ["cat on the mat", "dog barked", "search in English", "good teacher"],
}


@pytest.fixture
def collection(tmp_path: Path) -> str:
    root = tmp_path / "tiny"
    root.mkdir()
    documents = [{"_id": f"d{n}", "text": text} for n, text in enumerate(DOCUMENTS)]
    (root / "corpus.jsonl").write_text("".join(json.dumps(one) + "\n" for one in documents))
    for language, texts in QUERIES.items():
        queries = [{"_id": f"q{n}", "text": text} for n, text in enumerate(texts)]
        (root / f"queries.{language}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in queries))
    (root / "qrels.tsv").write_text("q\td\tg\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(4)))
    return str(root)


def values(output: Path, metric: str = "RR@10") -> dict[tuple[str, str], float]:
    return {(r.system, r.language): r.value for r in read_results(output / "results.json") if r.metric == metric}


def test_references_are_measured_by_the_same_command(collection, bert, marian, tmp_path, capsys):
    pytest.importorskip("bm25s", reason="bm25s is not installed")
    output = tmp_path / "out"
    arguments = ["--queries-model", bert, "--documents-model", bert, "--system", "student", "--collection", collection]
    references = ["--reference", "bm25", "dense", "translation", "--translator", marian]
    assert main(["evaluate", *arguments, *references, "--language", "sw", "--output", str(output)]) == 0
    assert set(values(output)) == {(name, "sw") for name in ("student", "bm25", "dense", "translation")}
    assert values(output)["bm25", "sw"] == 0  # no word in common
    out = capsys.readouterr().out
    assert "unjudged@10" not in out  # each query has one right answer
    assert 0 < values(output, "unjudged@10")["student", "sw"] < 1
    for name in ("student", "bm25", "dense", "translation"):
        read_run(output / "runs" / f"{name}.tiny.sw.trec")
    assert main(["compare", str(output), "--baseline", "bm25"]) == 0


def test_bm25_needs_no_model(collection, tmp_path):
    pytest.importorskip("bm25s", reason="bm25s is not installed")
    output = tmp_path / "out"
    assert main(["evaluate", "--reference", "bm25", "--collection", collection, "--output", str(output)]) == 0
    assert values(output) == {("bm25", "en"): 1.0}


def test_references_without_a_model_say_that_they_were_not_run(collection, tmp_path, capsys):
    arguments = ["--reference", "translation", "dense", "--collection", collection, "--output", str(tmp_path / "out")]
    assert main(["evaluate", *arguments]) == 0
    out = capsys.readouterr().out
    assert "not run: no model (--translator)" in out
    assert "not run: no model (--queries-model)" in out
    assert read_results(tmp_path / "out" / "results.json") == []


def test_several_languages_are_summed_up(collection, bert, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["--queries-model", bert, "--collection", collection, "--language", "sw", "en", "--metrics", "RR@10"]
    assert main(["evaluate", *arguments, "--output", str(output)]) == 0
    by_language = values(output)
    summary = next(s for s in json.loads((output / "languages.json").read_text()) if s["metric"] == "RR@10")
    assert summary["macro"] == pytest.approx(sum(by_language.values()) / 2, abs=1e-6)
    assert set(summary["values"]) == {"sw", "en"}
    assert "gap to English" in capsys.readouterr().out


def test_a_published_layout_is_recognised_or_named(tmp_path, capsys):
    pytest.importorskip("bm25s", reason="bm25s is not installed")
    root = tmp_path / "laser"
    root.mkdir()
    (root / "tatoeba.swh-eng.swh").write_text("paka\nmbwa\n")
    (root / "tatoeba.swh-eng.eng").write_text("cat\ndog\n")
    arguments = ["--reference", "bm25", "--collection", str(root), "--language", "sw", "--output", str(tmp_path / "out")]
    assert main(["evaluate", *arguments]) == 0
    assert main(["evaluate", *arguments, "--format", "tatoeba"]) == 0
    assert main(["evaluate", *arguments, "--format", "miracl"]) == 2
    assert "no queries in 'sw'. Languages here: none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "nothing to measure"), (["--reference", "bm25", "--format", "x"], "unknown format 'x'")],
)
def test_a_mistake_is_one_message(collection, tmp_path, capsys, arguments, message):
    assert main(["evaluate", *arguments, "--collection", collection, "--output", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_library_is_told_before_anything_is_encoded(collection, bert, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    arguments = ["--queries-model", bert, "--reference", "bm25", "--collection", collection, "--output", str(tmp_path / "out")]
    assert main(["evaluate", *arguments]) == 2
    captured = capsys.readouterr()
    assert 'pip install "modeling-optical[bm25]"' in captured.err
    assert "Encoding" not in captured.err


def test_a_rival_is_measured_beside_the_student_and_the_verdict_names_it(collection, bert, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = [
        "evaluate",
        "--queries-model",
        bert,
        "--system",
        "student",
        "--collection",
        collection,
        "--output",
        str(output),
    ]
    rivals = [f"averaged={{model: {bert}, pooling: mean}}", f"tokens={{model: {bert}, scoring: maxsim}}"]
    assert main([*arguments, "--rival", *rivals]) == 0
    found = values(output)
    assert set(found) == {(name, "en") for name in ("student", "averaged", "tokens")}
    assert found["tokens", "en"] == found["student", "en"]
    assert "too few for a verdict" in capsys.readouterr().out


@pytest.mark.parametrize(
    "others",
    [["--rival", "NAME"], ["--system", "bm25", "--reference", "bm25"], ["--system", "x", "--rival", "x=NAME"]],
    ids=["a rival of the same folder", "a reference", "a rival's name"],
)
def test_two_systems_of_one_name_are_refused_before_anything_is_encoded(collection, bert, tmp_path, capsys, others):
    others = [word.replace("NAME", bert) for word in others]
    arguments = ["--queries-model", bert, "--collection", collection, "--output", str(tmp_path / "out"), *others]
    assert main(["evaluate", *arguments]) == 2
    assert "two systems would be called" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_metric_of_a_greater_depth_has_as_many_documents(collection, bert, tmp_path):
    pytest.importorskip("bm25s", reason="bm25s is not installed")
    more = [{"_id": f"e{n:03}", "text": f"word number {n}"} for n in range(300)]
    with open(Path(collection) / "corpus.jsonl", "a") as corpus:
        corpus.write("".join(json.dumps(one) + "\n" for one in more))
    output = tmp_path / "out"
    arguments = ["--collection", collection, "--language", "sw", "--output", str(output), "--metrics", "R@100", "R@400"]
    systems = [
        "--queries-model",
        bert,
        "--system",
        "student",
        "--reference",
        "dense",
        "--rival",
        f"other={{model: {bert}, scoring: maxsim}}",
    ]
    assert main(["evaluate", *arguments, *systems]) == 0
    assert set(values(output, "R@400").values()) == {1.0}, "all documents are found"
    assert min(values(output, "R@100").values()) < 1.0


def test_a_metric_that_nobody_knows_is_told_before_anything_is_encoded(collection, tmp_path, capsys):
    arguments = ["--queries-model", "no/model", "--collection", collection, "--output", str(tmp_path / "out")]
    assert main(["evaluate", *arguments, "--metrics", "nDCG10"]) == 2
    assert "unknown metric in ['nDCG10'" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "message"), [
    (["e5="], "names no model"),
    (["a=model", "a=other"], "there is a rival 'a' already"),
    (["e5={model: m, prompt: 'query: '}"], "unknown key `--rival e5.prompt`"),
    (["e5={model: m"], "is not YAML"),
    (["floor=m"], "stands for another system"),
])  # fmt: skip
def test_a_rival_that_cannot_be_read_is_told(collection, tmp_path, capsys, given, message):
    assert main(["evaluate", "--collection", collection, "--output", str(tmp_path / "o"), "--rival", *given]) != 0
    assert message in capsys.readouterr().err
