"""Verify a record: train and evaluate again with its configuration, and compare the numbers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf.errors import OmegaConfBaseException
from tabulate import tabulate

from benchmarks.config import Config, from_plain
from benchmarks.data import load
from benchmarks.environment import threads
from benchmarks.errors import UserError
from benchmarks.records.judged import same_judge, without_judged
from benchmarks.records.publishing import seedless
from benchmarks.records.record import RECORD_FILE, REPRODUCTION, Record, read_records
from benchmarks.sweep.cell import Setting, prepare, run_once
from benchmarks.sweep.locks import LockedError, cell_lock
from benchmarks.sweep.outliers import download_outliers
from benchmarks.sweep.runner import check_writable
from benchmarks.training.checkpoint import WEIGHTS_FILE
from variants.options import unknown

# Relative differences up to this size are rounding errors, as from sums in another order.
ROUNDING = 1e-6
# Entries of the environment that are equal for machines of the same kind.
KIND = ("device", "threads", "torch", "python")


@dataclass(frozen=True)
class Comparison:
    """The recorded and the repeated value of a metric.

    ``span``: the range of the recorded seeds (maximum minus minimum), or None with a single seed. ``reason``: why there
    is no repeated value.
    """

    metric: str
    recorded: float
    again: float | None
    span: float | None
    reason: str = ""

    @property
    def verdict(self) -> str:
        """The result of the comparison.

        One of "equal" (to the last digit), "equal up to rounding", "within the range of seeds" (the difference is at
        most ``span``) and "differs", or the reason why the number is not available.
        """
        if self.again is None:
            return f"not available: {self.reason}"
        if self.again == self.recorded:
            return "equal"
        if abs(self.again - self.recorded) <= ROUNDING * max(1.0, abs(self.recorded)):
            return "equal up to rounding"
        inside = self.span is not None and abs(self.again - self.recorded) <= self.span
        return "within the range of seeds" if inside else "differs"


def verify(run_id: str, results: Path, setting: Setting) -> tuple[str, bool]:
    """Run the cell of a record again, in ``setting.results``, with the same number of threads.

    Returns a report of both runs, and whether all available numbers are equal (up to rounding) or within the range of
    seeds. An interrupted call continues from its checkpoint.

    Raises :class:`UserError` for an unknown run id, a record whose status is not "ok", a configuration that is no
    longer accepted, data that differ from the record's, a repeated run that fails, and a run that another process is
    repeating.
    """
    read = [read_records(folder) for folder in (results, results / REPRODUCTION)]
    records = [record for found, _ in read for record in found]
    by_id = {record.run_id: record for record in records}
    if run_id not in by_id:
        # The record may exist but be damaged.
        damaged = [message for _, messages in read for message in messages if f"/{run_id}/" in message]
        raise UserError(damaged[0] if damaged else str(unknown("run id", run_id, by_id)))
    record = by_id[run_id]
    if record.status != "ok":
        raise UserError(f"{run_id} has no numbers to compare: its status is {record.status}")
    overrides = tuple(record.details.get("overrides", ()))
    try:
        config = dataclasses.replace(from_plain(record.config), overrides=overrides)
    except (ValueError, TypeError, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{run_id} has a configuration that this version does not accept: {reason}") from None
    check_writable(setting.results / "runs")
    data = load(config.dataset, setting.data_root)
    if data.sha256 != record.data_sha256:
        raise UserError(f"{run_id} was made from different data than those here (SHA-256 mismatch, {data.title})")
    download_outliers(config.dataset, setting.data_root)
    # Use the number of threads of the record, because it affects the last digits of sums.
    count = record.environment.get("threads")
    try:
        _remove_earlier(config, setting)
        # This uses all threads, as before the cells of a sweep. Exceptions are ignored here: the cell itself fails
        # and reports the reason.
        with contextlib.suppress(Exception):
            prepare(config, data, setting)
        with threads(count if isinstance(count, int) and count > 0 else torch.get_num_threads()):
            again = run_once(config, setting, lambda: data)
    except LockedError as error:
        raise UserError(f"{run_id} {error}: repeat the command when that one has ended") from None
    if again.status != "ok":
        assert again.error is not None
        raise UserError(f"{run_id} ended as {again.status} this time: {again.error['message']}")
    compared = compare(record, again, records)
    return describe(record, again, compared), not any(c.verdict == "differs" for c in compared)


def _remove_earlier(config: Config, setting: Setting) -> None:
    """Remove the results of an earlier verification, so that the cell is trained again. Raises :class:`LockedError` if
    another process is running the cell."""
    for run_id in {config.run_id, config.earlier_run_id}:
        folder = setting.results / "runs" / run_id
        if (folder / RECORD_FILE).exists():
            with cell_lock(folder):
                (folder / RECORD_FILE).unlink(missing_ok=True)
                (folder / WEIGHTS_FILE).unlink(missing_ok=True)


def compare(record: Record, again: Record, records: Sequence[Record]) -> list[Comparison]:
    """Compare every metric of ``record`` with that of ``again``. ``records`` include those of other seeds."""
    seeds = [r for r in records if r.status == "ok" and seedless(r) == seedless(record)]
    if not same_judge(record, again):
        again = without_judged(again, "different classifier")
    compared = []
    for metric, value in sorted(record.metrics.items()):
        values = {r.seed: r.metrics[metric] for r in seeds if metric in r.metrics}
        span = max(values.values()) - min(values.values()) if len(values) > 1 else None
        reason = again.not_applicable.get(metric, "not measured")
        compared.append(Comparison(metric, value, again.metrics.get(metric), span, reason))
    return compared


def describe(record: Record, again: Record, compared: Sequence[Comparison]) -> str:
    """A table of both runs, and the environment of each run."""
    lines = [
        [
            c.metric, f"{c.recorded:.10g}", "–" if c.again is None else f"{c.again:.10g}",
            "–" if c.again is None else f"{c.again - c.recorded:.2g}", "–" if c.span is None else f"{c.span:.2g}",
            c.verdict,
        ]
        for c in compared
    ]  # fmt: skip
    header = ["metric", "recorded", "repeated", "difference", "range of seeds", "verdict"]
    text = tabulate(lines, header, tablefmt="simple", disable_numparse=True)
    # The note concerns only the recorded run: the repeated one was just made, so it cannot have been changed.
    undigested = "" if record.digest else "; without a digest, so a changed number would not be detected"
    for name, one, note in (("recorded", record, undigested), ("repeated", again, "")):
        made = ", ".join(f"{key} {one.environment.get(key, 'unknown')}" for key in (*KIND, "commit"))
        text += f"\n{name}: {one.finished}, {made}{note}"
    same = all(record.environment.get(key) == again.environment.get(key) for key in KIND)
    kinds = ("equal", "equal up to rounding", "within the range of seeds", "differs")
    counts = {verdict: sum(c.verdict == verdict for c in compared) for verdict in kinds}
    counted = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    return f"{text}\n{'same' if same else 'different'} device or versions: {counted}"
