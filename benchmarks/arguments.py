"""Parsing of the command line: types of its flags, and overrides.

Imports nothing heavy, because every command parses its arguments first.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.errors import UserError
from variants.options import nearest

# Maximum number of seeds; more are probably a typing error.
MOST_SEEDS = 1000
CLOSING = {"[": "]", "{": "}", "(": ")"}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises its errors as one-line :class:`UserError`, and stores its flags for hints."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.flags: list[str] = []
        super().__init__(*arguments, **options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Like the method of ``argparse``, and stores the names of the flags to find the nearest match."""
        self.flags += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        """Raise :class:`UserError`. ``argparse`` calls this for every invalid argument."""
        raise UserError(re.sub("^argument (--[a-z]+):", r"\1", message))


def parse(parser: Parser, commands: dict[str, Parser], arguments: Sequence[str]) -> argparse.Namespace:
    """Parse ``arguments``. ``commands`` are the subparsers by name. Raises :class:`UserError`."""
    name = arguments[0] if arguments else ""
    if name and not name.startswith("-") and name not in commands:
        raise UserError(f"unknown command {name!r}{nearest(name, commands)} (allowed: {', '.join(commands)})")
    options, rest = parser.parse_known_args(arguments)
    takes_overrides = hasattr(options, "overrides")
    # `rest` contains unknown flags, and positional arguments that follow a later flag.
    for argument in rest:
        if argument.startswith("-"):
            flags = commands[name].flags if name in commands else parser.flags
            flag = argument.partition("=")[0]
            raise UserError(f"unknown flag {flag!r}{nearest(flag, flags)} (allowed: {', '.join(flags)})")
        if not takes_overrides:
            raise UserError(f"unexpected argument {argument!r} of {name}")
    if takes_overrides:
        options.overrides = [*options.listed, *joined([*options.overrides, *rest])]
    return options


