"""TMX, the exchange format of translation memories, read unit by unit.

Source: TMX 1.4b specification (LISA OSCAR).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from .files import BitextFile, BoundedRecords

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
# Inline elements whose content is the markup of the document that was translated, not text (TMX 1.4b, section 5).
_MARKUP = frozenset({"bpt", "ept", "ph", "it", "ut"})
# Inline elements may stand in each other; no tool writes more than a few levels.
_DEEPEST = 100


def read_tmx(file: BitextFile, source: str, target: str) -> Iterator[tuple[str, dict[str, Any] | None, str | None]]:
    """Yields (place, record, problem) for every translation unit; a record has the keys `source` and `target`.

    A language matches if it is the one asked for or a narrower one: `sw` takes `sw`, `SW` and `sw-KE`, `sw-KE` only itself. Of
    several segments that match, the exact one counts, else the first.

    Raises:
        ValueError: for XML that is not well formed (with its line), and for a file that declares entities, which TMX does not
            need and which can be made to fill the memory, nests elements without end, or has a unit that is longer than memory
            allows.
    """
    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import iterparse

    number = 0
    seen: dict[str, None] = {}
    matched = {source: False, target: False}
    parents: list[Element] = []
    with file.open() as stream:
        records = BoundedRecords(stream, str(file))
        try:
            for event, element in iterparse(records, events=("start", "end")):
                if event == "start":
                    parents.append(element)
                    if len(parents) > _DEEPEST:
                        raise ValueError(f"{file}: elements are nested more than {_DEEPEST} deep after {number} units.")
                    continue
                parents.pop()
                if element.tag != "tu":
                    continue
                number += 1
                records.next_record()
                texts = _segments(element)
                seen |= dict.fromkeys(list(texts)[: 20 - len(seen)])
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
    for code, found in matched.items():
        if not found:
            raise ValueError(f"{file} has no segment in {code!r}. Languages there: {', '.join(seen) or 'none'}.")


def _segments(unit: Element) -> dict[str, str]:
    texts: dict[str, str] = {}
    for variant in unit.iter("tuv"):
        code = variant.get(_LANGUAGE) or variant.get("lang") or ""
        segment = variant.find("seg")
        if segment is not None:
            texts.setdefault(code, _text(segment))
    return texts


def _text(element: Element) -> str:
    parts = [element.text or ""]
    for inner in element:
        if inner.tag not in _MARKUP:
            parts.append(_text(inner))
        parts.append(inner.tail or "")
    return "".join(parts)


def _choose(texts: dict[str, str], wanted: str) -> str | None:
    wanted = wanted.casefold().replace("_", "-")
    codes = {code: code.casefold().replace("_", "-") for code in texts}
    exact = [code for code, plain in codes.items() if plain == wanted]
    narrower = [code for code, plain in codes.items() if plain.startswith(wanted + "-")]
    return next((texts[code] for code in [*exact, *narrower]), None)
