"""MTEB's Parquet layout, on small files of it: folders per language, splits, shards, and what a mistake gets."""

from pathlib import Path

import pytest
from datasets import Dataset

from modeling_optical.evaluation import load_collection
from modeling_optical.evaluation.collections.collection import texts_of


def write(folder: Path, name: str, rows: list[dict]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two languages; the Swahili corpus has two shards."""
    place = tmp_path / "MIRACLRetrievalHardNegatives"
    for language in ("sw", "yo"):
        for number in range(2):
            rows = [
                {"_id": f"{language}{number}#{i}", "title": "Jiji", "text": f"maandishi {language} {number} {i}"}
                for i in range(3)
            ]
            write(place, f"{language}-corpus/dev-{number:05d}-of-00002.parquet", rows)
        write(
            place,
            f"{language}-queries/dev-00000-of-00001.parquet",
            [{"_id": "1", "text": "swali moja"}, {"_id": "2", "text": "swali mbili"}],
        )
        write(
            place,
            f"{language}-qrels/dev-00000-of-00001.parquet",
            [
                {"query-id": "1", "corpus-id": f"{language}0#1", "score": 1},
                {"query-id": "1", "corpus-id": f"{language}1#0", "score": 0},
                {"query-id": "2", "corpus-id": f"{language}1#2", "score": 1},
            ],
        )
    return place


def test_a_language_is_read_with_all_its_shards(folder):
    collection = load_collection(folder, "sw")
    assert (collection.name, collection.language) == ("MIRACLRetrievalHardNegatives", "sw")
    assert list(collection.corpus) == ["sw0#0", "sw0#1", "sw0#2", "sw1#0", "sw1#1", "sw1#2"]
    assert texts_of(collection.corpus, ["sw1#2"]) == {"sw1#2": "Jiji maandishi sw 1 2"}
    assert collection.queries == {"1": "swali moja", "2": "swali mbili"}
    assert collection.qrels["1"] == {"sw0#1": 1, "sw1#0": 0}
    assert not collection.parallel


def test_a_language_that_is_not_there_is_told_with_those_that_are(folder):
    with pytest.raises(FileNotFoundError, match=r"no queries in 'xx'. Languages here: sw, yo"):
        load_collection(folder, "xx")


def test_a_missing_shard_is_named(folder):
    (folder / "sw-corpus/dev-00001-of-00002.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"sw-corpus/dev-00001-of-00002.parquet is missing"):
        load_collection(folder, "sw")


def test_a_split_that_is_not_there_is_told(folder):
    with pytest.raises(
        FileNotFoundError, match=r"sw-qrels/train-00000-of-00001.parquet is missing. Splits of sw-qrels here: dev"
    ):
        load_collection(folder, "sw", split="train")


def test_a_damaged_file_is_named(folder):
    (folder / "sw-qrels/dev-00000-of-00001.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ValueError, match=r"sw-qrels/dev-00000-of-00001.parquet: not a Parquet file"):
        load_collection(folder, "sw")
