"""Recall both ways against a count by hand."""

import pytest
import torch
from torch.nn import functional

from modeling_optical.evaluation.image_text import METRICS, CaptionedImages, image_text_recall, image_text_runs


def test_every_figure_is_that_of_a_count_by_hand():
    generator = torch.Generator().manual_seed(0)
    sizes = [1, 3, 2, *([2] * 17)]
    captioned = CaptionedImages("made", "en", {f"{i}.jpg": [f"text {i} {j}" for j in range(n)] for i, n in enumerate(sizes)})
    images = functional.normalize(torch.randn(20, 8, generator=generator), dim=-1)
    noise = torch.randn(sum(sizes), 8, generator=generator)
    texts = functional.normalize(images[captioned.image_of] + 0.6 * noise, dim=-1)
    found = image_text_recall(captioned, image_text_runs(captioned, texts, images))
    assert tuple(found) == METRICS
    of = torch.tensor(captioned.image_of)
    scores = texts @ images.T
    place_of_image = (scores > scores.gather(1, of.unsqueeze(1))).sum(1)  # of each caption's own image
    for i, name in enumerate(captioned.images):
        own = of == i
        best_caption = scores[own, i].max()
        place_of_caption = (scores[:, i] > best_caption).sum()
        for k in (1, 5, 10):
            assert found[f"text to image R@{k}"][name] == pytest.approx((place_of_image[own] < k).float().mean().item())
            assert found[f"image to text R@{k}"][name] == float(place_of_caption < k)
        assert found["mean recall"][name] == pytest.approx(sum(found[metric][name] for metric in METRICS[1:]) / 6)
    assert 0.2 < sum(found["mean recall"].values()) / 20 < 1


def test_perfect_vectors_find_everything_and_opposite_ones_nothing():
    captioned = CaptionedImages("made", "en", {f"{i}.jpg": [f"text {i}"] for i in range(20)})
    for sign, wanted in ((1, 1.0), (-1, 0.0)):
        found = image_text_recall(captioned, image_text_runs(captioned, sign * torch.eye(20), torch.eye(20)))
        assert set(found["text to image R@1"].values()) == {wanted}


@pytest.mark.parametrize(
    ("texts", "images", "message"), [((3, 4), (4, 4), "got vectors of 3 and 4"), ((4, 4), (4, 5), "one space")]
)
def test_vectors_that_do_not_fit_are_refused(texts, images, message):
    captioned = CaptionedImages("made", "en", {f"{i}.jpg": [f"text {i}"] for i in range(4)})
    with pytest.raises(ValueError, match=message):
        image_text_runs(captioned, torch.ones(texts), torch.ones(images))
