"""``make speed``: everything that is measured, in one run, and its page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from benchmarks.data import feature_cache
from benchmarks.environment import choose_device, describe
from benchmarks.files import write_atomically
from benchmarks.speed.cells import half_precision, side_by_side
from benchmarks.speed.growth import growth
from benchmarks.speed.loops import loops
from benchmarks.speed.sampling import importance_sampling
from benchmarks.speed.scale import curves
from benchmarks.speed.small_steps import small_steps
from benchmarks.speed.stacked import seeds_stacked

FIGURE, GROWTH = "speed-scale.png", "speed-growth.png"


def measure(reports: Path, repeats: int, peers: Path | None) -> str:
    """Measure everything, the loops ``repeats`` times, write ``reports``/speed.md with its picture and return the page.
    ``peers`` is the interpreter of an environment that has pythae (``make peers``), None for none."""
    device = choose_device("auto")
    few = max(1, repeats // 3)
    sections = {"The training loop": loops(device, repeats, peers)}
    sections["Small steps"] = small_steps(device, repeats)
    sections["Runs side by side"], by_jobs = side_by_side(device, few)
    sections["Half precision"] = half_precision(device, feature_cache())
    sections["Importance sampling"], by_samples = importance_sampling(device, few)
    sections["Seeds as one batched model"] = seeds_stacked(device, few)
    write_atomically(reports / "figures" / FIGURE, curves(device, by_samples, by_jobs))
    sections["Cost against work"] = (
        f"![Cost against work](figures/{FIGURE})\n\n*The best of three epochs for images/s; K by the decoder above; "
        "the process's own memory beside a memory map of so many faces; the runs above.*"
    )
    sections["Growth"], drawn = growth()
    write_atomically(reports / "figures" / GROWTH, drawn)
    sections["Growth"] += (
        f"\n\n![Growth](figures/{GROWTH})\n\n*Time on a logarithmic axis: where it grows as the records do, a line "
        "rises by a decade from one size to the next.*"
    )
    machine = describe(device)
    made = (
        f"{machine['device']}, {machine['threads']} threads, torch {machine['torch']}, Python {machine['python']}, "
        f"commit {machine['commit'][:10]}{'+' if machine['dirty'] else ''}, {datetime.now(UTC):%Y-%m-%d}. "
        + ("" if device.type == "cuda" else "On a GPU: not measured.")
    )
    blocks = ["# Speed", "[All boards](README.md)", made.strip()]
    blocks += [part for name, text in sections.items() for part in (f"## {name}", text)]
    blocks.append("Run it again: `make peers` once, for pythae's environment, then `make speed`.")
    page = "\n\n".join(blocks) + "\n"
    write_atomically(reports / "speed.md", page.encode())
    return page
