"""What a number was measured on: code, versions, hardware."""

from __future__ import annotations

import contextlib
import platform
import re
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


def reset_peak_memory(device: torch.device) -> None:
    """Start counting the peak anew, so that a cell after another in one process is not charged with the first's."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # Linux: 5 sets the process's high-water mark back to what it holds now.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Bytes: the most that torch held on the GPU since the reset, or that the process held on a CPU; None where the
    system does not say."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def choose_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first GPU if there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
