"""`optical doctor`, as a separate process in a separate folder."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from modeling_optical.precision import Precision, fastest_device
from recipes.checked_yaml import PACKAGE_FOLDER
from recipes.cli import main
from recipes.speed import QUICKSTART, Speed

ROOT = PACKAGE_FOLDER.parent
EXAMINE = "from recipes.commands.doctor import examine; raise SystemExit(examine())"


def examine(folder: Path, *flags: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    # Behind the working folder, as an installed package is.
    environment["PYTHONPATH"] = os.pathsep.join(["", str(ROOT)])
    command = [sys.executable, *flags, "-c", EXAMINE]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess:
    return examine(tmp_path_factory.mktemp("empty"))


def test_an_installation_that_is_whole_is_well(healthy: subprocess.CompletedProcess):
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert healthy.stdout.rstrip().endswith("All that is needed is there.")
    assert "missing" not in healthy.stdout
    assert "shadowed" not in healthy.stdout


@pytest.mark.parametrize("package", ["torch", "transformers", "datasets", "POT", "ir_measures", "PyYAML"])
def test_what_is_needed_is_listed_with_its_version(healthy: subprocess.CompletedProcess, package: str):
    (line,) = [line for line in healthy.stdout.splitlines() if line.split()[:1] == [package]]
    assert line.split() == [package, metadata.version(package)]


def test_every_requirement_of_the_package_is_looked_at(healthy: subprocess.CompletedProcess):
    needed, _, _ = healthy.stdout.partition("\nOptional")
    listed = {line.split()[0].lower().replace("_", "-") for line in needed.splitlines() if line.startswith("  ")}
    names = set()
    for requirement in metadata.requires("modeling-optical"):
        if "extra ==" not in requirement:
            names.add(requirement.partition(">")[0].strip().lower().replace("_", "-"))
    assert names - listed == set()


def test_what_is_missing_is_named_with_the_command_that_installs_it(tmp_path: Path):
    # -S leaves out all installed packages.
    found = examine(tmp_path, "-S")
    assert found.returncode == 1, found.stderr
    for package in ("torch", "transformers", "POT", "PyYAML"):
        assert f"{package} is missing. Install it: pip install {package}" in found.stdout
    assert 'not installed; for pictures of alignments: pip install "modeling-optical[plot]"' in found.stdout
    assert "is there." not in found.stdout


@pytest.mark.parametrize("name", ["trainer", "modeling_optical"])
def test_a_folder_that_takes_the_place_of_ours_is_found_and_named(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    found = examine(tmp_path)
    assert found.returncode == 1, found.stderr
    assert f"`import {name}` finds {tmp_path / name}, not ours ({ROOT / name})" in found.stdout
    assert "uninstall it or start from another folder" in found.stdout


def test_a_module_that_takes_the_place_of_ours_is_found(tmp_path: Path):
    (tmp_path / "trainer.py").write_text("")
    found = examine(tmp_path)
    assert found.returncode == 1, found.stderr
    assert "`import trainer` finds" in found.stdout


def test_a_working_folder_with_the_package_itself_is_no_shadow():
    found = examine(ROOT)
    assert "shadowed" not in found.stdout
    assert found.returncode == 0, found.stdout


def test_precision_and_its_reason_are_told(healthy: subprocess.CompletedProcess):
    assert f"precision auto on {fastest_device()}: fp32 (OPTICAL_PRECISION=fp32)" in healthy.stdout


def test_the_speed_of_this_machine_is_measured_with_the_time_that_the_quickstart_takes(capsys):
    assert main(["doctor", "--seconds", "0.01"]) == 0
    found = re.search(r"encodes ([\d,]+) and trains on ([\d,]+) short texts a second", capsys.readouterr().out)
    assert found
    speed = Speed(Precision("fp32", ""), "cpu", *(float(number.replace(",", "")) for number in found.groups()))
    assert speed.encoded > speed.trained > 0
    assert QUICKSTART.seconds(speed) > QUICKSTART.seconds(replace(speed, trained=2 * speed.trained)) > QUICKSTART.other


def test_a_nearly_full_disk_is_a_caution_and_the_installation_is_still_whole(monkeypatch, capsys):
    monkeypatch.setattr("recipes.commands.doctor.shutil.disk_usage", lambda _: SimpleNamespace(free=1.3e9))
    assert main(["doctor", "--seconds", "0"]) == 0
    *_, caution, verdict = capsys.readouterr().out.splitlines()
    assert caution.startswith("Only 1.3 GB of disk are free here")
    assert verdict == "All that is needed is there."


def test_cores_and_free_space_are_told(healthy: subprocess.CompletedProcess):
    assert f"{os.cpu_count()} CPU cores" in healthy.stdout
    assert "GB free in this folder" in healthy.stdout
