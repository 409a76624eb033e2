"""Checks of a record's content: names, texts and numbers within bounds.

People exchange records, so nothing in a record is trusted before it is checked here. A run's own facts are brought
within the same bounds before they are written (:func:`tidy`), so that no record of the suite is rejected later.
"""

from __future__ import annotations

import re
from typing import Any

# A run id contains three names, and is the name of a folder, for which file systems allow 255 bytes.
LONGEST_NAME = 64
LONGEST_RUN_ID = 240
LONGEST_TEXT = 20_000
# Reports square numbers, which must stay finite, and plot axes overflow beyond this.
LARGEST = 1e100
DEEPEST = 16
# Letters and digits of any script. Excluded are path separators, "$" (a formula for matplotlib) and invisible
# characters.
_NAME = re.compile(r"\w[\w.+-]*")


def check_name(where: str, value: object) -> None:
    """Raise ``ValueError`` unless ``value`` can be a part of a run id."""
    if not isinstance(value, str) or len(value) > LONGEST_NAME or not _NAME.fullmatch(value):
        raise ValueError(
            f"{where} must be a name of up to {LONGEST_NAME} letters, digits and _ . + - that begins with a letter or "
            f"a digit, got {value!r:.80}"
        )


def check_text(where: str, value: object) -> None:
    """Raise ``ValueError`` unless ``value`` is a string that can be written as UTF-8, and not too long."""
    if not isinstance(value, str):
        raise ValueError(f"{where} must be a text, got {value!r:.80}")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"{where} has {len(value):,} characters, more than {LONGEST_TEXT:,}")
    if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{where} is not Unicode: {value!a:.80}")


def check_number(where: str, value: object) -> None:
    """Raise ``ValueError`` unless ``value`` is a number that reports can compute with."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        # Python does not convert an integer of thousands of digits to a text.
        shown = "an integer" if isinstance(value, int) and not isinstance(value, bool) else f"{value!r:.80}"
        raise ValueError(f"{where} must be a finite number of at most {LARGEST:g}, got {shown}")


def check_whole(where: str, value: object, low: int, high: int) -> None:
    """Raise ``ValueError`` unless ``value`` is a whole number from ``low`` to ``high``."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        shown = "an integer out of range" if isinstance(value, int) and abs(value) > LARGEST else f"{value!r:.80}"
        raise ValueError(f"{where} must be a whole number from {low} to {high}, got {shown}")


def check_plain(where: str, value: object, depth: int = 0) -> None:
    """Raise ``ValueError`` unless ``value`` consists only of texts, numbers, booleans, None, lists and dicts."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        check_text(where, value)
    elif isinstance(value, int | float):
        check_number(where, value)
    elif depth == DEEPEST:
        raise ValueError(f"{where:.200} is nested too deeply")
    elif isinstance(value, dict):
        for key, entry in value.items():
            check_text(f"a key of {where:.200}", key)
            check_plain(f"{where}.{key:.80}", entry, depth + 1)
    elif isinstance(value, list | tuple):
        for entry in value:
            check_plain(where, entry, depth + 1)
    else:
        raise ValueError(f"{where} must be plain data, got {type(value).__name__}")


def printable(text: str) -> str:
    """``text`` without control, bidirectional and other invisible characters; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else " " if character.isspace() else ""
        for character in text
    )


def in_one_line(text: str) -> str:
    """``text`` for a message: without invisible characters and line breaks."""
    return " ".join(printable(text).split())


def all_printable(value: Any) -> Any:
    """Plain data with :func:`printable` applied to every text, including keys."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): all_printable(entry) for key, entry in value.items()}
    return [all_printable(entry) for entry in value] if isinstance(value, list) else value


def tidy(value: Any) -> Any:
    """``value`` as plain data within the bounds.

    Texts are shortened, numbers that are out of range become None, and other objects become their text.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if abs(value) <= LARGEST else None
    if isinstance(value, dict):
        return {tidy(str(key)): tidy(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(entry) for entry in value]
    # An error's message may contain a file name that is not Unicode, with lone surrogates.
    return printable(str(value).encode("utf-8", "backslashreplace").decode())[:LONGEST_TEXT]
