"""Smoke studies, run once for all tests that look at what they leave."""

from pathlib import Path

import pytest

from recipes.cli import main

STUDIES = {
    name: f"recipes/studies/{name}/study.yaml" for name in ("variance", "low_resource", "domain", "image_text", "adversarial")
}


class FinishedStudies(dict[str, Path]):
    """Study to the folder of its smoke profile, run to the end when it is first asked for."""

    def __init__(self, place: pytest.TempPathFactory):
        super().__init__()
        self.place = place

    def __missing__(self, name: str) -> Path:
        folder = self.place.mktemp("studies") / name
        assert main(["study", STUDIES[name], "--profile", "smoke", "--output", str(folder)]) == 0
        self[name] = folder
        return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudies:
    """The studies that ship, finished."""
    return FinishedStudies(tmp_path_factory)
