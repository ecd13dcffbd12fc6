"""TMX, the exchange format of translation memories, read unit by unit.

Source: TMX 1.4b specification (LISA OSCAR).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from .files import BitextFile, BoundedRecords

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
# Inline elements whose content is the markup of the document that was translated, not text (TMX 1.4b, section 5).
_MARKUP = frozenset({"bpt", "ept", "ph", "it", "ut"})
# Inline elements may be in each other; no tool writes more than a few levels.
_DEEPEST = 100
# Languages that a message names.
_MOST_SHOWN = 20


def read_tmx(file: BitextFile, source: str, target: str) -> Iterator[tuple[str, dict[str, Any] | None, str | None]]:
    """Yields (place, record, problem) for every translation unit; a record has the keys `source` and `target`.

    A language matches if it is the one asked for or a narrower one: `sw` takes `sw`, `SW` and `sw-KE`, `sw-KE` only itself. Of
    several segments that match, the exact one counts, else the first.

    Raises:
        ValueError: for XML that is not well formed (with its line); for a file that declares entities (TMX needs none, and they
            can fill the memory), nests elements without end, or has a unit that is longer than memory allows.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    number = 0
    root = ""
    seen: dict[str, bool] = {}  # language to whether any variant in it has a text
    matched = {source: False, target: False}
    parents: list[Element] = []
    with file.open() as stream:
        records = BoundedRecords(stream, str(file))
        try:
            for event, element in iterparse(records, events=("start", "end")):
                if event == "start":
                    root = root or _name(element)
                    parents.append(element)
                    if len(parents) > _DEEPEST:
                        raise ValueError(f"{file}: elements are nested more than {_DEEPEST} deep after {number} units.")
                    continue
                parents.pop()
                if _name(element) != "tu":
                    continue
                number += 1
                records.next_record()
                texts = _segments(element)
                for code in [code for code in texts if code in seen or len(seen) < _MOST_SHOWN]:
                    seen[code] = seen.get(code, False) or texts[code] is not None
                chosen = {code: _choose(texts, code) for code in (source, target)}
                missing = [code for code, text in chosen.items() if text is None]
                matched = {code: matched[code] or chosen[code] is not None for code in chosen}
                place = f"{file}:unit {number}"
                if missing:
                    yield place, None, f"no segment in {missing[0]!r}"
                else:
                    yield place, {"source": chosen[source], "target": chosen[target]}, None
                if parents:
                    parents[-1].clear()  # the units that are read would pile up in the body
        except DefusedXmlException as error:
            raise ValueError(f"{file} declares entities, which is refused: they can fill the memory ({error}).") from None
        except LookupError as error:  # an encoding that Python does not have
            raise ValueError(f"{file}: {error}.") from None
        except ParseError as error:
            raise ValueError(f"{file}:{error.position[0]}: not well-formed XML after {number} units ({error}).") from None
    if not number:
        raise ValueError(f"{file} has no translation unit (<tu>): its outermost element is <{root}>, so it may not be TMX.")
    for code, found in matched.items():
        if not found:
            there = ", ".join(code or "(no code)" for code in seen) or "none"
            if _matching(seen, code):
                raise ValueError(f"{file}: the variants in {code!r} have no <seg> with a text. Languages there: {there}.")
            raise ValueError(f"{file} has no segment in {code!r}. Languages there: {there}.")


def _name(element: Element) -> str:
    """The name of an element, whatever its namespace."""
    return str(element.tag).rpartition("}")[2].lower()


def _segments(unit: Element) -> dict[str, str | None]:
    """Language to text of the variants; None for a variant without a segment."""
    texts: dict[str, str | None] = {}
    for variant in unit.iter():
        if _name(variant) != "tuv":
            continue
        code = variant.get(_LANGUAGE) or variant.get("lang") or ""
        segment = next((inner for inner in variant if _name(inner) == "seg"), None)
        if texts.get(code) is None:
            texts[code] = None if segment is None else _text(segment)
    return texts


def _text(element: Element) -> str:
    parts = [element.text or ""]
    for inner in element:
        if _name(inner) not in _MARKUP:
            parts.append(_text(inner))
        parts.append(inner.tail or "")
    return "".join(parts)


def _choose(texts: Mapping[str, str | None], wanted: str) -> str | None:
    return next((texts[code] for code in _matching(texts, wanted) if texts[code] is not None), None)


def _matching(codes: Iterable[str], wanted: str) -> list[str]:
    """The codes that are the language or a narrower one, the exact ones first."""
    wanted = wanted.casefold().replace("_", "-")
    plain = {code: code.casefold().replace("_", "-") for code in codes}
    return [c for c, p in plain.items() if p == wanted] + [c for c, p in plain.items() if p.startswith(wanted + "-")]
