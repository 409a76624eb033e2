"""The YAML files of ``conf/`` and of the user's folders: their paths, their names, and checks that they can be read.

Every name belongs to one file. Files in the user's folders cannot use a name that exists already, because records,
boards and run ids contain the name but not the file. This module imports neither torch nor Hydra.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import yaml

from benchmarks.errors import UserError
from benchmarks.records.checks import LONGEST_NAME
from variants import sources
from variants.options import nearest
from variants.own_files import OwnFileError, folders

CONF_VARIABLE = "VAE_CONF_PATH"
LAUNCHERS = "hydra/launcher"
# Folder of a group of files -> the word for one of its names in messages.
GROUPS = {
    "budget": "budget",
    "dataset": "data set",
    LAUNCHERS: "launcher",
    "network": "network",
    "paper": "paper target",
    "profile": "profile",
}
# Group -> the sections that its files can set if they begin with "# @package _global_". Hydra reads files in the order
# of conf/config.yaml: what a file sets in another section is replaced by later files.
SECTIONS = {
    "profile": ("profile", "dataset", "training", "evaluation"),
    "dataset": ("dataset", "network", "training", "evaluation"),
    "budget": ("dataset", "network", "variant", "training", "evaluation"),
}
NAME = re.compile(rf"[A-Za-z][A-Za-z0-9_-]{{0,{LONGEST_NAME - 1}}}")
# The name of the data set of images that are passed in memory (benchmarks.fit). It has no file.
GIVEN_IMAGES = "given_images"
# Reserved names: those of other pages of the reports, and words with another meaning where a name is expected.
TAKEN = {
    "all", "api", "inf", "index", "nan", "readme", "reproduction", "results", "speed", "variants", GIVEN_IMAGES,
}  # fmt: skip
# Beginning of an error message of PyYAML -> how to correct the error.
MENDS = {
    "found character '\\t'": "indent with spaces instead of tabs",
    "found unknown escape character": "write a Windows path with / or in single quotes",
    "expected escape sequence": "write a Windows path with / or in single quotes",
    "mapping values are not allowed": "put a value that has a colon in quotes",
    "could not find expected ':'": "write key: value",
    "expected <block end>": "use the same indentation for all lines of a block",
    "found unexpected end of stream": "close the quote or bracket",
    "found undefined alias": "put a value that begins with * in quotes",
    "could not determine a constructor": "put a value that begins with ! in quotes",
}


def conf_folder() -> Path:
    """The folder of the Hydra files: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def conf_path() -> list[Path]:
    """The user's folders of Hydra files, with the same layout as ``conf/``. They are listed in the environment variable
    ``VAE_CONF_PATH``, separated as in ``PATH``. Raises :class:`UserError` for a folder that does not exist."""
    try:
        found = folders(CONF_VARIABLE)
    except OwnFileError as error:
        raise UserError(str(error)) from None
    for folder in found:
        # Hydra would interpolate it.
        if "${" in str(folder):
            raise UserError(
                f"{CONF_VARIABLE} names {shown(folder)}: the name of a configuration folder must not contain ${{"
            )
    return found


def choices(group: str) -> list[str]:
    """The names of a group: those of its files in ``conf/`` and the user's folders, and for networks also those defined
    in code. Raises :class:`UserError`."""
    return sorted({*files(group), *(sources.networks() if group == "network" else ())})


def files(group: str) -> dict[str, Path]:
    """The files of a group by name. Raises :class:`UserError` for an invalid name and for one that exists already."""
    found = {path.stem: path for path in sorted((conf_folder() / group).glob("*.yaml"))}
    code = sources.networks() if group == "network" else ()
    for folder in conf_path():
        for path in sorted((folder / group).glob("*.y*ml")):
            name = path.stem
            if path.suffix != ".yaml":
                raise UserError(f"{shown(path)} would be ignored: rename it to {name}.yaml")
            taken = name.lower() in TAKEN or (group == "paper" and name == "quick")
            if not NAME.fullmatch(name) or taken or not isinstance(yaml.safe_load(name), str):
                raise UserError(
                    f"{shown(path)}: {name!r} cannot be the name of a {GROUPS[group]}: use at most {LONGEST_NAME} "
                    "letters, digits, _ and -, starting with a letter, and no reserved word"
                )
            if name in found or name in code:
                first = shown(found[name]) if name in found else "the suite's code"
                raise UserError(
                    f"{shown(path)}: the {GROUPS[group]} {name!r} is already in {first}: rename one of them"
                )
            found[name] = path
    return found


def described(group: str) -> dict[str, str]:
    """A description of every name of a group: the title in its file, the budget of a profile, or ""."""
    found = dict.fromkeys(choices(group), "")
    for name, path in files(group).items():
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        own = content.get(group)
        text = (own if isinstance(own, dict) else content).get("title", "")
        if group == "profile":
            text = ", ".join(
                f"{label} = {content[section][key]}"
                for label, section, key in (("epochs", "training", "epochs"), ("K", "evaluation", "importance_samples"))
                if isinstance(content.get(section), dict) and key in content[section]
            )
        found[name] = text if isinstance(text, str) and text.isprintable() else ""
    return found


def check_files() -> None:
    """Raise :class:`UserError` for a file in ``conf/`` or the user's folders that cannot be read or has no effect."""
    for folder in conf_path():
        _check_folder(folder)
    _check_budgets()
    for group in GROUPS:
        for path in files(group).values():
            _check_file(path, group)


