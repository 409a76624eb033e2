"""The environment of a measurement: code, versions and hardware, and the resources that this process may use."""

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

# Paths that affect results. Changes elsewhere, for example in reports, do not mark the code as changed.
_CODE = ("benchmarks", "variants", "conf", "pyproject.toml", "constraints.txt")


def describe(device: torch.device) -> dict[str, Any]:
    """The ``environment`` of a record, without the digest of the data."""
    commit, dirty = _revision()
    return {
        "commit": commit,
        "dirty": dirty,
        "python": platform.python_version(),
        **numerics(device),
    }


def numerics(device: torch.device) -> dict[str, Any]:
    """What affects the rounding of results, besides code, configuration and data."""
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
    }


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Use ``count`` threads in torch and NumPy inside the block. The number of threads affects the rounding of sums."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(count)
        # This also limits NumPy and scikit-learn. On two cores, two workers fitted the mixture sampler in 7.6 s with
        # two threads each, and in 0.7 s with one thread each.
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def usable_cores() -> int:
    """The number of cores that this process may use: those of the machine, limited by an affinity mask (taskset,
    cpuset) and by the CPU quota of its control group (container)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *(int(quota) for quota in _quotas(_GROUPS, _OWN_GROUP))]))


def load_per_core() -> float | None:
    """The load average of the last minute (processes that computed or waited for the disk) divided by the number of
    cores of the machine; None if the system does not provide it."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None


def usable_memory() -> int | None:
    """Bytes of memory that this process may use: those of the machine, or the limit of its control group if that is
    lower. None if the system does not provide it."""
    try:
        found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    except (AttributeError, ValueError, OSError):
        found = []
    for folder in _group_folders(_GROUPS, _OWN_GROUP, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max" means no limit
                found.append(int((folder / name).read_text()))
    return min(found, default=None)


_GROUPS, _OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """The CPU quotas of the process's control groups, in cores, of version 2 (cpu.max) or 1 (cpu.cfs_quota_us)."""
    for folder in _group_folders(groups, own, "cpu"):
        with contextlib.suppress(OSError, ValueError):  # "max 100000" means no limit
            quota, period = (folder / "cpu.max").read_text().split()
            yield int(quota) / int(period)
        with contextlib.suppress(OSError, ValueError):
            limit = int((folder / "cpu.cfs_quota_us").read_text())
            if limit > 0:  # -1 means no limit
                yield limit / int((folder / "cpu.cfs_period_us").read_text())


def _group_folders(groups: Path, own: Path, controller: str) -> Iterator[Path]:
    """The folders of the process's control group and of its ancestors, each of which may have its own limit. Inside a
    container, the outermost folder is that of the container."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # In version 2, the field of the controllers is empty. A path that begins with /.. is outside the visible tree.
        if not controllers or controller in controllers.split(","):
            top = groups if not controllers else groups / controller
            inner = Path(*(part for part in Path(path).parts if part not in ("/", "..")))
            yield from (top / part for part in (inner, *inner.parents))


@cache
def _revision() -> tuple[str, bool]:
    """The commit of the checkout from which this code runs, and whether the code has uncommitted changes."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    try:
        # An installed copy of the suite may be inside another repository.
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
    """Reset the peak memory, so that a cell is not charged with the peak of an earlier cell in the same process."""
    if device.type == "cuda":
        # Resetting fails if CUDA is not initialised, and this process may not have used the GPU yet.
        torch.cuda.init()
        torch.cuda.reset_peak_memory_stats(device)
    # On Linux, writing 5 resets the peak resident memory of the process to its current value.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: torch.device) -> int | None:
    """Peak memory in bytes since the reset: allocated by torch on a GPU, or resident memory of the process on a CPU.
    None if the system does not provide it."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def choose_device(name: str) -> torch.device:
    """The device ``name``. "auto" is the default GPU if there is one, otherwise the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)
