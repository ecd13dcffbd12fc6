"""The house: imports run one way, and what travels with a checkpoint is on its own."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "modeling_optical": set(),
    "trainer": {"modeling_optical"},
    "hub_cards": {"modeling_optical"},
    "recipes": {"modeling_optical", "trainer", "hub_cards"},
}
TRAVELLING = (
    "configuration_optical",
    "modeling_optical",
    "multiple_choice",
    "precision",
    "processing_optical",
    "transport",
    "transport_newton",
    "transport_options",
    "transport_problems",
    "transport_proximal",
    "transport_relaxed",
    "transport_sinkhorn",
    "transport_solvers",
    "transport_triton",
    "late_interaction",
    "dense_layers",
    "backbones",
    "pipeline_optical",
    "pretrained",
    "text_encoding",
)


def imports(path: Path) -> list[tuple[int, str, bool]]:
    """(level, module, inside a try that catches ImportError) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.Try)
        and any(isinstance(h.type, ast.Name) and h.type.id == "ImportError" for h in block.handlers)
        for statement in block.body
        for node in ast.walk(statement)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, id(node) in guarded) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", id(node) in guarded))
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_between_the_folders_run_one_way(package):
    others = set(ALLOWED) - {package} - ALLOWED[package]
    for path in (ROOT / package).rglob("*.py"):
        for level, module, _ in imports(path):
            if level == 0:
                assert module.split(".")[0] not in others, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("name", TRAVELLING)
def test_what_travels_with_a_checkpoint_imports_only_torch_transformers_and_the_standard_library(name):
    for level, module, guarded in imports(ROOT / "modeling_optical" / f"{name}.py"):
        if level:
            assert (level, module) in {(1, other) for other in TRAVELLING}, module
        elif not guarded:
            assert module.split(".")[0] in {"torch", "transformers"} | set(sys.stdlib_module_names), module


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_files(path: Path, modules: dict[str, Path]) -> set[str]:
    """Modules of the house that a file imports, wherever the import stands. A package counts for those who name it alone."""
    me = module_of(path).split(".")
    package = me if path.name == "__init__.py" else me[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{name}.{alias.name}" if f"{name}.{alias.name}" in modules else name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in modules} - {".".join(me)}


def test_there_is_no_circle_between_files():
    modules = {module_of(path): path for package in ALLOWED for path in (ROOT / package).rglob("*.py")}
    # A package's own files do not import it, so that its `__init__` may gather them.
    graph = {name: imported_files(path, modules) for name, path in modules.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_help_answers_without_importing_torch():
    lines = ["import sys", "from recipes.cli import main", "try:", "  main(['--help'])", "except SystemExit:"]
    script = "\n".join([*lines, "  assert 'torch' not in sys.modules"])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "optical run recipes/quickstart/swahili.yaml" in done.stdout


def test_no_file_is_a_drawer():
    names = {path.stem for package in ALLOWED for path in (ROOT / package).rglob("*.py")}
    assert not names & {"utils", "helpers", "common", "misc"}


def test_no_room_is_a_pile():
    """A folder holds at most 14 files; more only where all are of one kind, or travel with a checkpoint."""
    allowed = {"modeling_optical": 22, "recipes/commands": 30}
    for package in ALLOWED:
        for folder in {path.parent for path in (ROOT / package).rglob("*.py")}:
            name = folder.relative_to(ROOT).as_posix()
            assert len(list(folder.glob("*.py"))) <= allowed.get(name, 14), name
