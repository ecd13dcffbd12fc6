"""Captions as they are published, and what is wrong with a folder of them."""

import json

import pytest

from modeling_optical.evaluation.image_text import load_captions

from .conftest import COLOURS, NAMES


@pytest.mark.parametrize(("language", "start"), [("en", "it is"), ("de", "es ist")])
def test_line_i_describes_image_i(multi30k, language, start):
    found = load_captions(multi30k, language)
    assert found.captions == {name: [f"{start} {colour}"] for name, colour in zip(NAMES, COLOURS, strict=True)}
    assert load_captions(multi30k / "data", language).captions == found.captions, "the clone, or its folder data"
    assert (found.name, found.language, found.image_of) == ("test_2016_flickr", language, list(range(6)))


def test_task_2_has_five_captions_of_every_image(multi30k):
    found = load_captions(multi30k, "en", "task2-test_2016")
    assert found.captions["1.jpg"] == [f"green {number}" for number in range(1, 6)]
    assert (len(found.texts), found.image_of[:6]) == (30, [0, 0, 0, 0, 0, 1])


def test_karpathys_split_is_read_from_its_json(tmp_path):
    images = [
        {"filename": "a.jpg", "split": "test", "sentences": [{"raw": "one "}, {"raw": "two"}]},
        {"filename": "b.jpg", "split": "train", "sentences": [{"raw": "three"}]},
    ]
    file = tmp_path / "dataset_flickr30k.json"
    file.write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    for place in (tmp_path, file):
        assert load_captions(place, "en", "test").captions == {"a.jpg": ["one", "two"]}
    with pytest.raises(FileNotFoundError, match=r"no split 'dev'. Splits here: test, train"):
        load_captions(file, "en", "dev")
    with pytest.raises(FileNotFoundError, match="are English"):
        load_captions(file, "de", "test")
    file.write_text(json.dumps({"images": [{"filename": "a.jpg", "split": "test"}]}))
    with pytest.raises(ValueError, match=r"images\[0\] lacks"):
        load_captions(file, "en", "test")
    file.write_text("{")
    with pytest.raises(ValueError, match="is not Karpathy's JSON"):
        load_captions(file, "en", "test")


def test_what_is_missing_is_named(multi30k):
    with pytest.raises(FileNotFoundError, match=r"no queries in 'cs'. Languages here: de, en"):
        load_captions(multi30k, "cs")
    with pytest.raises(FileNotFoundError, match=r"no set 'test_2017_flickr'\. Sets here: task2-test_2016, test_2016_flickr"):
        load_captions(multi30k, "de", "test_2017_flickr")
    with pytest.raises(FileNotFoundError, match="no such folder or file"):
        load_captions(multi30k / "nowhere", "de")
    with open(multi30k / "data/task1/raw/test_2016_flickr.en", "a") as stream:
        stream.write("one too many\n")
    with pytest.raises(ValueError, match=r"has 7 lines and .*test_2016_flickr.txt has 6: line i must be image i"):
        load_captions(multi30k, "en")
    (multi30k / "data/task1/image_splits/test_2016_flickr.txt").unlink()
    with pytest.raises(FileNotFoundError, match="names the image of every line"):
        load_captions(multi30k, "de")
