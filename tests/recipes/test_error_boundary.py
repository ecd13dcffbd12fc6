"""No exception, of whatever library, reaches the user as a stack trace."""

import csv
import os
import struct
import subprocess
import sys
import zipfile
from xml.etree.ElementTree import ParseError

import pytest
import yaml
from datasets.exceptions import DatasetGenerationError
from safetensors import SafetensorError
from tokenizers import Tokenizer

from recipes.cli import main
from recipes.commands import doctor


class PanicException(BaseException):
    """As pyo3 raises for a panic in Rust."""


def of_tokenizers() -> Exception:
    try:
        Tokenizer.from_str("{")
    except Exception as error:  # a plain Exception
        return error
    raise AssertionError


ERRORS = [
    of_tokenizers(), SafetensorError("HeaderTooLarge"), zipfile.BadZipFile("not a zip"), struct.error("unpack"),
    csv.Error("line"), yaml.YAMLError("tab"), ParseError("no element"), DatasetGenerationError("rows"),
    subprocess.CalledProcessError(25, ["perl"]), EOFError("short"), MemoryError(), RecursionError("deep"), IndexError("index"),
    AttributeError("x"), AssertionError(), StopIteration(), NotImplementedError("x"), SyntaxError("x"), LookupError("encoding"),
    UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), BufferError("x"), ExceptionGroup("several", [ValueError("one")]),
    Warning("as an error"), PanicException("called unwrap"), Exception(),
]  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_exception_is_one_message_and_status_2(error, monkeypatch, capsys):
    def fails(*_: object) -> int:
        raise error

    monkeypatch.setattr(doctor, "examine", fails)
    assert main(["doctor"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("optical: ")
    assert "Traceback" not in said
    assert len(said.splitlines()[0]) > len("optical: ")
    with pytest.raises(type(error)):
        main(["--debug", "doctor"])


def test_the_exit_of_a_library_stays_an_exit(monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda *_: sys.exit(7))
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 7


def test_a_reader_that_ends_early_ends_the_command_in_silence():
    script = "import sys; from recipes.commands import doctor; doctor.examine = lambda *_: print('x' * 10**6) or 0\n"
    script += "from recipes.cli import main; sys.exit(main(['doctor']))"
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run([sys.executable, "-c", script], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (141, "")
