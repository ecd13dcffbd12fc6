"""Numbers of pairs read and dropped, and the reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_PLACES_KEPT = 5
_TEXTS_KEPT = 3
_SHOWN_CHARACTERS = 80


@dataclass
class BitextReport:
    """Numbers of pairs read and dropped, and the reasons.

    Attributes:
        read, kept: pairs per source.
        dropped: per source, pairs per reason.
        examples: per reason, the first places (file and line).
        texts: per reason, the first pairs themselves, shortened, where there was a pair.
        notes: what could not be checked.
    """

    read: Counter = field(default_factory=Counter)
    kept: Counter = field(default_factory=Counter)
    dropped: dict[str, Counter] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    texts: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def drop(self, label: str, reason: str, place: str, pair: tuple[str, ...] | None = None) -> None:
        """Counts a dropped pair."""
        self.dropped.setdefault(label, Counter())[reason] += 1
        places = self.examples.setdefault(reason, [])
        if len(places) < _PLACES_KEPT:
            places.append(place)
        texts = self.texts.setdefault(reason, [])
        if pair is not None and len(texts) < _TEXTS_KEPT:
            texts.append((_shown(pair[0]), _shown(pair[1])))

    def note(self, text: str) -> None:
        """Records once what could not be checked."""
        if text not in self.notes:
            self.notes.append(text)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "read": dict(self.read),
            "kept": dict(self.kept),
            "dropped": {label: dict(reasons) for label, reasons in self.dropped.items()},
            "examples": self.examples,
            "texts": {reason: [list(pair) for pair in pairs] for reason, pairs in self.texts.items() if pairs},
            "notes": self.notes,
        }

    def __str__(self) -> str:
        lines = []
        for label, count in self.read.items():
            reasons: Mapping[str, int] = self.dropped.get(label, {})
            why = ", ".join(f"{reason} {number:,}" for reason, number in sorted(reasons.items()))
            lines.append(f"{label}: {count:,} pairs read, {self.kept[label]:,} kept" + (f" (dropped: {why})" if why else ""))
        for reason, places in self.examples.items():
            lines.append(f"  {reason}, for instance: {'; '.join(places)}")
            lines += [f"    {source} | {target}" for source, target in self.texts[reason]]
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


def _shown(text: str) -> str:
    # Half a surrogate pair, which JSON can hold, cannot be printed.
    text = text[:_SHOWN_CHARACTERS] + ("…" if len(text) > _SHOWN_CHARACTERS else "")
    return text.encode("utf-8", "replace").decode("utf-8")
