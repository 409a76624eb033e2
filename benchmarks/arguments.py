"""What the command line accepts: types of its flags, and overrides in one string.

Imports nothing heavy, because every command parses its arguments first.
"""

from __future__ import annotations

import argparse
import difflib
import itertools
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.errors import UserError

# A sweep has at most this many seeds; a longer range is a typing error.
MOST_SEEDS = 1000
CLOSING = {"[": "]", "{": "}", "(": ")"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, raised as :class:`UserError`, and name the nearest flag."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.flags: list[str] = []
        super().__init__(*arguments, **options)

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """As in ``argparse``; the flags' names are kept for the nearest match."""
        self.flags += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        """Called by ``argparse`` for every argument that it refuses."""
        raise UserError(re.sub("^argument (--[a-z]+):", r"\1", message))


def parse(parser: Parser, commands: dict[str, Parser], arguments: Sequence[str]) -> argparse.Namespace:
    """The options of ``arguments``. ``commands`` are the subparsers by name. Raises :class:`UserError`."""
    name = arguments[0] if arguments else ""
    if name and not name.startswith("-") and name not in commands:
        raise UserError(f"unknown command {name!r}{nearest(name, commands)} (allowed: {', '.join(commands)})")
    options, rest = parser.parse_known_args(arguments)
    takes_overrides = hasattr(options, "overrides")
    # argparse leaves over what it does not know, and positional arguments that follow a later flag.
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


def nearest(name: str, known: Sequence[str] | dict[str, Any]) -> str:
    """ "; did you mean ...?" with the nearest of ``known``; empty where none is near."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def path(text: str) -> Path:
    """A file or a folder, ``~`` standing for a home folder."""
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
    """Seeds from "0,1,2", "0-4" or both, each once."""
    found: dict[int, None] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        ends = re.fullmatch(r"(\d+)(?:\s*-\s*(\d+))?", part)
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if first > last:
            raise _no_seeds(text)
        if last - first >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"must be at most {MOST_SEEDS} seeds, got {text!r}")
        found.update(dict.fromkeys(range(first, last + 1)))
    if not found:
        raise _no_seeds(text)
    return list(found)


def _no_seeds(text: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(
        f"must be whole numbers from 0 such as 0,1,2, or a range such as 0-4, got {text!r}"
    )


def overrides(text: str) -> list[str]:
    """Hydra overrides from one string, separated by spaces. A space inside quotes or brackets, or after a backslash,
    belongs to its override, as does one around "=": ``network.hidden=[64, 32] training.epochs = 3`` are two. Quotes
    around a whole override are dropped, as a shell drops them."""
    try:
        return _with_values(_separated(text))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def joined(words: Sequence[str]) -> list[str]:
    """Overrides from the words of a shell, which split those that were not in quotes: a list with spaces, and spaces
    around "="."""
    found: list[str] = []
    for word in words:
        if found and _is_open(found[-1]):
            found[-1] += f" {word}"
        else:
            found.append(word)
    # A space around the "=" of one word, in quotes.
    return _with_values([re.sub(r"^([^\s='\"\[{(]+)\s*=\s*", r"\1=", word) for word in found])


def _with_values(words: Sequence[str]) -> list[str]:
    """``words`` with what stands around a lone "=" put together."""
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
    """``text`` cut at spaces outside quotes and brackets. Raises :class:`UserError` where these do not match."""
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
    """An override that gives several values as several that give one: ``variant.beta=2,4`` and ``training.epochs=
    range(1,3)``. Raises :class:`UserError` for one that cannot be read."""
    # Here, because Hydra takes a moment to import.
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
    """Every combination of the values of overrides that give several. Raises :class:`UserError`."""
    return [list(combination) for combination in itertools.product(*map(values_of, given))]


def _unreadable(override: str) -> str:
    """Why Hydra's grammar does not take an override, in words of its user."""
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override!r} is not an override: write key=value, such as training.epochs=3"
    try:
        _separated(value)
    except UserError as error:
        return f"{override!r} cannot be read: {error}"
    return f"{override!r} cannot be read: put the value in quotes, as in {key.strip()}='value'"


# Options of a cell that have a flag and a make setting of their own.
OWN_FLAGS = {"variant": "variants", "dataset": "datasets", "seed": "seeds", "profile": "profile"}


def check_overrides(given: Sequence[str], launcher: str | None) -> tuple[list[str], list[str]]:
    """Overrides of the cells and those of the launcher. Raises :class:`UserError` for one that would replace what a
    flag sets, for one of a launcher where there is none, and for an option that is given twice."""
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
