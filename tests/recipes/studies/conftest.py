"""Smoke studies, run once for all tests that look at what they leave."""

from pathlib import Path

import pytest

from recipes.cli import main

STUDIES = {
    name: f"recipes/studies/{name}/study.yaml" for name in ("variance", "low_resource", "domain", "image_text", "adversarial")
}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Study to the folder of its smoke profile, run to the end."""
    folders = {}
    for name, file in STUDIES.items():
        folders[name] = tmp_path_factory.mktemp("studies") / name
        assert main(["study", file, "--profile", "smoke", "--output", str(folders[name])]) == 0
    return folders
