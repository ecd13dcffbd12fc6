"""Captions and the images that they describe: Multi30k's files, and the split of Flickr30k by Karpathy.

Multi30k, as https://github.com/multi30k/dataset holds it (the clone, or its folder `data`); line i of a set's files is image i:

    task1/raw/<set>.<language>[.gz]             one caption an image: cs, de, en, fr
    task2/raw/<set>.<1 to 5>.<language>[.gz]    five captions an image, written independently: de, en
    task1/image_splits/<set>.txt                the images' file names; what follows a `#` is not read

Sets with images: `test_2016_flickr` and `val` (Flickr30k), `test_2017_flickr`, `test_2017_mscoco` and `test_2018_flickr` (with
other images, from their publishers), and `task2-test_2016`, whose line i is the image of line i of `test_2016_flickr`.

Karpathy's `dataset_flickr30k.json` (https://cs.stanford.edu/people/karpathy/deepimagesent): `images`, each with `filename`,
`split` (`train`, `val`, `test`) and `sentences` with `raw`; five English captions an image.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...files.lines import text_lines
from ..collections.files import LocalFiles, needed
from ..collections.multi30k import caption_files, caption_lines

KARPATHY_FILE = "dataset_flickr30k.json"
_TASK2_IMAGES = {"test_2016": "test_2016_flickr", "val": "val"}


@dataclass
class CaptionedImages:
    """Images and their captions in one language.

    Attributes:
        name: of the set.
        language: of the captions.
        captions: image file name to its captions, in the set's order.
    """

    name: str
    language: str
    captions: dict[str, list[str]]

    @property
    def images(self) -> list[str]:
        """File names, in order."""
        return list(self.captions)

    @property
    def texts(self) -> list[str]:
        """All captions, image by image."""
        return [caption for own in self.captions.values() for caption in own]

    @property
    def image_of(self) -> list[int]:
        """For each of `texts`, the position of its image in `images`."""
        return [place for place, own in enumerate(self.captions.values()) for _ in own]


def load_captions(path: str | os.PathLike, language: str, split: str = "test_2016_flickr") -> CaptionedImages:
    """Reads a set's captions in a language.

    Args:
        path: a folder with Multi30k's files, or Karpathy's JSON file (English only) or the folder that it is in.
        language: code of the captions' language.
        split: the set, see above.

    Raises:
        FileNotFoundError: for a missing folder, file or language; it lists what there is.
        ValueError: for files whose lines do not fit each other, or JSON of another form; file and line are named.
    """
    place = Path(path).expanduser()
    if place.is_dir() and not (place / KARPATHY_FILE).is_file():
        return _multi30k(LocalFiles(place), language, split)
    file = place / KARPATHY_FILE if place.is_dir() else place
    if not file.is_file():
        raise FileNotFoundError(f"captions {os.fspath(path)!r}: there is no such folder or file.")
    return _karpathy(file, language, split)


def _multi30k(files: LocalFiles, language: str, split: str) -> CaptionedImages:
    name = split.removeprefix("task2-")
    image_set = _TASK2_IMAGES.get(name, name) if split != name else split
    paths = caption_files(files, language, split)
    advice = "It comes with github.com/multi30k/dataset and names the image of every line."
    splits = needed(files, f"task1/image_splits/{image_set}.txt", advice)
    names = [line.partition("#")[0].strip() for _, line in text_lines(splits)]
    captions: dict[str, list[str]] = {name: [] for name in names}
    for lines in caption_lines(paths, splits):
        for image, line in zip(names, lines, strict=True):
            captions[image].append(line)
    return CaptionedImages(split, language, captions)


def _karpathy(file: Path, language: str, split: str) -> CaptionedImages:
    if language != "en":
        raise FileNotFoundError(f"captions {file}: Karpathy's captions are English; there are none in {language!r}.")
    captions: dict[str, list[str]] = {}
    known: set[str] = set()
    for number, image in enumerate(_karpathy_images(file)):
        try:
            known.add(image["split"])
            if image["split"] == split and image["sentences"]:
                captions[image["filename"]] = [str(sentence["raw"]).strip() for sentence in image["sentences"]]
        except (KeyError, TypeError):
            raise ValueError(f"{file}: images[{number}] lacks `filename`, `split`, or `sentences` with `raw`.") from None
    if not captions:
        raise FileNotFoundError(f"captions {file}: there is no split {split!r}. Splits here: {', '.join(sorted(known))}.")
    return CaptionedImages(f"flickr30k-{split}", language, captions)


def _karpathy_images(file: Path) -> Iterator[Any]:
    try:
        values = json.loads(file.read_bytes())
        return iter(values["images"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{file} is not Karpathy's JSON: an object with the list `images` is expected ({error}).") from None
