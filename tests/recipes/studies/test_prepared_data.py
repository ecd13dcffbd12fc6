"""Collections that a study puts together: the split, labelled pairs, languages that are missing."""

import json
from pathlib import Path

import pytest
from datasets import Dataset

from modeling_optical.evaluation import load_collection
from recipes.studies.prepared_data import prepare_collections, split_by_document
from recipes.studies.study import Study, load_study

QRELS = {f"q{i}": {f"d{i // 2}": 1} for i in range(40)}


def test_no_relevant_document_of_a_test_query_is_one_of_a_labelled_query():
    test, labelled, dropped = split_by_document(QRELS, 0.25)
    documents = [{d for grades in part.values() for d in grades} for part in (test, labelled)]
    assert not documents[0] & documents[1]
    assert (len(test), len(labelled), dropped) == (30, 10, 0)
    assert split_by_document(QRELS, 0.25)[1] == labelled


def test_a_query_with_documents_in_both_parts_is_in_neither():
    everything = {"both": {f"d{i}": 1 for i in range(20)}}
    test, labelled, dropped = split_by_document(QRELS | everything, 0.25)
    assert "both" not in test
    assert "both" not in labelled
    assert dropped == 1


def write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """BEIR as its data sets are cloned from the Hub, English, and the Dutch queries beside it."""
    folder = tmp_path / "scifact"
    write(folder / "corpus.jsonl", [{"_id": f"d{i}", "title": f"title {i}", "text": f"text {i}"} for i in range(20)])
    write(folder / "queries.jsonl", [{"_id": f"q{i}", "text": f"question {i}"} for i in range(40)])
    dutch = tmp_path / "beir-nl-scifact"
    write(dutch / "corpus.jsonl", [{"_id": "d0", "title": "titel", "text": "tekst"}])
    write(dutch / "queries.jsonl", [{"_id": f"q{i}", "text": f"vraag {i}"} for i in range(40)])
    for place in (folder, dutch):
        for split, numbers in (("train", range(30)), ("test", range(30, 40))):
            lines = [f"q{i}\td{i // 2}\t1" for i in numbers]
            (place / "qrels").mkdir(exist_ok=True)
            (place / "qrels" / f"{split}.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")
    return tmp_path


def study(beir: Path, *overrides: str) -> Study:
    collection = {
        "documents": {"path": "{paths.beir}/scifact"},
        "queries": {"path": "{paths.beir}/beir-{language}-scifact"},
        "labelled_split": "train",
        "languages": ["nl"],
    }
    values = [
        "languages={nl: {}}",
        "sweeps=[{language: [nl], bitext: [0], pairs: [4]}]",
        f"paths={{beir: {beir}, teacher: t, bitext: b, collections: c}}",
        f"collections={{scifact: {json.dumps(collection)}}}",
    ]
    return load_study("recipes/studies/low_resource/study.yaml", "smoke", [*values, *overrides], str(beir / "out"))


def test_english_documents_meet_translated_queries_and_training_judgements_give_pairs(beir):
    said: list[str] = []
    prepare_collections(study(beir), said.append)
    dutch = load_collection(beir / "out/data/scifact", "nl")
    assert dutch.queries["q31"] == "vraag 31"
    assert set(dutch.qrels) == {f"q{i}" for i in range(30, 40)}
    assert dutch.corpus["d3"] == "title 3 text 3"
    assert load_collection(beir / "out/data/scifact", "en").queries["q31"] == "question 31"
    pairs = [json.loads(line) for line in (beir / "out/data/pairs/scifact.nl.seed_0.jsonl").read_text().splitlines()]
    assert len(pairs) == 30
    for pair in pairs:
        asked = int(pair["query"].removeprefix("vraag "))
        assert asked < 30
        assert pair["positive"] == f"title {asked // 2} text {asked // 2}"
    other = (beir / "out/data/pairs/scifact.nl.seed_1.jsonl").read_text()
    assert sorted(other.splitlines()) == sorted(json.dumps(pair) for pair in pairs)
    assert other.splitlines() != [json.dumps(pair) for pair in pairs]
    assert said == ["Collection scifact: documents 20, labelled queries 30, test queries in en 10, test queries in nl 10"]
    prepare_collections(study(beir), said.append)
    assert said[1] == said[0]


