"""`optical completion` and `optical --version`."""

import shutil
import subprocess
from importlib import metadata

import pytest

from recipes.cli import _parser, main


@pytest.fixture
def script(capsys) -> str:
    assert main(["completion", "bash"]) == 0
    return capsys.readouterr().out


def completed(script: str, *words: str) -> set[str]:
    """What bash offers for the last of the words."""
    asked = f"COMP_WORDS=({' '.join(map(repr, words))}); COMP_CWORD={len(words) - 1}; _optical; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_options_choices_and_files(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "corpus.jsonl").write_text("")
    commands = _parser()._subparsers._group_actions[0].choices
    assert completed(script, "optical", "") == set(commands)
    assert completed(script, "optical", "se") == {"search", "serve"}
    assert completed(script, "optical", "index", "--engine", "") == {"exact", "lancedb", "qdrant", "two-stage"}
    assert completed(script, "optical", "index", "cor") == {"corpus.jsonl"}
    for command, parser in commands.items():
        assert completed(script, "optical", command, "--") == {o for o in parser._option_string_actions if o.startswith("--")}


def test_the_version_is_told_with_those_of_torch_and_transformers(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    for name in ("modeling-optical", "torch", "transformers"):
        assert metadata.version(name) in out
