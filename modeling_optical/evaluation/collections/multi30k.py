"""Multi30k captions: a caption finds the English caption of the same image (text only; images are not used).

Files, as https://github.com/multi30k/dataset holds them; line i of every file is image i:

    data/task1/raw/<set>.<language>.gz              one caption an image, translations: cs, de, en, fr
    data/task2/raw/<set>.<1 to 5>.<language>.gz     five independent descriptions an image: de, en

Splits: the names of the sets in task 1 (`test_2016_flickr`, the default; `test_2017_flickr`, `test_2017_mscoco`,
`test_2018_flickr`, `val`), and `task2-<set>` (`task2-test_2016`), where every English description of the image is relevant.
Files that are not packed are read too. The repository states no licence; the images and English captions are Flickr30k's, for
research.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...files.lines import text_lines
from .collection import Collection, assemble, read_queries
from .files import Files, Layout, Request, needed, no_queries, unpacked_bytes

_ENGLISH = "en"
_FILE = re.compile(r"(?:^|/)task([12])/raw/([\w.]+?)\.([a-z]{2})(?:\.gz)?$")


def caption_files(files: Files, language: str, split: str) -> list[Path]:
    """The files of a set's captions in a language: one, or one for each description of an image (`task2-…`).

    Raises:
        FileNotFoundError: for an unknown set or a language that it lacks; it lists those that there are.
    """
    task = "2" if split.startswith("task2-") else "1"
    part = re.compile(re.escape(split.removeprefix("task2-")) + (r"\.\d" if task == "2" else ""))
    there = [found.groups() for found in map(_FILE.search, files.names) if found]
    own = [(name, code) for number, name, code in there if number == task and part.fullmatch(name)]
    if not own:
        known = {name if number == "1" else f"task2-{re.sub(r'[.][0-9]$', '', name)}" for number, name, _ in there}
        raise FileNotFoundError(f"collection {files.label}: there is no set {split!r}. Sets here: {', '.join(sorted(known))}.")
    sets = sorted({name for name, code in own if code == language})
    if not sets:
        raise no_queries(files, language, (code for _, code in own))
    return [needed(files, f"task{task}/raw/{name}.{language}") for name in sets]


def caption_lines(paths: Sequence[Path], expected: Path) -> list[list[str]]:
    """The captions in each file, image by image.

    Raises:
        ValueError: for a file that has not as many lines as `expected`.
    """
    found = [[line.strip() for _, line in text_lines(path)] for path in paths]
    count = sum(1 for _ in text_lines(expected))
    for path, lines in zip(paths, found, strict=True):
        if len(lines) != count:
            raise ValueError(f"{path} has {len(lines)} lines and {expected} has {count}: line i must be image i.")
    return found


def read(request: Request) -> Collection:
    """Reads the captions of one language as queries, the English ones as corpus."""
    split = request.split or "test_2016_flickr"
    queries = caption_files(request.files, request.language, split)
    documents = caption_files(request.files, _ENGLISH, split)
    images = len(caption_lines([*queries, *documents], documents[0])[0])
    qrels = (
        (f"{path}:{image + 1}", f"{image}-{one}", f"{image}-{other}", "1")
        for image in range(images)
        for one, path in enumerate(queries)
        for other in range(len(documents))
    )
    return assemble(
        f"multi30k-{split}",
        request.language,
        read_corpus=lambda: _captions(documents),
        corpus_bytes=unpacked_bytes(documents),
        queries=read_queries(_captions(queries)),
        judgements=qrels,
        parallel=True,
    )


def _captions(paths: list[Path]) -> Iterator[tuple[str, str, str]]:
    """(place, `image-description`, caption); blank lines keep their number."""
    for description, path in enumerate(paths):
        for image, (place, line) in enumerate(text_lines(path)):
            yield place, f"{image}-{description}", line.strip()


LAYOUT = Layout(
    "multi30k",
    "task1/raw/SET.LANGUAGE.gz",
    lambda names: any(_FILE.search(name) for name in names),
    read,
)
