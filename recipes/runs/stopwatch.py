"""How long the parts of a run take, over all its starts."""

from __future__ import annotations

import time
from pathlib import Path

from modeling_optical.files.json_files import read_json, write_json

TOTAL = "total"


class Stopwatch:
    """Seconds of the parts of a run and of the whole, kept in a file, so that a start adds to those before it.

    What a killed start did after it last kept the times is done again, and does not count.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._file: Path | None = None
        self._before: dict[str, float] = {}
        self._own: dict[str, float] = {}

    def go_on(self, file: Path) -> None:
        """Adds to the times that earlier starts kept in the file, if there are any; from now on, they are kept there."""
        self._file = file
        self._before = read_json(file) if file.is_file() else {}

    def keep(self, part: str, began: float) -> None:
        """Keeps how long a part has taken since `began` (`time.monotonic()`), and the whole."""
        now = time.monotonic()
        self._own |= {part: now - began, TOTAL: now - self._began}
        if self._file is not None:
            write_json(self._file, self.seconds)

    def before(self, part: str) -> float:
        """Seconds that earlier starts spent on a part."""
        return self._before.get(part, 0.0)

    @property
    def seconds(self) -> dict[str, float]:
        """Part to its seconds; `total` for all."""
        whole = self._own | {TOTAL: time.monotonic() - self._began}
        return {part: self._before.get(part, 0.0) + whole.get(part, 0.0) for part in {**self._before, **whole}}
