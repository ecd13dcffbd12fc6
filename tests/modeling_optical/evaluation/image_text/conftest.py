"""Captions in Multi30k's layout, and pictures."""

import gzip
from pathlib import Path

import pytest
from PIL import Image

COLOURS = ["red", "green", "blue", "yellow", "black", "white"]
NAMES = [f"{number}.jpg" for number in range(6)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with a picture of each colour."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in zip(NAMES, COLOURS, strict=True):
        Image.new("RGB", (30, 20), colour).save(folder / name, "PNG")
    return folder


@pytest.fixture
def multi30k(tmp_path: Path) -> Path:
    """A clone of Multi30k with one set in en and de, and its five English descriptions."""
    folder = tmp_path / "multi30k" / "data"
    for part in ("task1/raw", "task1/image_splits", "task2/raw"):
        (folder / part).mkdir(parents=True)
    (folder / "task1/image_splits/test_2016_flickr.txt").write_text("".join(f"{name}#7\n" for name in NAMES))
    (folder / "task1/raw/test_2016_flickr.en").write_text("".join(f"it is {colour}\n" for colour in COLOURS))
    with gzip.open(folder / "task1/raw/test_2016_flickr.de.gz", "wt") as stream:
        stream.write("".join(f"es ist {colour}\n" for colour in COLOURS))
    for number in range(1, 6):
        lines = "".join(f"{colour} {number}\n" for colour in COLOURS)
        (folder / f"task2/raw/test_2016.{number}.en").write_text(lines)
    return folder.parent
