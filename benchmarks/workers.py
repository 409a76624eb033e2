"""Cells side by side on one machine: a process a cell, so that one that dies takes no other with it."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from benchmarks.cell import record_failure, run_cell
from benchmarks.config import Config, from_plain
from benchmarks.data import load
from benchmarks.results import RECORD_FILE, Record, RecordError, read_record


def side_by_side(
    cells: Sequence[Config], results: Path, data_root: Path, cache: Path, device: torch.device, jobs: int
) -> Iterator[Record]:
    """Run ``cells`` in ``jobs`` processes at a time, the processor's cores divided among them, GPUs given out in turn;
    the record of each as it ends. A worker that dies without a record leaves a failed one."""
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    waiting = list(enumerate(cells))
    running: dict[Any, tuple[Any, Config]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, cell = waiting.pop(0)
                name = f"cuda:{number % gpus}" if gpus else str(device)
                # As plain data: a variant from outside the tree can only be found by the worker's own registry.
                arguments = (cell.resolved(), cell.overrides, results, data_root, cache, name, threads)
                process = context.Process(target=_work, args=arguments)
                process.start()
                running[process.sentinel] = process, cell
            for sentinel in wait(list(running)):
                process, cell = running.pop(sentinel)
                process.join()
                yield _outcome(cell, results, device, process.exitcode)
    finally:
        # Reached early by an interrupt: the cells keep their checkpoints.
        for process, _ in running.values():
            process.terminate()
            process.join()


def _work(
    plain: dict[str, Any],
    overrides: tuple[str, ...],
    results: Path,
    data_root: Path,
    cache: Path,
    device: str,
    threads: int,
) -> None:
    torch.set_num_threads(threads)
    cell = dataclasses.replace(from_plain(plain), overrides=overrides)
    run_cell(cell, load(cell.dataset, data_root), results, cache, torch.device(device), show_progress=False)


def _outcome(cell: Config, results: Path, device: torch.device, exit_code: int | None) -> Record:
    try:
        return read_record(results / "runs" / cell.run_id / RECORD_FILE)
    except (OSError, RecordError):
        return record_failure(cell, results, device, f"the worker process ended with exit code {exit_code}")
