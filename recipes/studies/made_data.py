"""What a study makes for itself before it runs: data, models and pictures, each in a folder below the study's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modeling_optical.evaluation.questions import ACCURACY
from modeling_optical.files.atomic_write import replacing_folder
from modeling_optical.files.json_files import read_json, write_json

from ..checked_yaml import build, substitute
from .emoji_pictures import write_emoji_pictures
from .image_text_source import EmojiPictures
from .study import ALL_LANGUAGES, Study
from .synthetic.data import write_synthetic_data
from .synthetic.images import write_synthetic_images
from .synthetic.questions import write_synthetic_questions

_RECORD = "made.json"


@dataclass(frozen=True)
class MadeData:
    """One folder of made data.

    Args:
        folder: where.
        names: of the study's `paths` that lie in it.
        write: fills an empty folder.
        settings: what it is made by, as JSON has it.
    """

    folder: Path
    names: tuple[str, ...]
    write: Callable[[Path], None]
    settings: Any

    @property
    def paths(self) -> dict[str, str]:
        """Names of a study's `paths` to what lies in the folder."""
        return {name: str(self.folder / name) for name in self.names}

    def make(self) -> None:
        """Makes it, unless it is there.

        Raises:
            ValueError, FileNotFoundError, ImportError: for what it is to be made of; no folder is left then. ValueError also if
                it is there and was made by other settings.
        """
        record = self.folder / _RECORD
        if not self.folder.is_dir():
            with replacing_folder(self.folder) as scratch:
                self.write(scratch)
                write_json(scratch / _RECORD, self.settings)
        elif record.is_file() and read_json(record) != self.settings:
            raise ValueError(
                f"{self.folder} was made by other settings or for other languages. Choose another folder with --output, or "
                "remove that one to make it again."
            )


def made_data(study: Study) -> list[MadeData]:
    """What the study makes; nothing is written."""
    languages = [code for code in study.languages if code != ALL_LANGUAGES]
    made = []

    def add(folder: str, names: str, write: Callable[[Path], None], options: Any = None) -> None:
        settings = {"languages": languages, "options": None if options is None else dataclasses.asdict(options)}
        made.append(MadeData(study.root / folder, tuple(names.split()), write, json.loads(json.dumps(settings))))

    if study.synthetic_data:
        add("synthetic", "teacher bitext collections", partial(write_synthetic_data, languages=languages))
        if ACCURACY in study.metrics:
            questions = partial(write_synthetic_questions, languages=languages)
            add("synthetic_questions", "mixed_bitext questions causal", questions)
    if study.synthetic_images is not None:
        images = partial(write_synthetic_images, languages=languages, options=study.synthetic_images)
        add("synthetic_images", "clip student multi30k images", images, study.synthetic_images)
    if study.emoji_pictures is not None:
        paths = {f"paths.{name}": path for name, path in study.paths.items()}
        options = build(EmojiPictures, substitute(dataclasses.asdict(study.emoji_pictures), paths), "emoji_pictures")
        others = [code for code in languages if code != "en"]
        write = partial(write_emoji_pictures, languages=others, options=options)
        add("emoji_pictures", "clip multi30k images", write, options)
    return made
