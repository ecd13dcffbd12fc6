"""What is installed with the package: explained in the docs, under permissive licences, with lower bounds that were tried."""

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PERMISSIVE = re.compile(
    r"apache|\bmit\b|bsd|\bisc\b|iscl|python software foundation|psf|cnri|zlib|cc0|unlicense|public domain|bsl-1\.0|hpnd",
    re.IGNORECASE,
)
# MPL-2.0 binds who changes their files, and they are used as they are. See docs/dependencies.md.
EXCEPTIONS = {"tqdm", "certifi", "hypothesis", "pathspec"}
COPYLEFT = re.compile(r"\bA?L?GPL|\bEUPL|\bMPL|Mozilla|General Public|proprietary", re.IGNORECASE)


def name_of(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> dict[str, list[Requirement]]:
    """The requirements of setup.py: `""` for what is always installed, and each extra."""
    tree = ast.parse((ROOT / "setup.py").read_text())
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXTRAS":
            found |= ast.literal_eval(node.value)
        if isinstance(node, ast.keyword) and node.arg == "install_requires":
            found[""] = ast.literal_eval(node.value)
    return {extra: [Requirement(one) for one in listed] for extra, listed in found.items()}


def needed(names: list[str]) -> dict[str, importlib.metadata.Distribution]:
    """These packages and all that they need, as far as they are installed."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [name_of(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        asked = [Requirement(one) for one in found[name].requires or []]
        waiting += [name_of(one.name) for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def licence(distribution: importlib.metadata.Distribution) -> str:
    """What a package says of itself: the expression, the classifiers, else the first line of its licence field."""
    said = distribution.metadata
    classifiers = [one for one in said.get_all("Classifier") or [] if one.startswith("License ::")]
    return said.get("License-Expression") or "; ".join(classifiers) or (said.get("License") or "").strip().split("\n")[0]


def test_every_dependency_is_explained_and_nothing_else():
    rows = re.findall(r"^\| ([\w.-]+) \| (.*) \|$", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE)
    explained = {name_of(name) for name, _ in rows} - {"package"}
    asked = {name_of(one.name) for listed in requirements().values() for one in listed}
    assert explained == asked
    assert all(PERMISSIVE.search(cells.rpartition("|")[2]) or name in EXCEPTIONS for name, cells in rows if name != "package")


def test_licences_are_permissive():
    names = [one.name for listed in requirements().values() for one in listed]
    strange = {}
    for name, distribution in needed(names).items():
        said = licence(distribution)
        bound = COPYLEFT.search(said) and " OR " not in said
        if name not in EXCEPTIONS and (bound or not PERMISSIVE.search(said)):
            strange[name] = said
    assert not strange


def test_the_oldest_versions_that_are_tried_are_the_lower_bounds():
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    tried = {name_of(name): version for name, _, version in (line.partition("==") for line in lines if "==" in line)}
    of_the_site = {one.name for one in requirements()["docs"]}
    for one in [*requirements()[""], *requirements()["test"]]:
        for bound in [each.version for each in one.specifier if each.operator == ">="]:
            # The oldest torch there is a build of for CPUs is not to be had from every index; see docs/versions.md.
            if one.name != "torch" and one.name not in of_the_site:
                assert tried.get(name_of(one.name), "").startswith(bound), one


@pytest.mark.parametrize("extra", sorted(extra for extra in requirements() if extra not in ("", "test", "dev")))
def test_what_a_user_installs_has_a_lower_bound(extra):
    assert all(one.specifier for one in requirements()[extra])