def _check_folder(folder: Path) -> None:
    for name in ("config.yaml", "schema.yaml"):
        if (folder / name).exists():
            raise UserError(
                f"{shown(folder / name)} would have no effect: only files in the folders {_groups()} are read"
            )
    if not any((folder / group).is_dir() for group in GROUPS):
        raise UserError(f"{CONF_VARIABLE} names {shown(folder)}, which has none of the folders {_groups()}")
    for child in sorted(path for path in folder.iterdir() if path.is_dir()):
        if child.name in {group.partition("/")[0] for group in GROUPS} or not any(child.glob("*.yaml")):
            continue
        near = nearest(child.name, GROUPS)
        if near or child.name == "variant":
            raise UserError(f"{shown(child)} would be ignored{near} (allowed: {_groups()})")


def _check_budgets() -> None:
    """Raise :class:`UserError` for a budget whose name is not that of a data set and a profile: it has no effect."""
    meant = {f"{dataset}_{profile}" for dataset in files("dataset") for profile in files("profile")}
    for name, path in files("budget").items():
        if name not in meant:
            hint = nearest(name, sorted(meant))
            raise UserError(f"{shown(path)} would have no effect: its name must be <data set>_<profile>{hint}")


def _check_file(path: Path, group: str) -> None:
    try:
        status = path.stat()
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read: {error.strerror}") from None
    _check_content(path, group, status.st_mtime_ns, status.st_size)


@cache
def _check_content(path: Path, group: str, changed: int, size: int) -> None:
    """Check the content of a file. ``changed`` and ``size`` are for the cache: an unchanged file is checked once."""
    try:
        text = path.read_bytes().decode("utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            raise UserError(f"{shown(path)} is empty: expected lines of the form key: value")
        if not isinstance(root, yaml.MappingNode):
            raise UserError(f"{shown(path)}, line {root.start_mark.line + 1}: expected lines of the form key: value")
        for mapping in _mappings(root):
            _check_keys(path, mapping)
        yaml.SafeLoader("").construct_document(root)
        if group in SECTIONS:
            _check_sections(path, group, text, root)
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"{shown(path)} is not text in UTF-8: save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{shown(path)} cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        problem = " ".join((error.problem or error.context or "is not valid YAML").split())
        mend = next((f": {mend}" for begins, mend in MENDS.items() if problem.startswith(begins)), "")
        raise UserError(f"{shown(path)}{line}: {problem}{mend}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{shown(path)}: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{shown(path)} is nested too deeply") from None


def _mappings(root: yaml.Node) -> Iterator[yaml.MappingNode]:
    # `seen` is needed because an alias is a node that occurred before.
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            waiting += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _check_keys(path: Path, mapping: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, value in mapping.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"{shown(path)}, line {line}: a key must be a word")
        if key.value in lines:
            raise UserError(
                f"{shown(path)}, line {line}: {key.value!r} is already set in line {lines[key.value]}: delete one"
            )
        lines[key.value] = line
        # In a Windows path such as "C:\new", \n would be a line break.
        if key.value in ("path", "labels") and isinstance(value, yaml.ScalarNode) and not value.value.isprintable():
            raise UserError(
                f"{shown(path)}, line {line}: {value.value!r} contains a control character, because a backslash in "
                f"double quotes is an escape: {MENDS['found unknown escape character']}"
            )


def _check_sections(path: Path, group: str, text: str, root: yaml.MappingNode) -> None:
    if _package(text) != "_global_":
        if group != "dataset":
            raise UserError(f"{shown(path)} would have no effect: begin the file with '# @package _global_'")
        return
    allowed = SECTIONS[group]
    for key, value in root.value:
        where = f"{shown(path)}, line {key.start_mark.line + 1}"
        if key.value not in ("defaults", *allowed):
            why = ": seeds are set with SEEDS=… (make) or --seeds …" if key.value == "seed" else ""
            hint = nearest(key.value, allowed)
            raise UserError(
                f"{where}: {key.value} has no effect in a {GROUPS[group]}{why}{hint} (allowed: {', '.join(allowed)})"
            )
        if key.value not in ("defaults", "profile") and not isinstance(value, yaml.MappingNode):
            raise UserError(f"{where}: {key.value} must be a group of options, got {value.value!r}")
    name = next((value.value for key, value in root.value if key.value == "profile"), None)
    if group == "profile" and name != path.stem:
        raise UserError(f"{shown(path)}: profile must be the name of the file, {path.stem!r}, got {name!r}")


def _package(text: str) -> str | None:
    """What Hydra's comment "# @package …" names; None if there is no such comment."""
    found = re.search(r"^#\s*@package\s+(\S+)", text, re.MULTILINE)
    return found[1] if found else None


def origin(option: str, paths: Iterable[Path]) -> str:
    """The first of the files that sets an option such as "training.epochs", and the line, as the beginning of a
    message; "" if none sets it."""
    for path in paths:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        line = None
        for name in option.split(".") if _package(text) == "_global_" else option.split(".")[1:]:
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            line, node = next(((key.start_mark.line, value) for key, value in pairs if key.value == name), (None, None))
        if line is not None:
            return f"{shown(path)}, line {line + 1}: "
    return ""


def _groups() -> str:
    return ", ".join(GROUPS)


def shown(path: Path) -> str:
    """The path as text, relative to the working directory if it is inside, and quoted if it has characters that are not
    printable."""
    here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return str(here) if str(here).isprintable() else repr(str(here))
