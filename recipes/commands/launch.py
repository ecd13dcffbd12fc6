"""A command on several processes, by accelerate's launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def launch(arguments: Sequence[str], processes: int) -> int:
    """Starts `optical ARGUMENTS` on several processes; returns the exit status.

    `--multi_gpu` is what makes the launcher start more than one process, on CPUs too: with `--cpu` it silently starts one.

    Raises:
        ValueError: if there are GPUs, but fewer than processes.
    """
    import torch

    environment = dict(os.environ)
    devices = torch.cuda.device_count()
    if devices == 0:
        threads = str(max((os.cpu_count() or 1) // processes, 1))
        environment |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": threads}
    elif processes > devices:
        raise ValueError(f"--num-processes {processes}: there are {devices} GPUs. Use at most {devices}.")
    script = Path(__file__).resolve().parents[1] / "command.py"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    command += ["--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"]
    return subprocess.run([*command, str(script), *arguments], env=environment, check=False).returncode


def process_rank() -> tuple[int, int, str]:
    """This process's number, how many there are, and its device."""
    import torch

    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if torch.cuda.is_available():
        return rank, processes, f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
    return rank, processes, "mps" if torch.backends.mps.is_available() else "cpu"
