"""Runs cells in parallel on one machine, each in its own process, so that a crash affects only one cell."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import multiprocessing
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

import torch

import variants
from benchmarks.config import Config, from_plain
from benchmarks.data import load
from benchmarks.environment import threads, usable_cores, usable_memory
from benchmarks.progress.report import Status, listening
from benchmarks.records.record import Record
from benchmarks.sweep.cell import Setting, failed_again, finished, prepare, run_once, write_failure
from benchmarks.sweep.locks import LockedError, cell_lock

log = logging.getLogger(__name__)

# Exit code of a worker whose cell is being run by another process (EX_TEMPFAIL).
ELSEWHERE = 75
# Bytes of memory per job: the peak of a cell of the boards.
MEMORY_A_JOB = 3 * 2**30
# Longest wait for a worker at a time, in seconds. The system's own limit is about 24.8 days.
LONGEST_WAIT = 24 * 60 * 60.0
# Seconds between SIGTERM and SIGKILL when a worker is stopped.
GRACE_SECONDS = 10.0
# Longest message that is written to a pipe atomically: PIPE_BUF without the 4 bytes for the message's length.
LARGEST_MESSAGE = select.PIPE_BUF - 4


@dataclass
class _Worker:
    """A worker process, the receiving end of its pipe, and the function that receives its reports."""

    process: BaseProcess
    reports: Connection
    hear: Callable[[Status], None]

    def receive(self) -> bool:
        """Pass on reports and log messages that have arrived. Returns False at the end of the pipe."""
        try:
            while self.reports.poll():
                message = pickle.loads(self.reports.recv_bytes())
                if isinstance(message, Status):
                    self.hear(message)
                else:
                    log.log(*message)
        except (EOFError, OSError):
            return False
        return True

    def close(self) -> None:
        self.receive()
        self.reports.close()


@dataclass
class _Running:
    """A cell that a worker runs, and the record that the cell had before."""

    worker: _Worker
    cell: Config
    earlier: Record | None
    deadline: float
    timed_out: bool = False


def default_jobs(device: torch.device) -> int:
    """The default number of parallel cells: one per GPU, or one per core as far as memory allows."""
    if device.type == "cuda":
        return torch.cuda.device_count()
    cores, memory = usable_cores(), usable_memory()
    return cores if memory is None else max(1, min(cores, memory // MEMORY_A_JOB))


def threads_a_job(jobs: int) -> int:
    """The number of threads of each of ``jobs`` parallel runs."""
    return max(1, usable_cores() // jobs)


def side_by_side(
    cells: Sequence[Config],
    setting: Setting,
    jobs: int,
    count: int,
    retry: bool = False,
    timeout: float | None = None,
    started: Callable[[Config], None] = lambda cell: None,
    hear: Callable[[str | None, Status], None] = lambda run_id, status: None,
) -> Iterator[tuple[Config, Record | None]]:
    """Run ``cells`` in up to ``jobs`` processes at a time, each with ``count`` threads. GPUs are assigned in turn.
    Yields every cell with its record as soon as it ends, or with None if another process runs it.

    ``started`` is called when a cell begins, and ``hear`` with a run id and a status that the cell reports. The run id
    is None before the first cell begins. A cell that takes longer than ``timeout`` seconds is stopped. If a cell is
    stopped or its process dies, its record is marked as failed and its checkpoint is kept for a retry.
    """
    context = multiprocessing.get_context("spawn")
    gpus = torch.cuda.device_count() if setting.device.type == "cuda" else 0
    waiting = list(enumerate(cells))
    running: dict[int, _Running] = {}
    # Prepared once, on all threads, before the cells: otherwise one cell would train the classifier of a data set with
    # its few threads while the others wait for it.
    kinds = {(cell.dataset.name, variants.lookup(cell.variant_name).needs_teacher): cell for cell in cells}
    plain = [(cell.resolved(), cell.overrides) for cell in kinds.values()]
    first: _Worker | None = None
    hear(None, Status("preparing the classifiers for the evaluation"))
    try:
        first = _start(context, _prepare, (plain, setting), partial(hear, None))
        while first.process.sentinel not in wait([first.process.sentinel, first.reports]):
            if not first.receive():
                first.process.join()
        first.close()
        while waiting or running:
            while waiting and len(running) < jobs:
                number, cell = waiting.pop(0)
                own = setting if not gpus else dataclasses.replace(setting, device=torch.device("cuda", number % gpus))
                # The configuration is passed as plain data, because the class of a variant from the user's own file
                # cannot be unpickled: only the worker's registry finds it.
                arguments = (cell.resolved(), cell.overrides, own, count, retry)
                earlier = finished(cell, setting)
                worker = _start(context, _work, arguments, partial(hear, cell.run_id))
                deadline = float("inf") if timeout is None else time.monotonic() + timeout
                running[worker.process.sentinel] = _Running(worker, cell, earlier, deadline)
                started(cell)
            next_deadline = min(one.deadline for one in running.values())
            remaining = min(max(0.0, next_deadline - time.monotonic()), LONGEST_WAIT)
            open_ends = [one.worker.reports for one in running.values() if not one.worker.reports.closed]
            woken = wait([*running, *open_ends], remaining)
            for one in running.values():
                if one.worker.reports in woken and not one.worker.receive():
                    one.worker.reports.close()
            for sentinel in [sentinel for sentinel in running if sentinel in woken]:
                ended = running.pop(sentinel)
                ended.worker.process.join()
                ended.worker.close()
                yield ended.cell, _outcome(ended, setting, retry, timeout)
            for one in running.values():
                if time.monotonic() >= one.deadline:
                    one.timed_out, one.deadline = True, float("inf")
                    _stop(one.worker.process)
    finally:
        # After an interrupt, workers may still be running. They are stopped, and the cells keep their checkpoints.
        if first is not None:
            _stop(first.process)
        for one in running.values():
            one.worker.process.terminate()
        for one in running.values():
            _stop(one.worker.process)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block. The signal mask of the main thread does not do this: another thread then
    gets the signal, and Python runs the handler in the main thread. A worker whose start is interrupted would print a
    traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _start(
    context: SpawnContext, target: Callable[..., None], arguments: tuple[Any, ...], hear: Callable[[Status], None]
) -> _Worker:
    """Start a worker that ignores Ctrl-C, which sends SIGINT to every process of the terminal. The parent stops its
    workers itself. Workers inherit the signal mask that is set here."""
    receiving, sending = multiprocessing.Pipe(duplex=False)
    process = context.Process(target=target, args=(sending, *arguments))
    # Otherwise starting the first process would start the resource tracker too, which unblocks SIGINT.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with _interrupts_wait():
            process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    # Close the parent's copy: the worker then holds the only sending end, and the pipe ends when the worker dies.
    sending.close()
    return _Worker(process, receiving, hear)


def _stop(process: BaseProcess) -> None:
    process.terminate()
    process.join(GRACE_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()


class _Reporter(logging.Handler):
    """Sends the reports and log messages of a worker to its parent, which shows them. It never blocks: if the pipe is
    full, a report is dropped and a log message is printed to standard error."""

    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe
        os.set_blocking(pipe.fileno(), False)

    def __call__(self, status: Status) -> None:
        self._send(status)

    def emit(self, record: logging.LogRecord) -> None:
        """Called by ``logging``."""
        if not self._send((record.levelno, "%s", self.format(record))):
            print(self.format(record), file=sys.stderr)

    def _send(self, message: object) -> bool:
        data = pickle.dumps(message)
        try:
            if len(data) <= LARGEST_MESSAGE:
                self._pipe.send_bytes(data)
                return True
        except OSError:
            pass
        return False


@contextlib.contextmanager
def _reporting(pipe: Connection) -> Iterator[None]:
    """Send the reports and log messages of the block to the parent."""
    reporter = _Reporter(pipe)
    logging.getLogger().addHandler(reporter)
    for package in ("benchmarks", "variants"):
        logging.getLogger(package).setLevel(logging.INFO)
    with listening(reporter):
        yield


def _prepare(pipe: Connection, cells: list[tuple[dict[str, Any], tuple[str, ...]]], setting: Setting) -> None:
    """Prepare what the cells share. Errors are ignored: the cells fail later for the same reason and record it."""
    _belong_to_parent()
    with _reporting(pipe):
        for plain, overrides in cells:
            cell = dataclasses.replace(from_plain(plain), overrides=overrides)
            with contextlib.suppress(Exception):
                prepare(cell, load(cell.dataset, setting.data_root), setting)


def _work(
    pipe: Connection, plain: dict[str, Any], overrides: tuple[str, ...], setting: Setting, count: int, retry: bool
) -> None:
    _belong_to_parent()
    cell = dataclasses.replace(from_plain(plain), overrides=overrides)
    try:
        with threads(count), _reporting(pipe):
            run_once(cell, setting, lambda: load(cell.dataset, setting.data_root), retry)
    except LockedError:
        os._exit(ELSEWHERE)


def _belong_to_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: BaseProcess) -> None:
    # A worker that survived a killed sweep would keep its cell locked for the next sweep.
    wait([parent.sentinel])
    os._exit(1)


def _outcome(ended: _Running, setting: Setting, retry: bool, timeout: float | None) -> Record | None:
    """The record that a worker wrote, or a failed record that says how the worker ended; None if another process runs
    the cell."""
    code = ended.worker.process.exitcode
    if code == ELSEWHERE:
        return None
    try:
        with cell_lock(setting.run_folder(ended.cell)):
            record = finished(ended.cell, setting)
            # A worker that was stopped in a retry may have left the earlier record.
            is_new = record is not None and record.status == "ok" and record != ended.earlier
            in_vain = retry and failed_again(record, ended.earlier)
            if record is not None and not in_vain and (is_new or code == 0):
                return record
            if ended.timed_out:
                return write_failure(
                    ended.cell, setting, "TimeoutError", f"the run exceeded its time limit of {timeout:g} s"
                )
            message = f"the worker process ended with exit code {code}"
            if code == 0:
                message = "the run failed again" if in_vain else "the worker process could not write its record"
                message += " (see the log)"
            if code == -signal.SIGKILL:
                message += " (killed, possibly because the system ran out of memory)"
            return write_failure(ended.cell, setting, "WorkerDied", message)
    except LockedError:
        return None
    except OSError as error:
        return write_failure(ended.cell, setting, type(error).__name__, f"its folder cannot be written: {error}")
