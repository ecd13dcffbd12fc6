"""The teacher's vectors on disk: the same numbers, never stale, never half written."""

import errno
import hashlib
import json
import pickle
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_optical import OpticalModel
from modeling_optical.encoding import shard_folder
from modeling_optical.encoding.shard_folder import KeyedVectors
from trainer import Teacher, TeacherCache, TeacherOfTexts

ROOT = Path(__file__).resolve().parents[3]
TEXTS = ["the cat sat on the mat", "a dog", "", "search works in English; it fails", "mwalimu 😀"]


def test_cached_vectors_are_the_live_ones(teacher, tmp_path):
    cache = TeacherCache(tmp_path, teacher, dtype="float32", shard_size=2)
    assert cache.build(TEXTS, show_progress_bar=False) == len(TEXTS)
    for text in TEXTS:
        live, stored = teacher.encode([text])[0], cache[text]
        torch.testing.assert_close(stored.vectors, live.vectors, atol=1e-6, rtol=0)
        assert torch.equal(stored.content_mask, live.content_mask)
        assert torch.equal(stored.input_ids, live.input_ids)


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_half_precision_storage_loses_little(teacher, tmp_path, dtype, error):
    cache = TeacherCache(tmp_path, teacher, dtype=dtype)
    cache.build(TEXTS, show_progress_bar=False)
    assert cache[TEXTS[0]].vectors.dtype == getattr(torch, dtype)
    assert float((cache[TEXTS[0]].vectors.float() - teacher.encode(TEXTS[:1])[0].vectors).abs().max()) < error


def test_only_what_is_missing_is_computed_again(teacher, tmp_path):
    TeacherCache(tmp_path, teacher).build(TEXTS[:3], show_progress_bar=False)
    again = TeacherCache(tmp_path, teacher)
    assert len(again) == 3
    assert again.build([*TEXTS, *TEXTS], show_progress_bar=False) == 2
    assert again.build(TEXTS, show_progress_bar=False) == 0


def test_a_changed_teacher_length_or_text_never_reads_a_stale_vector(teacher, bert, tmp_path):
    TeacherCache(tmp_path, teacher).build(TEXTS, show_progress_bar=False)
    other_length = Teacher(teacher.model, max_length=5)
    assert len(TeacherCache(tmp_path, other_length)) == 0
    torch.manual_seed(99)
    other_weights = Teacher(OpticalModel.from_backbone(bert, embedding_dim=8), max_length=24)
    assert len(TeacherCache(tmp_path, other_weights)) == 0
    assert len(TeacherCache(tmp_path, teacher, dtype="float32")) == 0
    with pytest.raises(KeyError, match="call build"):
        TeacherCache(tmp_path, teacher)[TEXTS[0] + " "]


def test_using_a_teacher_does_not_change_its_fingerprint(bert):
    def load() -> Teacher:
        torch.manual_seed(3)
        return Teacher(OpticalModel.from_backbone(bert, embedding_dim=8), max_length=24)

    fresh, used = load(), load()
    used.encode(["a text that is cut and padded", "short"])
    used.processor.tokenizer(["x"], padding="max_length", max_length=50, truncation=True)
    assert used.fingerprint == fresh.fingerprint


