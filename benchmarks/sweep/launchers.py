"""Runs cells through Hydra's launchers: on one machine, on SLURM or on a Ray cluster.

A launcher's job composes the cell from its overrides, as ``make bench`` does, and writes the results to the shared
results folder. Records do not depend on the launcher.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmarks.config import Config, arguments_of, choices, conf_folder, from_plain, quoted, search_path, store_schemas
from benchmarks.data import load
from benchmarks.environment import choose_device
from benchmarks.errors import UserError
from benchmarks.progress.report import listening
from benchmarks.progress.screen import Screen
from benchmarks.records.record import Record
from benchmarks.sweep.cell import Setting, failed_again, finished, run_once, write_failure
from benchmarks.sweep.locks import LockedError, cell_lock
from benchmarks.sweep.overview import Overview
from benchmarks.sweep.runner import outcome
from variants.options import unknown

log = logging.getLogger(__name__)

GROUP = "hydra/launcher"
PLUGINS = {
    "processes": "hydra-joblib-launcher",
    "slurm": "hydra-submitit-launcher",
    "slurm_local": "hydra-submitit-launcher",
    "ray_cluster": "hydra-ray-launcher",
}


def check_launcher(name: str) -> None:
    """Raise :class:`UserError` for a launcher that does not exist or whose plugin is not installed."""
    allowed = choices(GROUP)
    if name not in allowed:
        raise UserError(unknown("launcher", name, allowed))
    store_schemas()
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            _load([search_path(), f"{GROUP}={name}"])
    except HydraException as error:
        if GROUP in str(error) and name in PLUGINS:
            mend = f"pip install {PLUGINS[name]}"
            raise UserError(f"launcher {name!r} needs a plugin that is not installed: {mend}") from None
        raise UserError(f"launcher {name!r}: {_one_line(error)}") from None


class _Left(KeyboardInterrupt):
    """The handler of a launcher's signal ends the job. Like any interrupt, this is no error of the run."""


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let a launcher's handlers of SIGUSR1 and SIGUSR2 end the job as an interrupt does.

    Submitit's handler requeues the job shortly before its time limit and ends the process with ``sys.exit``. A run
    takes that call for a mistake in the code of a variant, and would record a failure.
    """
    # Python handles signals in its main thread, and only there can handlers be set.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGUSR2)}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}

    def leave(number: int, frame: FrameType | None) -> None:
        try:
            handlers[signal.Signals(number)](number, frame)
        except SystemExit as stop:
            raise _Left(stop.code) from stop

    for number in handlers:
        signal.signal(number, leave)
    try:
        yield
    except _Left as left:
        raise SystemExit(left.args[0]) from left
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Task:
    """The function that a job calls with its composed configuration. It is pickled and sent to the job. ``overrides``
    maps run ids to the user's overrides."""

    setting: Setting
    overrides: Mapping[str, tuple[str, ...]]
    # Hydra names a job after its task.
    __name__ = "cell"

    def __call__(self, composed: DictConfig) -> bool:
        """Run the cell on the device of the job. Returns False if another process runs it."""
        plain: dict[str, Any] = OmegaConf.to_container(composed, resolve=True)  # type: ignore[assignment]
        cell = from_plain(plain)
        cell = dataclasses.replace(cell, overrides=self.overrides[cell.run_id])
        setting = dataclasses.replace(self.setting, device=choose_device("auto"), show_progress=False)
        overview = Overview([cell], [], 1, None)
        # plain=True, because the output goes to the job's log, or to a terminal that several jobs share.
        with Screen(overview.lines, plain=True) as screen, listening(partial(overview.hear, cell.run_id)):
            screen.print(overview.started(cell.run_id))
            try:
                # retry=True: if one job is killed, a job that has not started yet has a failed record (see _failed).
                with _signals_interrupt():
                    record = run_once(cell, setting, lambda: load(cell.dataset, setting.data_root), retry=True)
                screen.print(f"{cell.run_id}: {outcome(record)}")
            except LockedError as error:
                screen.print(f"{cell.run_id}: {error}")
                return False
        return True


