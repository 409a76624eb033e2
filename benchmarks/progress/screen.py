"""Shows the progress of a command: updated in place on a terminal, printed every minute if the output is a file."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from benchmarks.progress.report import Status, duration, listening

# Seconds between two updates on a terminal, and between two prints to a file.
REFRESH = 0.5
MINUTE = 60.0
# Seconds after which a line shows how long a step without a count has been running.
SILENT = 10.0


class Screen:
    """Shows the lines that ``lines`` returns for the current time (of ``time.monotonic``) while the block runs.

    A separate thread calls ``lines``, so that updates continue during a step that reports nothing. On a terminal, the
    lines are below the printed and logged output and disappear at the end. If standard output or standard error is a
    file, they are printed every minute. With ``plain``, they are always printed every minute and never updated in
    place; this is for processes that share a terminal.
    """

    def __init__(self, lines: Callable[[float], Sequence[str]], plain: bool = False) -> None:
        self._lines, self._every = lines, MINUTE
        self.on_terminal = sys.stderr.isatty() and not plain
        self.in_file = not (self.on_terminal and sys.stdout.isatty())
        self._bars: list[tqdm[Any]] = []
        self._ended = threading.Event()
        self._drawing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._stack = ExitStack()

    def __enter__(self) -> Screen:
        if self.on_terminal:
            self._stack.enter_context(logging_redirect_tqdm())
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        with self._drawing:
            for bar in reversed(self._bars):
                bar.close()
        self._stack.close()

    def print(self, line: str) -> None:
        """Print ``line`` immediately, above the lines that are updated in place."""
        tqdm.write(line)
        sys.stdout.flush()

    def print_in_file(self, line: str) -> None:
        """Print ``line`` only if the output is a file; a terminal shows the same information anyway."""
        if self.in_file:
            self.print(line)

    def _run(self) -> None:
        due = time.monotonic() + self._every
        try:
            while not self._ended.wait(min(REFRESH, self._every)):
                now = time.monotonic()
                lines = self._lines(now)
                # After the block has ended, the lines are removed and must not be drawn again.
                with self._drawing:
                    if self.on_terminal and not self._ended.is_set():
                        self._draw(lines)
                    if self.in_file and now >= due and not self._ended.is_set():
                        due = now + self._every
                        for line in lines:
                            self.print(line)
        except (OSError, ValueError):
            # The reader of a pipe has exited, as `head` does, or the file is closed. The command itself gets the same
            # error when it prints next.
            return

    def _draw(self, lines: Sequence[str]) -> None:
        # Some terminals report a width of 0.
        width = (os.get_terminal_size(sys.stderr.fileno()).columns or 80) - 1
        while len(self._bars) < len(lines):
            self._bars.append(tqdm(bar_format="{desc}", position=len(self._bars), leave=False))
        for number, bar in enumerate(self._bars):
            bar.set_description_str(shortened(lines[number], width) if number < len(lines) else "")


class TaskScreen(Screen):
    """A screen with one line, which shows the latest report of the block; for commands without parallel runs."""

    def __init__(self) -> None:
        self._status, self._since = Status("starting"), time.monotonic()
        super().__init__(lambda now: [running_text(self._status, now - self._since)])

    def __enter__(self) -> TaskScreen:
        super().__enter__()
        self._stack.enter_context(listening(self._receive))
        return self

    def _receive(self, status: Status) -> None:
        self._status, self._since = status, time.monotonic()


def running_text(status: Status, age: float, left: float | None = None) -> str:
    """Describe a status that was received ``age`` seconds ago, with the seconds ``left`` of the run if they are known.
    A long step without a count is shown with the time it has been running."""
    parts = [status.text]
    if status.left is None and not status.total and age >= SILENT:
        parts.append(f"for {duration(age)}")
    if left is not None and left >= 1:
        parts.append(f"about {duration(left)} left")
    elif left is None and status.left is not None:
        parts.append(f"training ends in about {duration(status.left - age)}")
    return ", ".join([*parts, *status.notes])


def shortened(text: str, width: int) -> str:
    """``text``, cut to at most ``width`` characters."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"
