"""Pictures of emoji and their names in Multi30k's layout, with a joint space that has learnt them."""

import gzip
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from modeling_optical.evaluation.image_text import load_captions, open_image_files
from modeling_optical.evaluation.image_text.image_vectors import ImageVectors
from recipes.studies import emoji_pictures
from recipes.studies.image_text_source import EmojiPictures

COUNT = 12


def picture(character: str, font: object, size: int) -> bytes | None:
    """A plain colour for each character; the font lacks the first."""
    place = ord(character) - 0x1F400
    stream = io.BytesIO()
    Image.new("RGB", (size, size), (place * 20, 255 - place * 20, 90)).save(stream, "PNG")
    return stream.getvalue() if place else None


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmojiPictures:
    rows = [
        {"id": f"U+{0x1F400 + n:X}", "en": {"name": f"animal {n}", "keywords": ["beast"]}, "sw": {"name": f"mnyama {n}"}}
        for n in range(COUNT)
    ]
    rows += [{"id": "U+1F3F3_200D_1F308", "en": {"name": "flag", "keywords": []}, "sw": {"name": "bendera"}}]
    rows += [{"id": "U+1F40F", "en": {"name": "ram", "keywords": []}}]
    (tmp_path / "names.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "font.ttf").write_bytes(b"")
    monkeypatch.setattr(emoji_pictures, "_drawn", picture)
    monkeypatch.setattr("PIL.ImageFont.truetype", lambda path, size: None)
    return EmojiPictures(str(tmp_path / "font.ttf"), str(tmp_path / "names.jsonl"), 4, size=16, layers=1, training_steps=2)


def test_tested_pictures_have_captions_in_every_language_and_none_of_them_is_learnt_from(tmp_path, options):
    out = tmp_path / "out"
    emoji_pictures.write_emoji_pictures(out, ["sw"], options)
    english, swahili = (load_captions(out / "multi30k", code) for code in ("en", "sw"))
    files = open_image_files(out / "images")
    assert english.images == swahili.images
    assert sorted(english.images) == sorted(files.names)
    assert len(english.images) == 4
    assert [text.replace("animal", "mnyama") for text in english.texts] == swahili.texts
    learnt = gzip.decompress((out / "multi30k/data/task1/raw/train.en.gz").read_bytes()).decode().splitlines()
    assert len(learnt) == COUNT - 1 - 4, "one has no picture; sequences and names in one language alone are left out"
    assert not set(learnt) & set(english.texts)
    vectors = ImageVectors(tmp_path / "vectors", str(out / "clip"))
    assert vectors.build(files, files.names, show_progress_bar=False) == 4
    assert vectors.of(files, files.names).shape == (4, 32)


def test_what_is_lacking_is_said(tmp_path, options):
    options.pictures = 10
    with pytest.raises(ValueError, match=r"draws 11 emoji that have names in all languages; as many again as"):
        emoji_pictures.write_emoji_pictures(tmp_path / "out", ["sw"], options)
    options.font = "nowhere.ttf"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ttf is not there"):
        emoji_pictures.write_emoji_pictures(tmp_path / "out", ["sw"], options)