def launch(
    cells: Sequence[Config], setting: Setting, launcher: str, overrides: Sequence[str] = ()
) -> Iterator[tuple[Config, Record | None]]:
    """Run ``cells`` with Hydra's ``launcher`` and wait for all of them. Yields every cell with its record, or with None
    if another process runs it. ``overrides`` are overrides of the launcher (``hydra.launcher.partition=gpu``).

    A cell whose job is killed has a failed record. Some launchers then do not wait for the other jobs: those that are
    running are yielded with None, and those that have not started have a failed record until they end.

    Raises :class:`UserError` if Hydra or the launcher refuses them.
    """
    folder = setting.results.resolve() / "launcher"
    own = [search_path(), f"{GROUP}={launcher}", f"hydra.sweep.dir={quoted(str(folder))}"]
    own += ["hydra.output_subdir=null", "hydra.job.chdir=false"]
    resolved = dataclasses.replace(
        setting, results=setting.results.resolve(), data_root=setting.data_root.resolve(), cache=setting.cache.resolve()
    )
    user_overrides = {cell.run_id: cell.overrides for cell in cells}
    try:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            configuration = _load([*own, *overrides])
            HydraConfig.instance().set_config(configuration)
            loader = GlobalHydra.instance().config_loader()
            engine = Plugins.instance().instantiate_launcher(
                hydra_context=HydraContext(config_loader=loader, callbacks=NoCallbacks()),  # type: ignore[arg-type]
                task_function=Task(resolved, user_overrides),
                config=configuration,
            )
            # Hydra names jobs by their overrides, so only those that distinguish a cell are passed.
            jobs = [[*arguments_of(cell), *cell.overrides] for cell in cells]
            earlier = {cell.run_id: finished(cell, setting) for cell in cells}
            returned, killed = _returned(engine, jobs)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"launcher {launcher!r}: {str(error).splitlines()[0]}") from error
    if killed is not None and not any(setting.run_folder(cell).is_dir() for cell in cells):
        raise UserError(f"launcher {launcher!r} started no run: {_one_line(killed)}") from killed
    for number, cell in enumerate(cells):
        record, raised = finished(cell, setting), killed if returned is None else _error(returned[number])
        ran = raised is None and returned is not None and returned[number].return_value
        if ran and (record is None or failed_again(record, earlier[cell.run_id])):
            raised = RuntimeError("its record could not be written" if record is None else "the run failed again")
        # Where a job ended with an error, a record from before the launch is not that of the job.
        if raised is not None and (record is None or record == earlier[cell.run_id]):
            record = _failed(cell, setting, raised)
        yield cell, record


def _returned(engine: Launcher, jobs: Sequence[Sequence[str]]) -> tuple[Sequence[JobReturn] | None, Exception | None]:
    """What the jobs returned; or None and the error, if the launcher raises one because a job was killed, for example
    when it needed too much memory or time. Errors in the options of the launcher are raised."""
    try:
        return engine.launch(jobs, initial_job_idx=0), None
    except (HydraException, OmegaConfBaseException):
        raise
    except Exception as error:
        return None, error


def _error(job: JobReturn) -> Exception | None:
    """The error of a job; None if it returned."""
    try:
        _ = job.return_value
    except Exception as error:
        return error
    return None


def _failed(cell: Config, setting: Setting, error: Exception) -> Record | None:
    """Write and return a failed record for a cell whose job did not end; None if the job is still running."""
    try:
        with cell_lock(setting.run_folder(cell)):
            return write_failure(cell, setting, type(error).__name__, f"the launcher's job: {_one_line(error)}")
    except LockedError:
        return None
    except OSError as unwritable:
        return write_failure(cell, setting, type(unwritable).__name__, f"its folder cannot be written: {unwritable}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:1000]


def _load(overrides: list[str]) -> DictConfig:
    return GlobalHydra.instance().config_loader().load_configuration("config", overrides, run_mode=RunMode.MULTIRUN)


class NoCallbacks:
    """Callbacks at the start and end of a launcher's job, in place of Hydra's own class, which is private."""

    def on_job_start(self, config: DictConfig, **others: Any) -> None:
        """Nothing to do."""

    def on_job_end(self, config: DictConfig, **others: Any) -> None:
        """Nothing to do."""
