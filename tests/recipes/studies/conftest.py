"""Smoke studies, run once for all tests that look at what they leave."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from recipes.cli import main
from recipes.studies.made_data import made_data
from recipes.studies.study import load_study

STUDIES = {
    name: f"recipes/studies/{name}/study.yaml" for name in ("variance", "low_resource", "domain", "image_text", "adversarial")
}


def make_data(file: str, output: Path, overrides: Sequence[str] = ()) -> None:
    """Makes the data of a smoke study, and runs nothing."""
    for made in made_data(load_study(file, "smoke", overrides, str(output))):
        made.make()


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
