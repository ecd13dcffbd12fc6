"""The teacher's vectors on disk: the same numbers, never stale, never half written."""

import errno
import json
import pickle
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from modeling_optical import OpticalModel
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
    assert "computed again" in caplog.text
    assert 0 < damaged.build(TEXTS, show_progress_bar=False) < len(TEXTS)
    for text in TEXTS:
        torch.testing.assert_close(damaged[text].vectors.float(), good[text].float(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("damage", ["{", '{"shards": 3}', "[]"])
def test_a_damaged_manifest_means_starting_over_not_a_crash(teacher, tmp_path, damage):
    cache = TeacherCache(tmp_path, teacher)
    cache.build(TEXTS, show_progress_bar=False)
    (cache.folder / "manifest.json").write_text(damage)
    again = TeacherCache(tmp_path, teacher)
    assert len(again) == 0
    assert again.build(TEXTS, show_progress_bar=False) == len(TEXTS)


def test_a_full_disk_is_said_so_and_leaves_nothing_half_written(teacher, tmp_path, monkeypatch):
    cache = TeacherCache(tmp_path, teacher, shard_size=2)
    cache.build(TEXTS[:2], show_progress_bar=False)
    before = sorted(p.name for p in cache.folder.iterdir())
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("trainer.teachers.cache.shutil.disk_usage", lambda _: usage(10, 10, 0))
    with pytest.raises(OSError, match=r"no space for .* MB of teacher vectors") as caught:
        cache.build(TEXTS, show_progress_bar=False)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("modeling_optical.files.atomic_write.save_file", full)
    with pytest.raises(OSError, match="Free some space"):
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


def test_the_manifest_lists_a_checksum_for_every_shard(teacher, tmp_path):
    cache = TeacherCache(tmp_path, teacher, shard_size=2)
    cache.build(TEXTS, show_progress_bar=False)
    manifest = json.loads((cache.folder / "manifest.json").read_text())
    assert set(manifest["shards"]) == {p.name for p in cache.folder.glob("shard-*")}
    assert manifest["fingerprint"] == teacher.fingerprint
    assert all(len(shard["sha256"]) == 64 for shard in manifest["shards"].values())


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
