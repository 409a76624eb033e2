"""How a command's progress is shown, on a terminal and in a file."""

import contextlib
import fcntl
import logging
import os
import pty
import struct
import sys
import termios
import time

import pytest

from benchmarks.progress import screen
from benchmarks.progress.report import Status, doing
from benchmarks.progress.screen import Screen, TaskScreen, running_text, shortened


@pytest.mark.parametrize(
    ("status", "age", "left", "expected"),
    [
        (Status("evaluating: likelihood", 3000, 10000, "images"), 0, None,
         "evaluating: likelihood, 3,000/10,000 images"),
        (Status("drawing pictures"), 3, None, "drawing pictures"),
        (Status("drawing pictures"), 34, None, "drawing pictures, for 34 s"),
        (Status("drawing pictures"), 34, 5.0, "drawing pictures, for 34 s, about 5 s left"),
        (Status("epoch 3/12", 214, 600, "steps", 130.0, ("5,230 images/s",)), 10, None,
         "epoch 3/12, 214/600 steps, training ends in about 2 min, 5,230 images/s"),
        (Status("epoch 3/12", 214, 600, "steps", 130.0, ("5,230 images/s",)), 10, 150.0,
         "epoch 3/12, 214/600 steps, about 2 min 30 s left, 5,230 images/s"),
        (Status("evaluating"), 0, 0.0, "evaluating"),
    ],
)  # fmt: skip
def test_a_status_in_words(status, age, left, expected):
    assert running_text(status, age, left) == expected


def test_a_line_never_wraps():
    assert shortened("four", 4) == "four"
    assert shortened("fives", 4) == "fiv…"


def test_in_a_file_lines_come_every_minute_and_at_once_what_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(screen, "MINUTE", 0.1)
    with Screen(lambda now: ["run  epoch 1/2", "0 of 2 runs ended"]) as shown:
        shown.print_in_file("run: started")
        time.sleep(0.35)
        shown.print("run: ended")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["run: started", "run  epoch 1/2", "0 of 2 runs ended"]
    assert lines[-1] == "run: ended"
    assert 2 <= lines.count("run  epoch 1/2") <= 4


def test_a_silent_step_is_shown_by_its_own_time(monkeypatch, capsys):
    monkeypatch.setattr(screen, "MINUTE", 0.1)
    monkeypatch.setattr(screen, "SILENT", 0.0)
    with TaskScreen(), doing("loading the weights"):
        time.sleep(0.25)
    assert "loading the weights, for 0 s" in capsys.readouterr().out.splitlines()


def test_a_reader_that_is_gone_ends_no_command(monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError

        def flush(self):
            raise BrokenPipeError

        def isatty(self):
            return False

    monkeypatch.setattr(screen, "MINUTE", 0.05)
    monkeypatch.setattr(sys, "stdout", Gone())
    with Screen(lambda now: ["line"]):
        time.sleep(0.2)


def everything(descriptor):
    """Return everything that was written to a terminal whose other end is closed."""
    text = b""
    with contextlib.suppress(OSError):
        while part := os.read(descriptor, 4096):
            text += part
    os.close(descriptor)
    return text.decode()


def test_on_a_terminal_lines_are_redrawn_and_gone_at_the_end(monkeypatch):
    parent, child = pty.openpty()
    with os.fdopen(child, "w") as terminal:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, terminal)
        monkeypatch.setattr(screen, "REFRESH", 0.05)
        numbers = iter(range(10**6))
        with Screen(lambda now: [f"step {next(numbers)}", "0 of 2 runs ended, about 2 h 10 min left"]) as shown:
            assert shown.on_terminal
            assert not shown.in_file
            shown.print_in_file("not here: it is shown anyway")
            time.sleep(0.3)
            shown.print("run: ended")
            logging.getLogger("benchmarks").warning("a warning")
            time.sleep(0.1)
        terminal.write("after")
    text = everything(parent)
    assert "\rstep 1" in text
    assert "0 of 2 runs ended, about 2 h…" in text
    assert "not here" not in text
    # Printed text is on a line of its own, above the lines that are redrawn.
    assert "run: ended\r\n" in text
    # No part of the progress display remains on the last line.
    assert text.rpartition("\r")[2].strip() == "after"
