"""One writer a folder."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from modeling_optical.files.lock import locked

ROOT = Path(__file__).resolve().parents[3]
_ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
_COUNTS = """
import sys, time
from modeling_optical.files.lock import locked
place = sys.argv[1] + "/count"
for _ in range(40):
    with locked(sys.argv[1]), locked(sys.argv[1]):
        number = int(open(place).read())
        time.sleep(0.001)
        open(place, "w").write(str(number + 1))
"""
_HOLDS = """
import os, sys, time
from modeling_optical.files.lock import locked
with locked(sys.argv[1]):
    if len(sys.argv) > 2 and os.fork() == 0:
        time.sleep(30)
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path, *words: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(folder), *words], env=_ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_processes_take_turns_and_leave_nothing_behind(tmp_path: Path):
    (tmp_path / "count").write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", _COUNTS, str(tmp_path)], env=_ENVIRONMENT) for _ in range(3)]
    assert [worker.wait(120) for worker in workers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "120"
    assert os.listdir(tmp_path) == ["count"]


def test_threads_take_turns_and_a_thread_may_lock_again(tmp_path: Path):
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with locked(tmp_path), locked(tmp_path / "." / ""):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1]
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("words", [(), ("with a child that lives on",)])
def test_a_killed_holder_blocks_nobody(tmp_path: Path, words: tuple[str, ...]):
    process = holder(tmp_path, *words)
    with pytest.raises(TimeoutError, match=rf"in use: process {process.pid} is writing there"), locked(tmp_path, timeout=0):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    with locked(tmp_path, timeout=1):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert os.listdir(tmp_path) == []


def test_who_waits_is_told_for_whom_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    process = holder(tmp_path)
    said: list[str] = []
    monkeypatch.setattr("modeling_optical.files.lock.logger.warning", said.append)
    try:
        started = time.monotonic()
        with pytest.raises(TimeoutError, match="did not end in"), locked(tmp_path, timeout=1.3):
            pass
        assert time.monotonic() - started < 5
        assert len(said) == 1
        assert f"waiting for process {process.pid}" in said[0]
    finally:
        process.kill()


def test_a_link_in_the_place_of_the_lock_is_refused_and_a_failing_block_frees_it(tmp_path: Path):
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError("x")
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="lock"), locked(tmp_path, timeout=0):
        pass
    assert (tmp_path / "mine").read_text() == "mine"
