"""Pictures of emoji, their names in many languages, and a small joint space of both that is trained on the spot.

For a machine without CLIP and captioned photographs: real text by native speakers (Unicode CLDR) on pictures that people use,
drawn with a colour font. The joint space is CLIP's architecture, small: it learns every picture with its English name and
keywords, so it finds all pictures by English names. Students learn the names of some emoji and are tested on those of others.
It says something about names of things, nothing about photographs.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .image_text_source import EmojiPictures
from .synthetic.images import write_clip, write_multi30k

_FONT_SIZE = 109  # the only one that bitmap fonts such as Noto Color Emoji have
_CANVAS = (136, 128)


@dataclass(frozen=True)
class _Emoji:
    identifier: str
    names: dict[str, str]
    keywords: list[str]
    picture: bytes


def write_emoji_pictures(folder: Path, languages: Sequence[str], options: EmojiPictures) -> None:
    """Writes pictures, captions in Multi30k's layout and the joint space, as `images`, `multi30k` and `clip` in the folder.

    Args:
        folder: where.
        languages: of the captions, beside English.
        options: font, names, sizes.

    Raises:
        FileNotFoundError: without the font or the names. ImportError: without Pillow.
        ValueError: if the font draws fewer emoji than requested.
    """
    found = _drawn_emoji(options, ["en", *languages])
    if len(found) < options.pictures * 2:
        raise ValueError(
            f"emoji_pictures: {options.font} draws {len(found)} emoji that have names in all languages; as many again as "
            f"`pictures` ({options.pictures}) are needed to learn from."
        )
    random.Random(0).shuffle(found)
    tested, learnt = found[: options.pictures], found[options.pictures :]

    def captions(own: Sequence[_Emoji]) -> dict[str, list[str]]:
        return {code: [emoji.names[code] for emoji in own] for code in ("en", *languages)}

    write_multi30k(folder, {emoji.identifier: emoji.picture for emoji in tested}, captions(tested), captions(learnt))
    texts = [[emoji.names["en"], ", ".join(emoji.keywords)] for emoji in found]
    pictures = [emoji.picture for emoji in found]
    write_clip(folder / "clip", pictures, texts, size=options.size, steps=options.training_steps, layers=options.layers)


def _drawn_emoji(options: EmojiPictures, languages: Sequence[str]) -> list[_Emoji]:
    """Those of one character that have a name in every language and that the font draws in colour."""
    try:
        from PIL import ImageFont
    except ImportError as error:
        raise ImportError('emoji pictures need Pillow: pip install "modeling-optical[studies]"') from error
    annotations = Path(options.annotations)
    for path in (Path(options.font), annotations):
        if not path.is_file():
            raise FileNotFoundError(f"emoji_pictures: {path} is not there.")
    font = ImageFont.truetype(options.font, _FONT_SIZE)
    found = []
    for line in annotations.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        code_point = record["id"].removeprefix("U+")
        names = {code: record.get(code, {}).get("name", "") for code in languages}
        if len(code_point) <= 5 and all(names.values()):  # one character
            picture = _drawn(chr(int(code_point, 16)), font, options.size)
            if picture is not None:
                found.append(_Emoji(code_point, names, record["en"]["keywords"], picture))
    return found


def _drawn(character: str, font: Any, size: int) -> bytes | None:
    """The picture as PNG on a white ground; None for a character that the font does not draw in colour."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", _CANVAS, "white")
    ImageDraw.Draw(canvas).text((0, 0), character, font=font, embedded_color=True)
    reds, greens, blues = (channel.histogram() for channel in canvas.split())
    if reds == greens == blues:
        return None
    stream = io.BytesIO()
    canvas.resize((size, size)).save(stream, "PNG")
    return stream.getvalue()
