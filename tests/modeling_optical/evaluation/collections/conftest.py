"""Files of published layouts, made on the spot."""

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Write = Callable[[Mapping[str, str | list]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files below a folder: a list becomes a JSON object a line, a name that ends in `.gz` is packed."""

    def written(files: Mapping[str, str | list]) -> Path:
        root = tmp_path / "collection"
        for name, content in files.items():
            text = content if isinstance(content, str) else "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in content)
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return root

    return written
