"""What a number was measured on: code, versions, hardware."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

# Only these affect a result; a report or a note that is being written does not make the code another one.
_CODE = ("benchmarks", "variants", "conf", "pyproject.toml", "constraints.txt")


def describe(device: torch.device) -> dict[str, Any]:
    """The record's ``environment``, without the data's digest."""
    commit, dirty = _revision()
    return {
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
    }


@cache
def _revision() -> tuple[str, bool]:
    """The commit of the checkout that this code runs from, and whether its code differs from it."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository.
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return "unknown", False
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", *_CODE))
    except (OSError, subprocess.SubprocessError):
        return "unknown", False


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
