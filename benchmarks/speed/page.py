"""``make speed``: all speed measurements and their page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.data import feature_cache
from benchmarks.environment import choose_device, describe
from benchmarks.files import write_atomically
from benchmarks.speed import rounds
from benchmarks.speed.cells import half_precision, side_by_side
from benchmarks.speed.growth import growth
from benchmarks.speed.loops import loops
from benchmarks.speed.sampling import importance_sampling
from benchmarks.speed.scale import curves
from benchmarks.speed.small_steps import small_steps
from benchmarks.speed.stacked import seeds_stacked
from benchmarks.wording import counted

FIGURE, GROWTH = "speed-scale.png", "speed-growth.png"
# One page for CPUs and one for GPUs, so that each can be made on a machine with such a device.
PAGES = {"cpu": "speed.md", "cuda": "speed-gpu.md"}


def measure(reports: Path, repeats: int, peers: Path | None) -> str:
    """Make all measurements on this device, the loops ``repeats`` times; write the page to ``reports`` and return it.

    ``peers``: the Python interpreter of an environment with pythae (``make peers``), or None to leave out pythae.
    """
    device = choose_device("auto")
    on_a_gpu = device.type == "cuda"
    before = rounds.used()
    sections = _on_a_gpu(device, repeats, peers) if on_a_gpu else _on_a_cpu(device, repeats, peers, reports)
    busy = rounds.others(before, rounds.used())
    machine = describe(device)
    made = (
        f"{machine['device']}, {counted(machine['threads'], 'thread')}, torch {machine['torch']}, "
        f"Python {machine['python']}, commit {machine['commit'][:10]}{'+' if machine['dirty'] else ''}, "
        f"{datetime.now(UTC):%Y-%m-%d}."
    )
    blocks = ["# Speed on a GPU" if on_a_gpu else "# Speed", f"[All boards](README.md){_other(on_a_gpu, reports)}"]
    blocks.append(made)
    # Some sections repeat rounds on a busy machine, the others cannot.
    if busy > rounds.QUIET:
        blocks.append(f"**The machine was busy**: other processes used {busy:.1f} cores on average. Measure again.")
    blocks += [part for name, text in sections.items() for part in (f"## {name}", text)]
    blocks.append(
        "Run it again: `make speed`" + (", after `make peers` for the comparison with pythae." if peers else ".")
    )
    page = "\n\n".join(blocks) + "\n"
    write_atomically(reports / PAGES[device.type], page.encode())
    return page


def _other(on_a_gpu: bool, reports: Path) -> str:
    """A link to the page of the other kind of device, or a note that it was not measured."""
    kind, name = ("CPU", PAGES["cpu"]) if on_a_gpu else ("GPU", PAGES["cuda"])
    return f" · [Speed on a {kind}]({name})" if (reports / name).is_file() else f" · On a {kind}: not measured"


def _on_a_gpu(device: torch.device, repeats: int, peers: Path | None) -> dict[str, str]:
    """The sections for a GPU: only measurements of training steps and estimates, which a GPU affects."""
    few = max(1, repeats // 3)
    return {
        "The training loop": loops(device, repeats, peers),
        "Small steps": small_steps(device, repeats),
        "Importance sampling": importance_sampling(device, few)[0],
        "Seeds as one batched model": seeds_stacked(device, few),
    }


def _on_a_cpu(device: torch.device, repeats: int, peers: Path | None, reports: Path) -> dict[str, str]:
    few = max(1, repeats // 3)
    sections = {"The training loop": loops(device, repeats, peers)}
    sections["Small steps"] = small_steps(device, repeats)
    sections["Runs side by side"], by_jobs = side_by_side(device, few)
    sections["Half precision"] = half_precision(device, feature_cache())
    sections["Importance sampling"], by_samples = importance_sampling(device, few)
    sections["Seeds as one batched model"] = seeds_stacked(device, few)
    write_atomically(reports / "figures" / FIGURE, curves(device, by_samples, by_jobs))
    sections["Cost against work"] = (
        f"![Cost against work](figures/{FIGURE})\n\n*Images/s: the best of three epochs. K: the decoder of the section "
        "Importance sampling. Memory: that of the process, without the memory-mapped images, for so many faces. Jobs: "
        "the runs of the section Runs side by side.*"
    )
    sections["Growth"], drawn = growth()
    write_atomically(reports / "figures" / GROWTH, drawn)
    sections["Growth"] += (
        f"\n\n![Growth](figures/{GROWTH})\n\n*Time on a logarithmic axis: if it is proportional to the number of "
        "records, it is ten times as high at the next size.*"
    )
    return sections
