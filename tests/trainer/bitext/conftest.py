"""A folder for what Hypothesis makes."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all examples of a test: they overwrite one another's files."""
    return tmp_path_factory.mktemp("fuzz")