def test_queries_of_nanobeir_meet_its_english_documents(tmp_path):
    place = tmp_path / "MultilingualNanoSciFactRetrieval"
    for language in ("en", "de"):
        parts = {
            "corpus": [{"_id": f"d{i}", "title": "", "text": f"{language} text {i}"} for i in range(4)],
            "queries": [{"_id": f"q{i}", "text": f"{language} query {i}"} for i in range(4)],
            "qrels": [{"query-id": f"q{i}", "corpus-id": f"d{i}", "score": 1} for i in range(4)],
        }
        for part, rows in parts.items():
            file = place / f"{language}-{part}" / "test-00000-of-00001.parquet"
            file.parent.mkdir(parents=True)
            Dataset.from_list(rows).to_parquet(file)
    nano = {"documents": {"path": str(place)}, "languages": ["de"]}
    overrides = [
        "languages={de: {}}",
        "sweeps=[{language: [de], bitext: [20], pairs: [0]}]",
        f"collections={{nano: {json.dumps(nano)}}}",
    ]
    prepare_collections(
        load_study("recipes/studies/low_resource/study.yaml", "smoke", overrides, str(tmp_path / "out")), lambda text: None
    )
    german = load_collection(tmp_path / "out/data/nano", "de")
    assert german.queries["q1"] == "de query 1"
    assert german.corpus["d1"] == "en text 1"
    assert not (tmp_path / "out/data/pairs").exists()


def test_a_language_without_queries_is_told_with_those_that_there_are(beir):
    (beir / "scifact/queries.jsonl").rename(beir / "scifact/queries.en.jsonl")
    wrong = ["collections.scifact.queries={path: '{paths.beir}/scifact'}"]
    with pytest.raises(FileNotFoundError, match=r"no queries in 'nl'. Languages here: en"):
        prepare_collections(study(beir, *wrong), lambda text: None)


def test_a_folder_that_was_prepared_otherwise_is_not_mixed_up(beir):
    prepare_collections(study(beir), lambda text: None)
    other = ["collections.scifact.labelled_split=null", "collections.scifact.labelled_share=0.5"]
    with pytest.raises(ValueError, match=r"was prepared from other data or languages. Choose another folder with --output"):
        prepare_collections(study(beir, *other), lambda text: None)


def test_queries_of_another_language_than_english_keep_their_documents_and_labelled_pairs(tmp_path):
    folder = tmp_path / "tydi" / "sw"
    write(folder / "corpus.jsonl", [{"_id": f"d{i}", "text": f"kifungu {i}"} for i in range(30)])
    write(folder / "queries.sw.jsonl", [{"_id": f"q{i}", "text": f"swali {i}"} for i in range(10)])
    write(folder / "queries.sw.train.jsonl", [{"_id": f"t{i}", "text": f"swali la mafunzo {i}"} for i in range(20)])
    (folder / "qrels.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(10)))
    (folder / "qrels.train.tsv").write_text("".join(f"t{i}\td{10 + i}\t1\n" for i in range(20)))
    source = {"path": str(tmp_path / "tydi"), "max_queries": 5, "max_documents": 6}
    tydi = {"documents": source, "language": "sw", "labelled_split": "train", "languages": ["sw"]}
    overrides = [
        "languages={sw: {}}",
        "sweeps=[{language: [sw], bitext: [0], pairs: [4]}]",
        f"collections={{tydi: {json.dumps(tydi)}}}",
    ]
    out = tmp_path / "out"
    prepare_collections(load_study("recipes/studies/low_resource/study.yaml", "smoke", overrides, str(out)), lambda text: None)
    tested = load_collection(out / "data/tydi", "sw")
    assert len(tested.queries) == 5
    pairs = [json.loads(line) for line in (out / "data/pairs/tydi.sw.seed_0.jsonl").read_text().splitlines()]
    assert len(pairs) == 5
    for pair in pairs:
        number = int(pair["query"].removeprefix("swali la mafunzo "))
        assert pair["positive"] == f"kifungu {10 + number}"
        assert pair["positive"] in tested.corpus.values(), "what is learnt from is searched, too"


def sentences(tmp_path: Path, **options: object) -> Path:
    for code in ("sw", "de"):
        write(tmp_path / f"{code}.jsonl", [{"en": f"English text {i}", code: f"{code} maneno {i}"} for i in range(12)])
    own = {"sentences": {"path": "{paths.texts}/{language}.jsonl", "source": "en", "target": "{language}"}} | options
    overrides = [
        "languages={sw: {}, de: {}}",
        "sweeps=[{language: [sw, de], bitext: [20], pairs: [0]}]",
        f"collections={{news: {json.dumps(own)}}}",
        f"paths.texts={tmp_path}",
    ]
    out = tmp_path / "out"
    study = load_study("recipes/studies/low_resource/study.yaml", "smoke", overrides, str(out))
    prepare_collections(study, lambda text: None)
    return out / "data/news"


def test_sentences_of_bitext_search_for_those_that_they_translate(tmp_path):
    folder = sentences(tmp_path, max_queries=4, max_documents=9)
    for code in ("sw", "de"):
        found = load_collection(folder, code)
        assert (found.name, len(found.queries), len(found.corpus)) == ("news", 4, 9)
        for query, text in found.queries.items():
            [document] = found.qrels[query]
            assert found.corpus[document] == text.replace(f"{code} maneno", "English text")


def test_more_sentences_than_there_are_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"sw\.jsonl: 13 sentences are asked for, it has 12 different ones"):
        sentences(tmp_path, max_queries=4, max_documents=13)
