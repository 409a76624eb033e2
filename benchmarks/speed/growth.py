"""Costs that grow with the number of records: reports, plans, and the start of a sweep with nothing left to do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.config import compose, compose_seeds
from benchmarks.data import data_root, feature_cache, load
from benchmarks.records.record import RECORD_FILE, read_record, write_record
from benchmarks.reporting.figures import png
from benchmarks.reporting.style import new_figure, own_settings
from benchmarks.speed.table import as_table
from benchmarks.sweep.cell import Setting, run_cell

VARIANTS = (
    "vae", "iwae", "beta_vae", "info_vae", "dip_vae", "beta_tcvae", "logcosh_vae", "fullcov_vae", "flow_vae",
    "iaf_vae", "joint_vae", "gumbel_vae",
)  # fmt: skip
# Number of records -> number of settings per variant, and number of seeds per setting.
SIZES = {36: (1, 3), 360: (3, 10), 3600: (15, 20)}
PROFILE, DATASET, OPTION = "smoke", "digits", "network.latent_size"
COMMANDS = {
    "reports": ("report",),
    "a plan (`DRY=1`)": ("bench", "--dry"),
    "a sweep with nothing left to do": ("bench", "--no-report"),
}

Measured = dict[str, dict[int, tuple[float, float]]]


def growth() -> tuple[str, bytes]:
    """Measure time and memory of each command by the number of records: a section of the page, and its figure (PNG)."""
    found: Measured = {name: {} for name in COMMANDS}
    with tempfile.TemporaryDirectory() as name:
        first = _a_run(Path(name) / "first")
        for count, (settings, seeds) in SIZES.items():
            results = Path(name) / str(count)
            _fill(results, first, settings, seeds)
            for command, arguments in COMMANDS.items():
                found[command][count] = _run([*arguments, *_of_sweep(arguments[0], settings, seeds, results)])
    header = ["", *(f"{count:,} records" for count in SIZES)]
    rows = [
        [name, *(f"{seconds:.1f} s, {memory:,.0f} MiB" for seconds, memory in by_count.values())]
        for name, by_count in found.items()
    ]
    text = f"""Copies of one run on `{DATASET}`, with its pictures and curves, as the records of {len(VARIANTS)}
variants: more settings and more seeds. Every command in a process of its own, its memory the highest that it held.

{as_table(header, rows)}"""
    return text, _drawn(found)


def _a_run(results: Path) -> Path:
    """Make a run and return its folder, which has the record."""
    config = compose("vae", DATASET, PROFILE, 0)
    setting = Setting(results, data_root(), feature_cache(), torch.device("cpu"), show_progress=False)
    record = run_cell(config, load(config.dataset, setting.data_root), setting)
    assert record.status == "ok", record.error
    return setting.run_folder(config)


def _fill(results: Path, run: Path, settings: int, seeds: int) -> None:
    """Fill ``results`` with copies of a ``run`` for all variants, settings and seeds, with randomly changed metrics."""
    record, numbers = read_record(run / RECORD_FILE), np.random.default_rng(0)
    beside = [path for path in run.iterdir() if path.suffix in (".png", ".csv")]
    for variant in VARIANTS:
        for value in _values(settings):
            overrides = [f"{OPTION}={value}"]
            for config in compose_seeds(variant, DATASET, PROFILE, range(seeds), overrides):
                metrics = {name: old * (1 + 0.02 * numbers.normal()) for name, old in record.metrics.items()}
                copy = replace(
                    record, run_id=config.run_id, variant=variant, seed=config.seed, config=config.resolved(),
                    metrics=metrics, details=record.details | {"overrides": overrides},
                )  # fmt: skip
                folder = results / "runs" / config.run_id
                folder.mkdir(parents=True)
                write_record(folder, copy)
                for path in beside:
                    os.link(path, folder / path.name)


def _values(settings: int) -> range:
    return range(2, 2 + settings)


def _of_sweep(command: str, settings: int, seeds: int, results: Path) -> list[str]:
    """The arguments with which a command covers all records in ``results``."""
    folder = ["--results", str(results)]
    if command == "report":
        return [*folder, "--reports", str(results / "reports")]
    return [
        *folder, "--variants", ",".join(VARIANTS), "--datasets", DATASET, "--profile", PROFILE,
        "--seeds", f"0-{seeds - 1}", f"{OPTION}={','.join(map(str, _values(settings)))}",
    ]  # fmt: skip


def _run(arguments: Sequence[str]) -> tuple[float, float]:
    """Seconds and peak memory (MiB) of a command."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _COMMAND, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    found = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    return seconds, int(found[1]) / 1024 if found else 0.0


# Runs a command of the suite and prints the status of its process, which has the peak memory (VmHWM).
_COMMAND = """import sys
from pathlib import Path
from benchmarks.__main__ import main
status = main(sys.argv[1:])
print(Path("/proc/self/status").read_text())
sys.exit(status)
"""


@own_settings()
def _drawn(found: Mapping[str, Mapping[int, tuple[float, float]]]) -> bytes:
    figure, axes = new_figure(8, 3.4, 1, 2)
    for axis, part, label in zip(axes, (0, 1), ("seconds", "MiB"), strict=True):
        for (name, by_count), marker in zip(found.items(), "os^", strict=True):
            values = [one[part] for one in by_count.values()]
            axis.plot(list(by_count), values, marker=marker, label=name.replace("`", ""))
        axis.set_xscale("log")
        axis.set_xticks(list(SIZES), [f"{count:,}" for count in SIZES])
        axis.minorticks_off()
        axis.set_xlabel("records", fontsize=9)
        axis.set_ylabel(label, fontsize=9)
        axis.tick_params(labelsize=8)
    # Sizes are a decade apart. If time is proportional to the number of records, a line rises by a decade per size.
    axes[0].set_yscale("log")
    axes[0].set_yticks((1, 10, 100), ("1", "10", "100"))
    axes[0].minorticks_off()
    axes[1].set_ylim(0, 1.08 * max(memory for by_count in found.values() for _, memory in by_count.values()))
    axes[0].legend(fontsize=8)
    return png(figure, 110)
