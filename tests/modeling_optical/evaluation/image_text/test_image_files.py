"""Images wherever they lie, and their vectors on disk."""

import tracemalloc
import zipfile

import pyarrow
import pyarrow.parquet as parquet
import pytest
import torch
from datasets import Dataset
from PIL import Image
from torch.nn import functional
from transformers import CLIPImageProcessorPil, CLIPModel

from modeling_optical.evaluation.image_text import ImageVectors, open_image_files
from modeling_optical.evaluation.image_text.image_files import FolderImages, ParquetImages

from .conftest import NAMES


@pytest.fixture(params=["folder", "nested", "zip", "folder of a zip", "parquet"])
def place(request, pictures, tmp_path):
    """The same pictures in every form in which they are read."""
    if request.param == "folder":
        return pictures
    if request.param == "nested":
        pictures.rename(pictures / "../deeper")
        return tmp_path
    packed = tmp_path / "packed"
    packed.mkdir()
    if request.param == "parquet":
        rows = [{"filename": name, "image": {"bytes": (pictures / name).read_bytes(), "path": name}} for name in NAMES]
        Dataset.from_list(rows[:4]).to_parquet(packed / "test-00000-of-00002.parquet", batch_size=2)
        Dataset.from_list(rows[4:]).to_parquet(packed / "test-00001-of-00002.parquet")
        return packed
    with zipfile.ZipFile(packed / "flickr30k-images.zip", "w") as archive:
        for name in NAMES:
            archive.writestr(f"__MACOSX/flickr30k-images/._{name}", b"not a picture")
            archive.writestr(f"__MACOSX/flickr30k-images/{name}", b"not a picture")
            archive.write(pictures / name, f"flickr30k-images/{name}")
    return packed / "flickr30k-images.zip" if request.param == "zip" else packed


def clips_own(clip: str, folder) -> torch.Tensor:
    processor = CLIPImageProcessorPil.from_pretrained(clip)
    pixels = processor(images=[Image.open(folder / name) for name in NAMES], return_tensors="pt")
    with torch.inference_mode():
        return functional.normalize(CLIPModel.from_pretrained(clip).eval().get_image_features(**pixels).pooler_output, dim=-1)


def test_vectors_are_clips_wherever_the_images_lie(place, pictures, clip, tmp_path):
    source = pictures if pictures.is_dir() else tmp_path / "deeper"
    files = open_image_files(place)
    assert set(NAMES) <= set(files.names)
    vectors = ImageVectors(tmp_path / "vectors", clip, shard_size=4)
    assert vectors.build(files, NAMES, batch_size=3, show_progress_bar=False) == 6
    torch.testing.assert_close(vectors.of(files, NAMES), clips_own(clip, source), atol=1e-5, rtol=0)
    torch.testing.assert_close(vectors.of(files, NAMES[::-1]), vectors.of(files, NAMES).flip(0))


def test_a_stopped_run_goes_on_and_a_finished_one_computes_nothing(pictures, clip, tmp_path):
    files = open_image_files(pictures)
    first = ImageVectors(tmp_path / "vectors", clip, shard_size=2)
    content = (pictures / "3.jpg").read_bytes()
    (pictures / "3.jpg").write_bytes(content[:60])
    with pytest.raises(ValueError, match=r"3.jpg in .*pictures is not an image that can be read"):
        first.build(files, NAMES, show_progress_bar=False)
    (pictures / "3.jpg").write_bytes(content)
    again = ImageVectors(tmp_path / "vectors", clip, shard_size=2)
    assert len(again) == 2, "the shard before the broken image is kept"
    assert again.build(files, NAMES, show_progress_bar=False) == 4
    assert ImageVectors(tmp_path / "vectors", clip).build(files, NAMES, show_progress_bar=False) == 0


def test_a_changed_image_or_tower_never_meets_a_stale_vector(pictures, clip, tmp_path):
    files = open_image_files(pictures)
    vectors = ImageVectors(tmp_path / "vectors", clip)
    vectors.build(files, NAMES, show_progress_bar=False)
    Image.new("RGB", (90, 20), "orange").save(pictures / "2.jpg", "PNG")
    with pytest.raises(KeyError, match="was not encoded"):
        vectors.of(files, NAMES)
    assert vectors.build(files, NAMES, show_progress_bar=False) == 1
    other = tmp_path / "other"
    model = CLIPModel.from_pretrained(clip)
    model.visual_projection.weight.data += 0.1
    model.save_pretrained(other)
    CLIPImageProcessorPil.from_pretrained(clip).save_pretrained(other)
    assert len(ImageVectors(tmp_path / "vectors", other)) == 0


