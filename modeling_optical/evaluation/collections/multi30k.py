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
from collections.abc import Iterator
from pathlib import Path

from ...files.lines import text_lines
from .collection import Collection, assemble, read_queries
from .files import Layout, Request, needed, no_queries, unpacked_bytes

_ENGLISH = "en"
_FILE = re.compile(r"(?:^|/)task([12])/raw/([\w.]+?)\.([a-z]{2})(?:\.gz)?$")


def read(request: Request) -> Collection:
    """Reads the captions of one language as queries, the English ones as corpus."""
    files, language, split = request.files, request.language, request.split or "test_2016_flickr"
    task = 2 if split.startswith("task2-") else 1
    name = split.removeprefix("task2-")
    parts = [found.groups() for found in map(_FILE.search, files.names) if found]
    there = {(part, code) for number, part, code in parts if int(number) == task}
    pattern = re.compile(re.escape(name) + (r"\.\d" if task == 2 else ""))
    sets = sorted(part for part, code in there if code == language and pattern.fullmatch(part))
    if not sets:
        if any(pattern.fullmatch(part) for part, _ in there):
            raise no_queries(files, language, (code for part, code in there if pattern.fullmatch(part)))
        known = {part for number, part, _ in parts if number == "1"}
        known |= {f"task2-{re.sub(r'[.][0-9]$', '', part)}" for number, part, _ in parts if number == "2"}
        raise FileNotFoundError(f"collection {files.label}: there is no set {split!r}. Sets here: {', '.join(sorted(known))}.")
    queries = [needed(files, f"task{task}/raw/{part}.{language}") for part in sets]
    documents = [needed(files, f"task{task}/raw/{part}.{_ENGLISH}") for part in sets]
    images = _count(documents[0])
    for path in (*queries, *documents):
        if _count(path) != images:
            raise ValueError(f"{path} has {_count(path)} lines and {documents[0]} has {images}: line i must be image i.")
    qrels = (
        (f"{queries[one]}:{image + 1}", f"{image}-{one}", f"{image}-{other}", "1")
        for image in range(images)
        for one in range(len(sets))
        for other in range(len(sets))
    )
    return assemble(
        f"multi30k-{split}",
        language,
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


def _count(path: Path) -> int:
    return sum(1 for _ in text_lines(path))


LAYOUT = Layout(
    "multi30k",
    "task1/raw/SET.LANGUAGE.gz",
    lambda names: any(_FILE.search(name) for name in names),
    read,
)
