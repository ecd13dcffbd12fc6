"""Encoding a corpus: the same vectors as the model's, the same bytes after a kill, and what a bad corpus gets."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.encoding.corpus import CorpusStream
from modeling_optical.encoding.encoded_corpus import EncodedCorpus, encode_corpus

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["the", "cat", "sat", "on", "mat", "and", "dog", "barked", "search", "works", "in", "English", "it", "fails"]


def texts(count: int) -> dict[str, str]:
    generator = np.random.default_rng(0)
    return {f"d{i}": " ".join(generator.choice(WORDS, generator.integers(1, 20))) for i in range(count)}


@pytest.fixture
def model(bert) -> OpticalModel:
    torch.manual_seed(0)
    return OpticalModel.from_backbone(bert, embedding_dim=8)


@pytest.fixture
def saved(model, tmp_path) -> str:
    model.save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_every_shape_of_corpus_gives_the_same_documents(tmp_path):
    corpus = {"a": "one", "b": "two three"}
    lines = "".join(json.dumps({"_id": i, "title": "", "text": t}) + "\n" for i, t in corpus.items())
    (tmp_path / "corpus.jsonl").write_text(lines)
    rows = [{"id": i, "text": t} for i, t in corpus.items()]
    shapes = [
        corpus,
        list(corpus.items()),
        rows,
        Dataset.from_list(rows),
        Dataset.from_list(rows).to_iterable_dataset(),
        lambda: iter(corpus.items()),
        tmp_path,
        str(tmp_path / "corpus.jsonl"),
    ]
    for shape in shapes:
        assert list(CorpusStream(shape)) == list(corpus.items())
    assert list(CorpusStream([{"_id": 7, "title": "T", "text": "x"}])) == [("7", "T x")]


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        ([("a", "x"), ("b", "y"), ("a", "z")], "document 2 of the corpus: the id 'a' appears twice"),
        ([("a", "x"), ("", "y")], "document 1 of the corpus: the id '' is empty"),
        ([("a b", "y")], "white space"),
        ([{"text": "y"}], "needs an id and a text"),
        ([("a", None)], "needs an id and a text"),
        (["a"], "is a pair"),
        ([], "the corpus is empty"),
    ],
)
def test_a_bad_document_is_named(corpus, message):
    with pytest.raises(ValueError, match=message):
        list(CorpusStream(corpus))


def test_a_bad_line_and_a_missing_file_are_named(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"_id": "a", "text": "x"}\n{nonsense\n')
    with pytest.raises(ValueError, match=r"c\.jsonl:2: not JSON"):
        list(CorpusStream(tmp_path / "c.jsonl"))
    for path in (tmp_path, tmp_path / "nothing.jsonl"):
        with pytest.raises(FileNotFoundError, match="JSONL"):
            CorpusStream(path)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-3), ("int8", 0.02)])
def test_an_encoded_corpus_holds_what_the_model_says_in_the_order_of_the_corpus(model, tmp_path, dtype, tolerance):
    corpus = texts(25)
    encoded = encode_corpus(model, corpus, tmp_path / "e", dtype=dtype, shard_size=10, batch_size=4)
    assert list(encoded.ids()) == list(corpus)
    assert len(encoded) == 25
    assert len(encoded.shards) == 3
    for (_, vectors), expected in zip(encoded, model.encode_document(list(corpus.values())), strict=True):
        np.testing.assert_allclose(vectors, expected, atol=tolerance)
    assert encoded.tokens == sum(len(vectors) for vectors in encoded.vectors())
    encoded.verify()


_KILLED = """
import os, signal, sys
import modeling_optical.encoding.encoded_corpus as encoding, modeling_optical.encoding.shard_folder as folders
from modeling_optical import load_checkpoint
from tests_texts import texts
write, calls = folders.write_shard, []
def killing(*arguments, **options):
    described = write(*arguments, **options)
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return described
folders.write_shard = killing
encoding.encode_corpus(load_checkpoint(sys.argv[1]), texts(25), sys.argv[2], shard_size=5, name="m")
"""


def test_an_encoding_that_is_killed_goes_on_and_ends_with_the_same_bytes(saved, tmp_path):
    model = load_checkpoint(saved)
    encode_corpus(model, texts(25), tmp_path / "whole", shard_size=5, name="m")
    (tmp_path / "tests_texts.py").write_text(
        "from pathlib import Path\nimport sys\nsys.path.insert(0, sys.argv[3])\n"
        f"import importlib.util as u\ns = u.spec_from_file_location('t', {__file__!r})\n"
        "m = u.module_from_spec(s); s.loader.exec_module(m); texts = m.texts\n"
    )
    command = [sys.executable, "-c", _KILLED, saved, str(tmp_path / "killed"), str(ROOT)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    with pytest.raises(FileNotFoundError, match="unfinished"):
        EncodedCorpus(tmp_path / "killed")
    first = tmp_path / "killed" / "shard-000000.safetensors"
    made = first.stat().st_mtime_ns
    (tmp_path / "killed" / ".shard-000003.safetensors.tmp").write_text("half a shard")
    encode_corpus(model, texts(25), tmp_path / "killed", shard_size=5, name="m")
    assert first.stat().st_mtime_ns == made, "a finished shard was made again"
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_several_processes_share_the_shards_and_write_the_same_bytes(saved, tmp_path):
    model = load_checkpoint(saved)
    encode_corpus(model, texts(25), tmp_path / "one", shard_size=5, name="m")
    code = (
        "import sys; from modeling_optical import load_checkpoint\n"
        "from modeling_optical.encoding.encoded_corpus import encode_corpus\n"
        "from tests_texts import texts\n"
        "encode_corpus(load_checkpoint(sys.argv[1]), texts(25), sys.argv[2], shard_size=5, name='m', rank=1, num_processes=2)"
    )
    (tmp_path / "tests_texts.py").write_text(
        f"import importlib.util as u\ns = u.spec_from_file_location('t', {__file__!r})\n"
        "m = u.module_from_spec(s); s.loader.exec_module(m); texts = m.texts\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    other = subprocess.Popen([sys.executable, "-c", code, saved, str(tmp_path / "two")], env=environment)
    encode_corpus(model, texts(25), tmp_path / "two", shard_size=5, name="m", rank=0, num_processes=2)
    assert other.wait(60) == 0
    assert files(tmp_path / "one") == files(tmp_path / "two")
    # Another corpus into the same folder, with a shard of the old one damaged.
    (tmp_path / "two" / "shard-000003.safetensors").write_bytes(b"damaged")
    fewer = dict(list(texts(25).items())[3:])
    code = code.replace("texts(25)", "dict(list(texts(25).items())[3:])")
    other = subprocess.Popen([sys.executable, "-c", code, saved, str(tmp_path / "two")], env=environment)
    encode_corpus(model, fewer, tmp_path / "two", shard_size=5, name="m", rank=0, num_processes=2)
    assert other.wait(60) == 0
    encode_corpus(model, fewer, tmp_path / "again", shard_size=5, name="m")
    assert files(tmp_path / "again") == files(tmp_path / "two")


def test_a_damaged_shard_is_found_and_made_again_alone(model, tmp_path):
    encoded = encode_corpus(model, texts(15), tmp_path / "e", shard_size=5)
    before = files(tmp_path / "e")
    shard = tmp_path / "e" / "shard-000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"shard-000001\.safetensors missing or damaged"):
        encoded.verify()
    encode_corpus(model, texts(15), tmp_path / "e", shard_size=5).verify()
    assert files(tmp_path / "e") == before


def test_a_folder_of_another_encoding_is_refused_and_a_changed_corpus_is_encoded_anew(model, tmp_path):
    encode_corpus(model, texts(15), tmp_path / "e", shard_size=5)
    with pytest.raises(ValueError, match="dtype = 'float16', not 'int8'"):
        encode_corpus(model, texts(15), tmp_path / "e", dtype="int8", shard_size=5)
    other = OpticalModel(model.config)
    other.processor = model.processor
    with pytest.raises(ValueError, match="encoder"):
        encode_corpus(other, texts(15), tmp_path / "e", shard_size=5)
    changed = {key: text for key, text in texts(8).items() if key != "d2"}
    encoded = encode_corpus(model, changed, tmp_path / "e", shard_size=5)
    assert list(encoded.ids()) == list(changed)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match="not empty"):
        encode_corpus(model, texts(3), tmp_path / "mine")


def test_token_pooling_leaves_fewer_unit_vectors(model, tmp_path):
    corpus = texts(10)
    encoded = encode_corpus(model, corpus, tmp_path / "e", dtype="float32", pool_factor=3)
    for vectors, full in zip(encoded.vectors(), model.encode_document(list(corpus.values())), strict=True):
        assert len(vectors) <= -(-len(full) // 3) if len(full) > 2 else len(vectors) == len(full)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert encoded.encoder.pool_factor == 3
    with pytest.raises(ValueError, match="pool factor is 9"):
        encode_corpus(model, corpus, tmp_path / "f", pool_factor=9)


def test_empty_and_endless_documents_are_encoded_and_counted(model, tmp_path):
    corpus = {"empty": "", "blank": " \n", "book": "cat " * 100_000, "plain": "the cat"}
    encoded = encode_corpus(model, corpus, tmp_path / "e")
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    assert (manifest["empty"], manifest["cut"]) == (2, 1)
    assert [len(vectors) for vectors in encoded.vectors()] == [2, 2, 64, 4]


def test_a_model_without_a_document_length_cuts_where_its_backbone_ends(model, tmp_path):
    model.config.document_length = None
    longest = model.processor.longest("document")
    encode_corpus(model, {"a": "cat", "b": "cat " * (longest + 1)}, tmp_path / "e")
    manifest = json.loads((tmp_path / "e" / "manifest.json").read_text())
    assert manifest["cut"] == 1


def test_a_full_disk_is_told_and_what_is_written_is_kept(model, tmp_path, monkeypatch):
    free = iter([10**12, 10**12, 10])
    usage = lambda folder: type("Usage", (), {"free": next(free)})  # noqa: E731
    monkeypatch.setattr("modeling_optical.encoding.vector_shards.shutil.disk_usage", usage)
    with pytest.raises(OSError, match="no space"):
        encode_corpus(model, texts(25), tmp_path / "e", shard_size=5)
    assert len(list((tmp_path / "e").glob("shard-*.safetensors"))) == 2
    monkeypatch.undo()
    assert len(encode_corpus(model, texts(25), tmp_path / "e", shard_size=5)) == 25
