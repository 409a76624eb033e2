"""What a process may use: the machine, within the limits of its affinity mask and control group."""

import os

import pytest
import torch

from benchmarks import environment
from benchmarks.environment import threads, usable_cores, usable_memory
from benchmarks.sweep.workers import MEMORY_A_JOB, default_jobs, threads_a_job

CPU = torch.device("cpu")


def grouped(tmp_path, monkeypatch, own, files):
    """A process whose control groups are ``own``, with limits in ``files``."""
    monkeypatch.setattr(environment, "_GROUPS", tmp_path)
    monkeypatch.setattr(environment, "_OWN_GROUP", tmp_path / "own")
    (tmp_path / "own").write_text(own)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)


CASES = {
    "no limit": ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
    "a container of two cores": ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
    "half a core is one": ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
    "two and a half are two": ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
    "a group above has less": ("0::/a/b\n", {"a/b/cpu.max": "600000 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
    "version 1": (
        "4:cpu,cpuacct:/job\n",
        {"cpu/job/cpu.cfs_quota_us": "400000", "cpu/job/cpu.cfs_period_us": "100000"},
        4,
    ),
    "version 1 without": ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
    "outside of what is seen": ("0::/../other\n", {"cpu.max": "100000 100000\n"}, 1),
    "nonsense": ("0::/\n", {"cpu.max": "\n"}, 8),
}


@pytest.mark.parametrize(("own", "files", "cores"), CASES.values(), ids=CASES)
def test_cores_are_those_of_the_mask_within_the_quota(tmp_path, monkeypatch, own, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    grouped(tmp_path, monkeypatch, own, files)
    assert usable_cores() == cores
    assert [threads_a_job(jobs) for jobs in (1, 2, 100)] == [cores, max(1, cores // 2), 1]


def test_jobs_are_by_the_memory_of_the_control_group_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    grouped(tmp_path, monkeypatch, "0::/\n", {"memory.max": f"{2 * MEMORY_A_JOB}\n"})
    assert usable_memory() == 2 * MEMORY_A_JOB
    assert default_jobs(CPU) == 2
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_threads_are_set_for_a_block_and_then_as_before():
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), threads(before + 1):
        raise KeyError
    assert torch.get_num_threads() == before
