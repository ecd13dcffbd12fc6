"""What the site takes from elsewhere in the repository: pages link to it as they do when they are read on a code host."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+\.md)(#[^)]*)?\)")
# Beside those that are linked to: the links of their own go on from there.
_PAGES = (
    "SECURITY.md",
    "benchmarks/README.md",
    "recipes/accelerate/README.md",
    "recipes/serving/README.md",
    "recipes/quickstart/README.md",
    "recipes/quickstart/DATA_CARD.md",
    "recipes/optical/README.md",
    "recipes/seven_languages/README.md",
    *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("recipes/studies/*/README.md")),
)


def on_files(files, config):
    """Adds the pages that stand outside of docs/."""
    for name in _PAGES:
        files.append(File.generated(config, name, content=_body(ROOT / name)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links out of docs/ into links within the site; what is not a page of it becomes its name."""
    if page.file.src_uri in _PAGES:
        up = "../" * page.file.src_uri.count("/")
        return re.sub(r"\[([^\]]+)\]\((?:\.\./)*(?:docs/)?([\w/.]+)\)", lambda m: _resolved(m, up, files), markdown)
    return _OUTSIDE.sub(lambda m: f"]({m[1]}{m[2] or ''})", markdown)


def _resolved(match, up, files):
    text, target = match[1], match[2]
    if files.get_file_from_path(target) is not None:
        return f"[{text}]({up}{target})"
    return text if target.startswith(("docs", "recipes", "benchmarks")) or "." in target else match[0]


def _body(path):
    """A page without the metadata that a data card begins with."""
    return re.sub(r"\A---\n.*?\n---\n", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
