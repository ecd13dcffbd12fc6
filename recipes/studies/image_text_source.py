"""Images and captions that students of CLIP's text tower are tested on, as a study names them or has them made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

from modeling_optical.evaluation.image_text import CaptionedImages, ImageFiles, load_captions, open_image_files

from ..checked_yaml import substitute


@dataclass
class ImageTextSource:
    """The images and captions to retrieve; every text may contain `{paths.NAME}`.

    Args:
        clip: checkpoint whose image tower encodes the images; its text tower is the teacher.
        revision: of its Hub repository.
        captions: folder of captions, as `modeling_optical.evaluation.image_text.load_captions` reads it.
        images: folder, zip archive or Hub data set of images, as `open_image_files` reads it.
        images_revision: of the Hub data set.
        splits: the sets of captions, a collection each.
        batch_size: images and texts per forward pass.
    """

    clip: str
    captions: str
    images: str
    revision: str | None = None
    images_revision: str | None = None
    splits: list[str] = field(default_factory=lambda: ["test_2016_flickr"])
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not self.splits:
            raise ValueError("splits is empty: name a set of captions, such as test_2016_flickr.")

    def located(self, paths: Mapping[str, str | None]) -> ImageTextSource:
        """The source with paths filled in.

        Raises:
            ValueError: for a path that is not set.
        """
        return ImageTextSource(**substitute(dataclasses.asdict(self), {f"paths.{name}": path for name, path in paths.items()}))

    def load(self, language: str, split: str) -> CaptionedImages:
        """A set's captions in a language."""
        return load_captions(self.captions, language, split)

    def files(self) -> ImageFiles:
        """The images."""
        return open_image_files(self.images, self.images_revision)


@dataclass
class EmojiPictures:
    """Emoji instead of photographs, see `emoji_pictures.py`.

    Args:
        font: a TrueType font with colour bitmaps, such as Noto Color Emoji (`fonts-noto-color-emoji` of Debian).
        annotations: names and keywords, a line each: `{"id": "U+1F431", "en": {"name", "keywords"}, "sw": …}`, as
            recipes/quickstart has them.
        pictures: number of test pictures; training uses the names of all others.
        size: of a picture's sides.
        layers: of the joint space's towers.
        training_steps: of the joint space.
    """

    font: str
    annotations: str
    pictures: int = 300
    size: int = 48
    layers: int = 3
    training_steps: int = 1500

    def __post_init__(self) -> None:
        if self.pictures < 2 or self.training_steps < 0 or self.size % 8:
            raise ValueError("pictures must be at least 2, training_steps at least 0, size a multiple of 8.")


@dataclass
class SyntheticImages:
    """Synthetic images instead of published ones, see `synthetic/images.py`.

    Args:
        pictures: for testing.
        training_pictures: for the captions of the bitext, and to train the tiny CLIP.
        training_steps: of the tiny CLIP; 0 leaves it random.
    """

    pictures: int = 24
    training_pictures: int = 60
    training_steps: int = 0

    def __post_init__(self) -> None:
        if self.pictures < 2 or self.training_pictures < 2 or self.training_steps < 0:
            raise ValueError("pictures and training_pictures must be at least 2, training_steps at least 0.")
