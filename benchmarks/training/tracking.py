"""Trackers that show a run while it trains: TensorBoard, which runs locally without an account or a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.errors import UserError
from variants.options import unknown

TRACKERS = ("none", "tensorboard")
Track = Callable[[dict[str, float]], None]


def check_tracker(name: str) -> None:
    """Raise :class:`UserError` for a tracker that does not exist or whose package is not installed."""
    if name not in TRACKERS:
        raise UserError(unknown("tracker", name, TRACKERS))
    if name == "tensorboard":
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise UserError("tracker tensorboard is not installed: pip install tensorboard") from None


def tracker(name: str, folder: Path) -> Track | None:
    """Return the function to call with the history row of every epoch, or None for "none". For "none" nothing is
    imported or written.

    TensorBoard events are written to ``folder``/tensorboard; ``tensorboard --logdir results/runs`` shows all runs.
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