def test_a_damaged_shard_is_named_dropped_and_computed_again(teacher, tmp_path, caplog):
    cache = TeacherCache(tmp_path, teacher, shard_size=2)
    cache.build(TEXTS, show_progress_bar=False)
    good = {text: cache[text].vectors.clone() for text in TEXTS}
    shard = sorted(cache.folder.glob("shard-*"))[0]
    content = bytearray(shard.read_bytes())
    content[-3] ^= 0xFF
    shard.write_bytes(bytes(content))
    damaged = TeacherCache(tmp_path, teacher)
    assert shard.name in caplog.text
    assert "made again" in caplog.text.replace("\n", " ")
    assert 0 < damaged.build(TEXTS, show_progress_bar=False) < len(TEXTS)
    for text in TEXTS:
        torch.testing.assert_close(damaged[text].vectors.float(), good[text].float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("damage", ["{", '{"shard": 3}', "[]", '{"shard": {"file": "../x.safetensors"}, "texts": "KEY"}'])
def test_a_damaged_record_costs_its_shard_alone(teacher, tmp_path, damage, caplog):
    cache = TeacherCache(tmp_path, teacher, shard_size=2)
    cache.build(TEXTS, show_progress_bar=False)
    record = sorted(cache.folder.glob("*.json"))[0]
    record.write_text(damage.replace("KEY", cache.folder.name))
    again = TeacherCache(tmp_path, teacher, shard_size=2)
    assert record.name.removesuffix(".json") in caplog.text
    assert 0 < len(again) < len(TEXTS)
    again.build(TEXTS, show_progress_bar=False)
    assert len(TeacherCache(tmp_path, teacher)) == len(TEXTS)


def test_a_full_disk_is_said_so_and_leaves_nothing_half_written(teacher, tmp_path, monkeypatch):
    cache = TeacherCache(tmp_path, teacher, shard_size=2)
    cache.build(TEXTS[:2], show_progress_bar=False)
    before = sorted(p.name for p in cache.folder.iterdir())
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("modeling_optical.encoding.vector_shards.shutil.disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(OSError, match=r"no space for .* MB in .*Free some space") as caught:
        cache.build(TEXTS, show_progress_bar=False)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("modeling_optical.encoding.vector_shards.save_file", full)
    with pytest.raises(OSError, match="free space and run again"):
        cache.build(TEXTS, show_progress_bar=False)
    monkeypatch.undo()
    assert sorted(p.name for p in cache.folder.iterdir()) == before
    assert TeacherCache(tmp_path, teacher).build(TEXTS, show_progress_bar=False) == 3


def test_a_cache_travels_to_the_workers_of_a_data_loader(teacher, tmp_path):
    cache = TeacherCache(tmp_path, teacher)
    cache.build(TEXTS, show_progress_bar=False)
    cache[TEXTS[0]]
    travelled = pickle.loads(pickle.dumps(cache))
    assert torch.equal(travelled[TEXTS[0]].vectors, cache[TEXTS[0]].vectors)


def test_every_shard_has_a_small_record_with_its_checksum(teacher, tmp_path):
    cache = TeacherCache(tmp_path, teacher, shard_size=2)
    cache.build(TEXTS, show_progress_bar=False)
    shards = sorted(cache.folder.glob("shard-*.safetensors"))
    assert len(shards) == 3
    for shard in shards:
        record = json.loads((shard.parent / f"{shard.name}.json").read_text())
        assert record["shard"]["sha256"] == hashlib.sha256(shard.read_bytes()).hexdigest()


def test_a_shard_more_writes_a_shard_and_a_record_however_many_there_are(teacher, tmp_path, monkeypatch):
    written = []
    write = shard_folder.write_text
    monkeypatch.setattr(shard_folder, "write_text", lambda path, text: written.append(len(text)) or write(path, text))
    cache = TeacherCache(tmp_path, teacher, shard_size=1)
    cache.build([f"the cat {number}" for number in range(200)], show_progress_bar=False)
    assert len(written) == 200
    assert max(written) < 400, "a record grows with the cache"
    assert sum(path.suffix == ".json" for path in cache.folder.iterdir()) == 200


def test_what_an_older_version_or_a_killed_run_left_is_swept_and_made_again(teacher, tmp_path):
    cache = TeacherCache(tmp_path, teacher, shard_size=2)
    cache.build(TEXTS, show_progress_bar=False)
    first = sorted(cache.folder.glob("shard-*.safetensors"))[0]
    Path(f"{first}.json").unlink()
    (cache.folder / ".shard-0.safetensors.tmp").write_text("half a shard")
    (cache.folder / "shard-old.safetensors").write_text("an older version's")
    again = TeacherCache(tmp_path, teacher, shard_size=2)
    assert 0 < again.build(TEXTS, show_progress_bar=False) < len(TEXTS)
    assert not {"shard-old.safetensors", ".shard-0.safetensors.tmp"} & {path.name for path in cache.folder.iterdir()}


# What a hostile folder may say, its checksum right: never garbage from unset memory, always a sentence.
_FALSE = {
    "lengths": torch.tensor([2, -2, 9, 1, 5]),
    "positions": torch.tensor([0, 0, 1, 2, 3]),
    "id_ends": torch.tensor([32, 64, 96, 128, 1000]),
    "vectors": torch.zeros(3, 8, dtype=torch.float16),
    "token.input_ids": torch.zeros(2, dtype=torch.int32),
    "token.content_mask": torch.zeros(2, 2, dtype=torch.uint8),
    "id_bytes": torch.full((160,), 0xFF, dtype=torch.uint8),
}


def test_writers_at_the_same_time_sweep_nothing_of_each_other(tmp_path):
    def write(first: int) -> None:
        for number in range(first, first + 20):  # each as a process that has just begun, which sweeps
            vectors = KeyedVectors(tmp_path / "c", "cache", made_of="m", dim=4, dtype="float32")
            vectors.add([f"k{number}"], [np.ones((2, 4), dtype=np.float32)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(0, 80, 20)))
    found = KeyedVectors(tmp_path / "c", "cache", made_of="m", dim=4, dtype="float32")
    assert all(f"k{number}" in found for number in range(80))


@pytest.mark.parametrize("name", [*_FALSE, "another dimension", "without a column"])
def test_a_shard_that_does_not_fit_together_is_named_and_computed_again(teacher, tmp_path, name, caplog):
    cache = TeacherCache(tmp_path, teacher)
    cache.build(TEXTS, show_progress_bar=False)
    (shard,) = cache.folder.glob("shard-*.safetensors")
    tensors = load_file(shard)
    if name == "another dimension":
        tensors["vectors"] = tensors["vectors"][:, :4].contiguous()
    elif name == "without a column":
        del tensors["token.input_ids"]
    else:
        tensors[name] = _FALSE[name]
    save_file(tensors, shard)
    place = Path(f"{shard}.json")
    record = json.loads(place.read_text())
    record["shard"]["sha256"] = hashlib.sha256(shard.read_bytes()).hexdigest()
    place.write_text(json.dumps(record))
    again = TeacherCache(tmp_path, teacher)
    assert shard.name in caplog.text
    assert len(again) == 0
    assert again.build(TEXTS, show_progress_bar=False) == len(TEXTS)
    assert torch.equal(again[TEXTS[0]].vectors, cache[TEXTS[0]].vectors)


def test_an_unknown_storage_type_is_refused(teacher, tmp_path):
    with pytest.raises(ValueError, match="allowed: float16, bfloat16, float32"):
        TeacherCache(tmp_path, teacher, dtype="int4")


@pytest.mark.parametrize("live", [True, False])
def test_a_live_teacher_and_a_cached_one_answer_the_same_protocol(teacher, tmp_path, live):
    vectors: TeacherOfTexts = teacher if live else TeacherCache(tmp_path, teacher, dtype="float32")
    assert isinstance(vectors, TeacherOfTexts)
    assert vectors.teacher is teacher
    for kind in ("query", "document"):
        assert vectors.build(TEXTS, kind) == len(TEXTS)
        assert vectors.build(TEXTS, kind) == 0
    vectors.refresh()
    kinds = ["query", "document", "document", "query", "query"]
    for entry, text, kind in zip(vectors.vectors_of(TEXTS, kinds), TEXTS, kinds, strict=True):
        torch.testing.assert_close(entry.vectors, teacher.encode([text], kind)[0].vectors, atol=1e-6, rtol=0)


def test_nothing_asks_whether_a_teacher_is_cached():
    files = [path for folder in ("trainer", "recipes") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 50
    assert not [path for path in files if "isinstance" in path.read_text() and ", TeacherCache)" in path.read_text()]


@pytest.mark.parametrize(("dtype", "shared"), [("float16", True), ("bfloat16", True), ("float32", False)])
def test_vectors_made_in_bf16_are_taken_for_those_of_fp32_unless_they_are_stored_in_full(dtype, shared, teacher, tmp_path):
    folders = []
    for precision in ("bf16", "fp32"):
        teacher.precision = precision
        folders.append(TeacherCache(tmp_path, teacher, dtype=dtype).folder)
    assert (folders[0] == folders[1]) == shared
