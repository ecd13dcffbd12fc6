"""Zero-shot retrieval between images and captions: captions, images, vectors of images, recall both ways."""

from .captions import CaptionedImages, load_captions
from .image_files import ImageFiles, open_image_files
from .image_vectors import ImageVectors
from .recall import METRICS, image_text_recall, image_text_runs

__all__ = [
    "METRICS",
    "CaptionedImages",
    "ImageFiles",
    "ImageVectors",
    "image_text_recall",
    "image_text_runs",
    "load_captions",
    "open_image_files",
]
