"""Values in Markdown: whatever a name, a licence or a data set's label holds, it stays one piece of text in its place."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import jinja2

from modeling_optical.processing_optical import replace_lone_surrogates

_SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])")
_BLOCK = re.compile(r"^(#+|[-+=]+|\d{1,9}(?=[.)]))(?=[.)]?( |$))")  # what begins a block where a value begins a line
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


class Markdown(str):
    """Text that is Markdown already; every other value is escaped where a template prints it."""

    __slots__ = ()


def one_line(value: Any) -> str:
    """A value on one line, without control characters."""
    return " ".join(_CONTROL.sub(" ", replace_lone_surrogates(str(value))).split())


def plain(value: Any) -> Markdown:
    """A value as text: no heading, no link, no HTML, no cell of a table."""
    if isinstance(value, Markdown):
        return value
    text = _SPECIAL.sub(r"\\\g<0>", escape(one_line(value), quote=False)).replace("://", "&#58;//")
    begins = _BLOCK.match(text)
    if begins is not None:
        text = f"{begins[0]}\\{text[begins.end() :]}" if begins[0].isdigit() else f"\\{text}"
    return Markdown(text)


def code(value: Any) -> Markdown:
    """A value as a code span, which may be in a table, too."""
    text = one_line(value)
    fence = "`" * (_longest_fence(text) + 1)
    space = " " if not text or text[0] == "`" or text[-1] == "`" else ""
    return Markdown(f"{fence}{space}{text}{space}{fence}".replace("|", "\\|"))


def fenced(text: str, language: str) -> Markdown:
    """A block of code; a fence inside it does not end it, and a line that looks like a section's mark is indented."""
    fence = "`" * max(_longest_fence(text) + 1, 3)
    return Markdown(f"{fence}{language}\n{re.sub('^(?=<!--)', ' ', text.rstrip(), flags=re.MULTILINE)}\n{fence}")


def literal(value: Any) -> Markdown:
    """A value as a text in Python code."""
    return Markdown(json.dumps(one_line(value), ensure_ascii=False))


def table(header: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Markdown:
    """A table; cells are escaped."""
    first, *lines = ["| " + " | ".join(map(plain, line)) + " |" for line in (header, *rows)]
    return Markdown("\n".join([first, "|---" * len(header) + "|", *lines]))


def render(template: Path, **values: Any) -> str:
    """A template; every value is escaped as `plain` does, unless it is `Markdown` or goes through `| code` or `| literal`."""
    environment = jinja2.Environment(finalize=plain, keep_trailing_newline=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"code": code, "literal": literal}
    return environment.from_string(template.read_text(encoding="utf-8")).render(**values)


def _longest_fence(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
