"""Reports the speed of training and the time left, at most twice a second, without synchronising with the device."""

from __future__ import annotations

import time

from tqdm.auto import tqdm

from benchmarks.progress.report import INTERVAL, Status, has_listener, report


class Pace:
    """Counts the steps of a run of ``epochs`` epochs with ``steps`` steps each, starting after ``done`` epochs. If the
    last epoch is not complete, ``total`` is the number of steps of the whole run.

    Reports go to the listener of :mod:`benchmarks.progress.report`. If there is no listener, as in a notebook, and
    ``show`` is True, a progress bar shows the same information.
    """

    def __init__(self, epochs: int, steps: int, batch: int, done: int, show: bool, total: int | None = None) -> None:
        self.epochs, self.steps, self.batch, self.first = epochs, steps, batch, done
        self.total = epochs * steps if total is None else total
        self.began = self.epoch_began = time.monotonic()
        self.due = self.began + INTERVAL
        self.images_per_second: float | None = None
        self.loss: float | None = None
        # disable=None: tqdm shows no bar if the output is a file.
        hidden = None if show and not has_listener() else True
        self.bar = tqdm(total=self.total, initial=done * steps, unit="step", disable=hidden, leave=False)

    def step(self, epoch: int, done: int) -> None:
        """Count that ``done`` steps of ``epoch`` (counted from 0) have been launched."""
        now = time.monotonic()
        if done == 1:
            self.epoch_began = now
        if now < self.due:
            return
        self.due = now + INTERVAL
        # On a GPU, the first steps are launched faster than they are executed.
        if now - self.epoch_began >= 1.0:
            self.images_per_second = (done - 1) * self.batch / (now - self.epoch_began)
        report(self.status(epoch, done, now))
        if not self.bar.disable:
            self.bar.update(epoch * self.steps + done - self.bar.n)

    def validating(self, epoch: int) -> None:
        """Report that the validation after ``epoch`` begins."""
        now = time.monotonic()
        report(Status(f"{self._epoch(epoch)}, validation", left=self._left(epoch, self.steps, now)))

    def epoch(self, epoch: int, row: dict[str, float]) -> None:
        """Show the history ``row`` of an ``epoch`` that has ended. The loss is known only at the end of an epoch."""
        self.loss, self.images_per_second = row["loss"], row["images_per_second"]
        if not self.bar.disable:
            self.bar.update(min((epoch + 1) * self.steps, self.total) - self.bar.n)
            shown = {"loss": f"{row['loss']:.2f}", "images/s": f"{row['images_per_second']:,.0f}"}
            self.bar.set_postfix(shown | {key: f"{row[key]:.2f}" for key in row if key.startswith("validation_")})

    def close(self) -> None:
        """Close the progress bar and report that training has ended."""
        self.bar.close()
        report(Status("trained"))

    def status(self, epoch: int, done: int, now: float) -> Status:
        """The status of training after ``done`` steps of ``epoch``."""
        notes = [] if self.images_per_second is None else [f"{self.images_per_second:,.0f} images/s"]
        notes += [] if self.loss is None else [f"loss {self.loss:.2f}"]
        left = self._left(epoch, done, now)
        steps = min(self.steps, self.total - epoch * self.steps)
        return Status(self._epoch(epoch), done, steps, "steps", left, tuple(notes))

    def _epoch(self, epoch: int) -> str:
        return f"epoch {epoch + 1}/{self.epochs}"

    def _left(self, epoch: int, done: int, now: float) -> float:
        """Seconds left, from the mean time per step in this process, including validations."""
        taken = (epoch - self.first) * self.steps + done
        return (now - self.began) / max(1, taken) * max(0, self.total - epoch * self.steps - done)
