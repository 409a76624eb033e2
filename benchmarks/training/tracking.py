"""Trackers of a run in progress, for people who watch: TensorBoard, on this machine, with no account and no network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.errors import UserError
from variants.options import unknown

TRACKERS = ("none", "tensorboard")
Track = Callable[[dict[str, float]], None]


def check_tracker(name: str) -> None:
    """Raises :class:`UserError` for a tracker that does not exist, or whose package is missing."""
    if name not in TRACKERS:
        raise UserError(unknown("tracker", name, TRACKERS))
    if name == "tensorboard":
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise UserError("tracker tensorboard is not installed: pip install tensorboard") from None


def tracker(name: str, folder: Path) -> Track | None:
    """What is called with every epoch's row of history; None for "none", and then nothing is imported or written.

    TensorBoard's events lie in ``folder``/tensorboard: ``tensorboard --logdir results/runs`` shows all runs.
    """
    if name == "none":
        return None
    check_tracker(name)
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def track(row: dict[str, float]) -> None:
        epoch = int(row["epoch"])
        for key, value in row.items():
            if key != "epoch":
                writer.add_scalar(key, value, epoch)
        writer.flush()

    return track
