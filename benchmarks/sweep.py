"""The sweep: variants x data sets x seeds as cells, each done once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tqdm.auto import tqdm

from benchmarks.cell import run_cell
from benchmarks.config import Config, compose
from benchmarks.data import Dataset, cache_root, load
from benchmarks.errors import UserError
from benchmarks.results import RECORD_FILE, Record, RecordError, read_record, write_missing_data
from benchmarks.workers import side_by_side

log = logging.getLogger(__name__)


@dataclass
class Summary:
    """What a sweep did: records of cells that ran, run ids that were there already, data sets that could not be had."""

    ran: list[Record] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    missing_data: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[Record]:
        return [record for record in self.ran if record.status != "ok"]


def plan(
    variants: Sequence[str], datasets: Sequence[str], seeds: Sequence[int], profile: str, overrides: Sequence[str]
) -> list[Config]:
    """The checked configuration of every cell, before anything is touched. Raises ``UserError``."""
    return [compose(v, d, profile, s, overrides) for d in datasets for v in variants for s in seeds]


def run(
    cells: Sequence[Config],
    results: Path,
    data_root: Path,
    device: torch.device,
    retry: bool = False,
    jobs: int = 1,
) -> Summary:
    """Run every cell that has no record yet; with ``retry``, those that failed or diverged too; ``jobs`` at a time."""
    _check_writable(results)
    summary = Summary()
    to_do = []
    for cell in cells:
        status = _status(results, cell.run_id)
        if status == "ok" or (status is not None and not retry):
            tqdm.write(f"{cell.run_id}: already there ({status})")
            summary.skipped.append(cell.run_id)
        else:
            # A worker that dies must not be taken for the one whose record this was.
            (results / "runs" / cell.run_id / RECORD_FILE).unlink(missing_ok=True)
            to_do.append(cell)
    loaded = _load(to_do, data_root, summary)
    ready = [cell for cell in to_do if cell.dataset.name in loaded]
    cache = cache_root() / "features"
    if jobs > 1:
        records = side_by_side(ready, results, data_root, cache, device, jobs)
    else:
        records = (run_cell(cell, loaded[cell.dataset.name], results, cache, device) for cell in ready)
    with tqdm(total=len(ready), unit="cell", disable=None if len(ready) > 1 else True) as bar:
        for record in records:
            summary.ran.append(record)
            bar.update()
            tqdm.write(f"[{len(summary.ran)}/{len(ready)}] {record.run_id}: {outcome(record)}")
    write_missing_data(results, summary.missing_data, loaded)
    return summary


def _load(cells: Sequence[Config], data_root: Path, summary: Summary) -> dict[str, Dataset]:
    """Every data set that the cells need and that can be had, by name; the others go into the summary."""
    loaded: dict[str, Dataset] = {}
    for config in {cell.dataset.name: cell.dataset for cell in cells}.values():
        try:
            loaded[config.name] = load(config, data_root)
        except UserError as error:
            summary.missing_data[config.name] = str(error)
            log.error("%s", error)
    return loaded


def outcome(record: Record) -> str:
    """A cell's result in one line."""
    if record.status != "ok":
        assert record.error is not None
        return f"{record.status}: {record.error['type']}: {record.error['message']}"
    shown = [f"{name} {record.metrics[name]:.2f}" for name in ("elbo", "log_likelihood") if name in record.metrics]
    return ", ".join([*shown, f"mse {record.metrics['mse']:.4f}", f"{record.timing['total_seconds']:.0f} s"])


def _status(results: Path, run_id: str) -> str | None:
    """The status of a local record; None where there is none that can be read (it is then written again)."""
    path = results / "runs" / run_id / RECORD_FILE
    try:
        return read_record(path).status
    except FileNotFoundError:
        return None
    except RecordError as error:
        target = path.with_name(path.name + ".unreadable")
        path.rename(target)
        log.warning("set aside as %s: %s", target.name, error)
        return None


def _check_writable(results: Path) -> None:
    try:
        (results / "runs").mkdir(parents=True, exist_ok=True)
        probe = results / "runs" / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"results folder {str(results)!r} is not writable: {error.strerror}") from None