def path(text: str) -> Path:
    """A path of a file or folder. ``~`` is expanded to the home folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError(f"must be a path, got {text!r}")
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"must be a path without a null byte, got {text!r}")
    return Path(os.path.expanduser(text))


def whole(text: str) -> int:
    """A whole number above 0."""
    if not re.fullmatch(r"\s*\d+\s*", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {text!r}")
    return value


def seeds(text: str) -> list[int]:
    """Seeds from "0,1,2", "0-4" or a combination, without duplicates."""
    found: dict[int, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        ends = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if first > last:
            raise _no_seeds(text)
        # At most one seed too many, however long the range is.
        found.update(dict.fromkeys(range(first, min(last, first + MOST_SEEDS) + 1)))
        if len(found) > MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"must be at most {MOST_SEEDS} seeds, got {text!r}")
    if not found:
        raise _no_seeds(text)
    return list(found)


def _no_seeds(text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(
        f"must be whole numbers from 0 such as 0,1,2, or a range such as 0-4, got {text!r}"
    )


def overrides(text: str) -> list[str]:
    """Hydra overrides from one string, separated by spaces. Spaces inside quotes or brackets, after a backslash and
    around "=" do not separate: ``network.hidden=[64, 32] training.epochs = 3`` are two overrides. Quotes around a whole
    override are removed, as in a shell."""
    try:
        return _with_values(_separated(text))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def joined(words: Sequence[str]) -> list[str]:
    """Overrides from words of a shell. Words that the shell split at a space inside brackets or around "=" are joined
    again."""
    found: list[str] = []
    for word in words:
        if found and _is_open(found[-1]):
            found[-1] += f" {word}"
        else:
            found.append(word)
    # Remove spaces around "=" inside a word, which the user put in quotes.
    return _with_values([re.sub(r"^([^\s='\"\[{(]+)\s*=\s*", r"\1=", word) for word in found])


def _with_values(words: Sequence[str]) -> list[str]:
    """Join ``words`` that were split before or after "="."""
    found: list[str] = []
    for word in words:
        before = found[-1] if found else ""
        after_equals = before.endswith("=") and "=" not in word
        before_equals = before and "=" not in before and word.startswith("=")
        if after_equals or before_equals:
            found[-1] += word
        else:
            found.append(word)
    return found


def _is_open(text: str) -> bool:
    try:
        _separated(text)
    except UnclosedError:
        return True
    except UserError:
        pass
    return False


class UnclosedError(UserError):
    """A bracket that is not closed."""


def _separated(text: str) -> list[str]:
    """Split ``text`` at spaces outside quotes and brackets. Raises :class:`UserError` if these do not match."""
    found: list[str] = []
    current, quote, open_brackets, escaped = "", "", "", False
    for character in text:
        if character.isspace() and not (quote or open_brackets or escaped):
            found.append(current)
            current = ""
            continue
        current += character
        if escaped:
            escaped = False
        elif character == "\\":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in CLOSING:
            open_brackets += character
        elif character in CLOSING.values():
            if not open_brackets or CLOSING[open_brackets[-1]] != character:
                raise UserError(f"{character!r} has no opening bracket in {current!r}")
            open_brackets = open_brackets[:-1]
    if quote:
        raise UserError(f"{quote!r} is not closed in {current!r}")
    if open_brackets:
        raise UnclosedError(f"{open_brackets[-1]!r} is not closed in {current!r}")
    return [_without_outer_quotes(override) for override in [*found, current] if override]


def _without_outer_quotes(override: str) -> str:
    quoted = re.fullmatch(r"'([^']*)'|\"([^\"]*)\"", override)
    return (quoted[1] or quoted[2] or "") if quoted else override


def values_of(override: str) -> list[str]:
    """Split an override with several values, such as ``variant.beta=2,4`` or ``training.epochs=range(1,3)``, into
    overrides with one value each. Raises :class:`UserError` for an override that cannot be parsed."""
    # Imported here because importing Hydra takes a moment.
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ValueType
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        raise UserError(_unreadable(override)) from None
    if not parsed.is_sweep_override():
        return [override]
    if parsed.value_type not in (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP, ValueType.RANGE_SWEEP):
        raise UserError(f"{override!r} cannot be run: list the values, as in {parsed.get_key_element()}=1,2,3")
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def expanded(given: Sequence[str]) -> list[list[str]]:
    """All combinations of the values of overrides that have several values. Raises :class:`UserError`."""
    return [list(combination) for combination in itertools.product(*map(values_of, given))]


def _unreadable(override: str) -> str:
    """A message for the user that says why Hydra cannot parse an override."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override!r} is not an override: write key=value, such as training.epochs=3"
    try:
        _separated(value)
    except UserError as error:
        return f"{override!r} cannot be read: {error}"
    return f"{override!r} cannot be read: put the value in quotes, as in {key.strip()}='value'"


# Options of a cell that are set with their own flag and make setting, not with an override.
OWN_FLAGS = {"variant": "variants", "dataset": "datasets", "seed": "seeds", "profile": "profile"}


def check_overrides(given: Sequence[str], launcher: str | None) -> tuple[list[str], list[str]]:
    """Split overrides into those of the cells and those of the launcher. Raises :class:`UserError` for an option that
    has its own flag, for a launcher's option without a launcher, for an override that deletes an option or has no
    effect, and for an option that is given twice."""
    own: list[str] = []
    of_launcher: list[str] = []
    seen: dict[str, str] = {}
    for override in given:
        key = re.split("[=@]", override.lstrip("+~"), maxsplit=1)[0].strip()
        if key in seen:
            raise UserError(f"{seen[key]!r} and {override!r} set the same option: give only one of them")
        seen[key] = override
        if override.startswith("~") and "." in key:
            raise UserError(f"{override!r} deletes an option: set its value instead, {key}=…")
        if override.partition("=")[2].strip() == "{}":
            raise UserError(f"{override!r} has no effect: it sets no option")
        flag = "launcher" if key == "hydra/launcher" else OWN_FLAGS.get(key)
        if flag:
            raise UserError(f"{override!r} cannot be an override: use {flag.upper()}=… (make) or --{flag} …")
        if not key.startswith(("hydra.", "hydra/")):
            own.append(override)
        elif launcher is None:
            raise UserError(f"{override!r} has no effect without a launcher: use LAUNCHER=… (make) or --launcher …")
        else:
            of_launcher.append(override)
    return own, of_launcher
