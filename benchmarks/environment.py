"""What a number was measured on: code, versions, hardware."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

# Only these affect a result; a report or a note that is being written does not make the code another one.
_CODE = ("benchmarks", "variants", "conf", "pyproject.toml", "constraints.txt")


def describe(device: torch.device) -> dict[str, Any]:
    """The record's ``environment``, without the data's digest."""
    commit, dirty = _revision()
    return {
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        **numerics(device),
    }


def numerics(device: torch.device) -> dict[str, Any]:
    """What the last digits of a number follow, besides code, configuration and data."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
    }


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute on so many threads while the block runs, torch and NumPy alike: sums of another number of parts end in
    other digits."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        # NumPy's and scikit-learn's too: on two cores, two workers of two threads each fitted the mixture sampler in
        # 7.6 s, of one in 0.7 s.
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """How many cores this process may use: those of the machine, less what an affinity mask (taskset, a cpuset) and a
    quota of its control group (a container) take away."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _quotas(_GROUPS, _OWN_GROUP))]))


def load_per_core() -> float | None:
    """How many processes computed or waited for the disk in the last minute, a core of the machine; None where the
    system does not say."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None


def usable_memory() -> int | None:
    """Bytes of memory that this process may use: the machine's, or less where its control group has a limit; None where
    the system does not say."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        found = []
    for folder in _group_folders(_GROUPS, _OWN_GROUP, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" is no number: no limit
                found.append(int((folder / name).read_text()))
    return min(found, default=None)


_GROUPS, _OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """The limits, in cores, of the process's control groups, of version 2 (cpu.max) or 1 (cpu.cfs_quota_us)."""
    for folder in _group_folders(groups, own, "cpu"):
        with contextlib.suppress(OSError, ValueError):  # "max 100000": no limit
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with contextlib.suppress(OSError, ValueError):
            limit = int((folder / "cpu.cfs_quota_us").read_text())
            if limit > 0:  # -1: no limit
                yield limit / int((folder / "cpu.cfs_period_us").read_text())


def _group_folders(groups: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folders of the process's control group and those above it: each may have a limit of its own. Inside a
    container the outermost one is the container's."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # Version 2 names no controllers; a path that begins with /.. lies outside of what can be seen here.
        if not controllers or controller in controllers.split(","):
            top = groups if not controllers else groups / controller
            inner = Path(*(part for part in Path(path).parts if part not in ("/", "..")))
            yield from (top / part for part in (inner, *inner.parents))


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
        # Nothing may have used the GPU in this process yet, which resetting takes for granted.
        torch.cuda.init()
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
