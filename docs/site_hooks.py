"""What the site takes from elsewhere in the repository: pages link to it as they do when they are read on a code host."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
# Beside those that are linked to: the links of their own go on from there.
_PAGES = (
    "SECURITY.md",
    "CHANGELOG.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("benchmarks/*.md")),
    "benchmarks/students/README.md",
    "recipes/students/README.md",
    "recipes/accelerate/README.md",
    "recipes/serving/README.md",
    "recipes/quickstart/README.md",
    "recipes/quickstart/DATA_CARD.md",
    "recipes/optical/README.md",
    "recipes/seven_languages/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("recipes/studies/*/README.md")),
)


def on_files(files, config):
    """Adds the pages that stand outside of docs/, and the pictures beside them."""
    for name in _PAGES:
        files.append(File.generated(config, name, content=_body(ROOT / name)))
    for picture in sorted(ROOT.glob("benchmarks/**/*.png")):
        name = picture.relative_to(ROOT).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links lead to pages of the site, wherever these stand in the repository; a file that is no page becomes its name."""
    own = page.file.src_uri
    folder = posixpath.dirname(own if own in _PAGES else f"docs/{own}")

    def resolved(match):
        place = posixpath.normpath(posixpath.join(folder, match[2])).removeprefix("docs/")
        if files.get_file_from_path(place) is None:
            return match[1]
        return f"[{match[1]}]({posixpath.relpath(place, posixpath.dirname(own) or '.')}{match[3] or ''})"

    return _LINK.sub(resolved, markdown)


def _body(path):
    """A page without the metadata that a data card begins with."""
    return re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
