"""Recall of image-text retrieval both ways, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ..metrics import per_query
from .captions import CaptionedImages

_CUTOFFS = (1, 5, 10)
TEXT_TO_IMAGE = tuple(f"text to image R@{k}" for k in _CUTOFFS)
IMAGE_TO_TEXT = tuple(f"image to text R@{k}" for k in _CUTOFFS)
MEAN_RECALL = "mean recall"
METRICS = (MEAN_RECALL, *TEXT_TO_IMAGE, *IMAGE_TO_TEXT)
"""Mean recall first: the mean of the six others."""

Run = dict[str, dict[str, float]]
Qrels = dict[str, dict[str, int]]


def image_text_runs(
    captioned: CaptionedImages, text_vectors: torch.Tensor, image_vectors: torch.Tensor, *, k: int = 100
) -> dict[str, tuple[Qrels, Run]]:
    """Every caption searches the images, and every image the captions, by the dot product of unit vectors.

    Args:
        captioned: the set.
        text_vectors: (captions, dim) unit vectors, in the order of `captioned.texts`.
        image_vectors: (images, dim) unit vectors, in the order of `captioned.images`.
        k: results kept per query.

    Returns:
        `text_to_image` and `image_to_text` to judgements and run; a caption's id is `IMAGE#NUMBER`.

    Raises:
        ValueError: if vectors and set differ in number, or the two sides in dimension.
    """
    if len(text_vectors) != len(captioned.texts) or len(image_vectors) != len(captioned.images):
        raise ValueError(
            f"{captioned.name} has {len(captioned.texts)} captions and {len(captioned.images)} images; got vectors of "
            f"{len(text_vectors)} and {len(image_vectors)}."
        )
    if text_vectors.shape[1] != image_vectors.shape[1]:
        raise ValueError(
            f"text vectors have {text_vectors.shape[1]} dimensions, image vectors {image_vectors.shape[1]}: they are not of "
            "one space. Encode texts with a student of this CLIP's text tower (encode_pooled)."
        )
    images = captioned.images
    captions = [f"{image}#{number}" for image, own in captioned.captions.items() for number in range(len(own))]
    scores = text_vectors.float() @ image_vectors.float().T
    of_caption: Qrels = {caption: {images[place]: 1} for caption, place in zip(captions, captioned.image_of, strict=True)}
    of_image: Qrels = {image: {} for image in images}
    for caption, place in zip(captions, captioned.image_of, strict=True):
        of_image[images[place]][caption] = 1
    return {
        "text_to_image": (of_caption, _run(captions, images, scores, k)),
        "image_to_text": (of_image, _run(images, captions, scores.T, k)),
    }


def _run(queries: Sequence[str], documents: Sequence[str], scores: torch.Tensor, k: int) -> Run:
    best, places = scores.topk(min(k, len(documents)), dim=1)
    return {
        query: {documents[place]: score for place, score in zip(row, values, strict=True)}
        for query, row, values in zip(queries, places.tolist(), best.tolist(), strict=True)
    }


def image_text_recall(captioned: CaptionedImages, runs: Mapping[str, tuple[Qrels, Run]]) -> dict[str, dict[str, float]]:
    """The recall of every image.

    R@k is, as usual for this task, the share of queries with a right answer among the first k (`Success@k` of `ir_measures`).
    From text to image it is the mean over the image's captions, from image to text 0 or 1. `mean recall` is the mean of the
    six. The set's scores are their means over images, and intervals resample images.

    Args:
        captioned: the set.
        runs: of `image_text_runs`.

    Returns:
        Metric to {image: value in [0, 1]}, the metrics of `METRICS`.
    """
    measures = [f"Success@{k}" for k in _CUTOFFS]
    by_caption, by_image = (per_query(*runs[way], measures) for way in ("text_to_image", "image_to_text"))
    found: dict[str, dict[str, float]] = {metric: {} for metric in METRICS}
    for image, own in captioned.captions.items():
        for metric, measure in zip(TEXT_TO_IMAGE, measures, strict=True):
            found[metric][image] = sum(by_caption[measure][f"{image}#{number}"] for number in range(len(own))) / len(own)
        for metric, measure in zip(IMAGE_TO_TEXT, measures, strict=True):
            found[metric][image] = by_image[measure][image]
        six = [found[metric][image] for metric in (*TEXT_TO_IMAGE, *IMAGE_TO_TEXT)]
        found[MEAN_RECALL][image] = sum(six) / len(six)
    return found
