"""Pictures of two coloured shapes, captions in languages that are English in cipher, and a tiny CLIP, made on the spot.

A CLIP that is trained on the pictures finds them by English captions, so that a student has something to learn; one that is not
shows that every step runs. Neither says anything about real images, languages or models.
"""

from __future__ import annotations

import gzip
import io
import itertools
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
from transformers.utils import logging

from ..image_text_source import SyntheticImages
from .data import cipher, seeded, write_backbone

_COLOURS = {"red": "#d62728", "green": "#2ca02c", "blue": "#1f4fd8", "yellow": "#f2d024", "black": "#101010",
            "white": "#f8f8f8"}  # fmt: skip
_SHAPES = ("disc", "box", "bar")
_SIZE = 32
_LAYERS = 2
SPLIT = "test_2016_flickr"
"""The set of captions that is tested, as Multi30k names it."""
_BATCH = 64
_START, _END = "<|startoftext|>", "<|endoftext|>"


def write_synthetic_images(folder: Path, languages: Sequence[str], options: SyntheticImages) -> None:
    """Writes them, as `clip`, `student`, `multi30k` and `images` in the folder.

    Captions are in Multi30k's layout, in English and in `languages`.

    Raises:
        ValueError: if more pictures are requested than there are.
    """
    scenes = list(itertools.product(itertools.product(_COLOURS, _SHAPES), repeat=2))
    if options.pictures + options.training_pictures > len(scenes):
        raise ValueError(f"synthetic_images: there are {len(scenes)} different pictures; make fewer.")
    random.Random(0).shuffle(scenes)
    tested, trained = scenes[: options.pictures], scenes[options.pictures :][: options.training_pictures]
    codes = ["en", *(language for language in languages if language != "en")]

    def captions(own: Sequence[_Scene]) -> dict[str, list[str]]:
        english = [_caption(scene) for scene in own]
        return {code: [cipher(text, n) for text in english] if n else english for n, code in enumerate(codes)}

    write_multi30k(folder, {str(n): _drawn(scene) for n, scene in enumerate(tested)}, captions(tested), captions(trained))
    texts = [[_caption(scene)] for scene in trained]
    write_clip(folder / "clip", [_drawn(scene) for scene in trained], texts, size=_SIZE, steps=options.training_steps)
    write_backbone(folder / "student")


def write_multi30k(
    folder: Path, pictures: Mapping[str, bytes], tested: Mapping[str, Sequence[str]], trained: Mapping[str, Sequence[str]]
) -> None:
    """Writes `images` and, in Multi30k's layout, `multi30k` into the folder.

    Args:
        folder: where.
        pictures: name of a tested picture to the picture, as PNG.
        tested: language to the captions of the tested pictures, in their order.
        trained: language to the captions of the others.
    """
    (folder / "images").mkdir(parents=True)
    for name, picture in pictures.items():
        (folder / "images" / f"{name}.png").write_bytes(picture)
    raw, splits = (folder / "multi30k/data/task1" / name for name in ("raw", "image_splits"))
    splits.mkdir(parents=True)
    raw.mkdir()
    (splits / f"{SPLIT}.txt").write_text("".join(f"{name}.png\n" for name in pictures), encoding="utf-8")
    for part, captions in ((SPLIT, tested), ("train", trained)):
        for code, texts in captions.items():
            with gzip.open(raw / f"{part}.{code}.gz", "wt", encoding="utf-8") as stream:
                stream.write("".join(f"{text}\n" for text in texts))


_Scene = tuple[tuple[str, str], ...]  # the left shape and the right one, each colour and form


def _caption(scene: _Scene) -> str:
    (left, one), (right, other) = scene
    return f"{left} {one} beside {right} {other}"


def _drawn(scene: _Scene) -> bytes:
    """The picture as PNG: grey ground, one shape on the left, one on the right."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (_SIZE, _SIZE), "#808080")
    pen = ImageDraw.Draw(picture)
    for left, (colour, shape) in zip((1, 17), scene, strict=True):
        corners = (left + 4, 1, left + 8, 30) if shape == "bar" else (left, 9, left + 13, 22)
        (pen.ellipse if shape == "disc" else pen.rectangle)(corners, fill=_COLOURS[colour])
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _tokenizer(words: Iterable[str]) -> CLIPTokenizer:
    """CLIP's kind of tokenizer with some words as pieces, and bytes for everything else."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = dict.fromkeys([*alphabet, *(f"{letter}</w>" for letter in alphabet)])
    merges: list[tuple[str, str]] = []
    for word in words:
        letters = [*word[:-1], f"{word[-1]}</w>"]
        for end in range(1, len(letters)):
            merge = ("".join(letters[:end]), letters[end])
            if merge not in merges:
                merges.append(merge)
            pieces["".join(merge)] = None
    vocabulary = {piece: number for number, piece in enumerate([*pieces, _START, _END])}
    return CLIPTokenizer(vocabulary, merges, model_max_length=77)


def write_clip(
    folder: Path,
    pictures: Sequence[bytes],
    texts: Sequence[Sequence[str]],
    *,
    size: int,
    steps: int,
    layers: int = _LAYERS,
) -> None:
    """A small CLIP that has learnt pictures with texts.

    Args:
        folder: where it is saved, with tokenizer and image processor.
        pictures: as image files.
        texts: those of each picture; one is drawn whenever the picture is learnt.
        size: of a picture's sides.
        steps: of training; 0 leaves it random.
        layers: of both towers.
    """
    words = dict.fromkeys(word for own in texts for text in own for word in re.findall(r"[a-z]+", text.lower()))
    tokenizer = _tokenizer(words)
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": layers, "num_attention_heads": 4}
    text = {"vocab_size": len(tokenizer), "max_position_embeddings": 77} | ids | sizes
    vision = {"image_size": size, "patch_size": 8} | sizes
    with seeded():
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
        if steps:
            _train(model, tokenizer, processor, pictures, texts, steps)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor.save_pretrained(folder)


def _train(
    model: CLIPModel, tokenizer: Any, processor: Any, pictures: Sequence[bytes], texts: Sequence[Sequence[str]], steps: int
) -> None:
    from PIL import Image

    pixels = processor(images=[Image.open(io.BytesIO(one)) for one in pictures], return_tensors="pt")["pixel_values"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator, draws = torch.Generator().manual_seed(0), random.Random(0)
    model.train()
    for _ in logging.tqdm(range(steps), desc="Training the tiny CLIP", unit="update"):
        chosen = torch.randperm(len(pictures), generator=generator)[:_BATCH]
        own = [draws.choice(texts[place]) for place in chosen.tolist()]
        batch = tokenizer(own, padding=True, truncation=True, return_tensors="pt")
        model(pixel_values=pixels[chosen], return_loss=True, **batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
