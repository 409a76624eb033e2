"""Words of the messages that a user reads."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """ "1 cell", "2 cells"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """ "40 s", "12 minutes", "3.5 hours", "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