def test_a_damaged_shard_is_named_and_computed_again(pictures, clip, tmp_path, caplog):
    files = open_image_files(pictures)
    vectors = ImageVectors(tmp_path / "vectors", clip, shard_size=3)
    vectors.build(files, NAMES, show_progress_bar=False)
    good = vectors.of(files, NAMES)
    shard = sorted(vectors.folder.glob("shard-*"))[0]
    content = bytearray(shard.read_bytes())
    content[-3] ^= 0xFF
    shard.write_bytes(bytes(content))
    again = ImageVectors(tmp_path / "vectors", clip)
    assert shard.name in caplog.text
    assert again.build(files, NAMES, show_progress_bar=False) == 3
    torch.testing.assert_close(again.of(files, NAMES), good)


def test_an_image_that_unpacks_to_gigabytes_is_refused_before_it_is_unpacked(tmp_path):
    with (
        zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("bomb.png", "w") as member,
    ):
        for _ in range(200):
            member.write(bytes(2**20))
    with open(tmp_path / "large.png", "wb") as stream:
        stream.truncate(2**32)
    large = pyarrow.array([{"bytes": bytes(65 * 2**20)}] * 2)
    parquet.write_table(pyarrow.table({"filename": ["bomb.png", "x.png"], "image": large}), tmp_path / "a.parquet")
    tracemalloc.start()
    kinds = (open_image_files(tmp_path / "images.zip"), FolderImages(tmp_path), ParquetImages([tmp_path / "a.parquet"], "a"))
    for images in kinds:
        with pytest.raises(ValueError, match=r"(bomb|large)\.png .*more than 64 MiB: no image"):
            images.read(images.names[0])
    assert tracemalloc.get_traced_memory()[1] < 160 * 2**20
    tracemalloc.stop()


def test_a_group_of_parquet_is_never_held_whole(tmp_path):
    """A thousand equal images of 8 MiB are a file of a few kilobytes."""
    count, image = 1000, bytes(8 * 2**20)
    equal = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * count), pyarrow.array([image]))
    table = pyarrow.table(
        {"filename": [f"{n}.png" for n in range(count)], "image": pyarrow.StructArray.from_arrays([equal], ["bytes"])}
    )
    parquet.write_table(table, tmp_path / "a.parquet", store_schema=False)
    del table
    images = open_image_files(tmp_path)
    before = pyarrow.default_memory_pool().max_memory()
    assert [images.read(name) == image for name in ("3.png", "999.png", "2.png")] == [True] * 3
    assert pyarrow.default_memory_pool().max_memory() - before < 200 * 2**20
    long = pyarrow.table({"filename": ["x" * 5000], "image": [{"bytes": b""}]})
    parquet.write_table(long, tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="at most 4096 bytes"):
        open_image_files(tmp_path)
    parquet.write_table(pyarrow.table({"filename": [1], "image": [{"bytes": b""}]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="not text"):
        open_image_files(tmp_path)


def test_images_that_are_not_there_are_named(pictures, clip, tmp_path):
    vectors = ImageVectors(tmp_path / "vectors", clip)
    with pytest.raises(FileNotFoundError, match=r"2 of 3 are missing, such as x.jpg, y.jpg. \(test_2017_flickr"):
        vectors.build(open_image_files(pictures), ["x.jpg", "y.jpg", "1.jpg"])
    (tmp_path / "empty").mkdir()
    for path, message in (("empty", "no image and no Parquet file"), ("nowhere/at/all", "no such folder")):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            open_image_files(tmp_path / path)
    (tmp_path / "torn.zip").write_bytes(b"PK")
    with pytest.raises(ValueError, match="not a whole zip archive"):
        open_image_files(tmp_path / "torn.zip")
    Dataset.from_list([{"picture": 1}]).to_parquet(tmp_path / "empty/a.parquet")
    with pytest.raises(ValueError, match="this one has picture"):
        open_image_files(tmp_path / "empty")
