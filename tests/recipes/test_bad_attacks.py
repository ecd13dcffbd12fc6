"""What others made costs bounded memory and time, whatever it holds: every attack runs in a process with limits of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

resource = pytest.importorskip("resource", reason="this system has no limits for processes")
TESTS = Path(__file__).resolve().parents[1]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": os.pathsep.join(map(str, (TESTS.parent, TESTS, TESTS / "invariants"))),
}
MEMORY = 6 * 2**30  # address space; PyTorch alone reserves two
SECONDS_OF_ALL, SECONDS_OF_ONE = 120, 4


def limit(seconds: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


@pytest.mark.parametrize("kind", ["checkpoint", "manifest", "yaml", "archive"])
def test_whatever_others_made_is_read_or_refused_within_limits_of_memory_and_time(kind: str, tmp_path: Path):
    examples = max(settings().max_examples // 5, 1)
    seconds = SECONDS_OF_ALL + SECONDS_OF_ONE * examples
    script = Path(__file__).with_name("attacks.py")
    done = subprocess.run(
        [sys.executable, str(script), kind, str(examples), str(tmp_path)],
        capture_output=True, text=True, preexec_fn=lambda: limit(seconds), env=os.environ | ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
