"""Select and import the user's Python files in the folders that an environment variable lists.

A file is imported if it imports ``package`` and mentions ``register``. Other files, such as a script or a module that
several variants share, are imported only if one of these files imports them by name (``import shared``). This module
does not import torch, because reports import such files too.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

_REGISTER = "register"


class OwnFileError(ValueError):
    """One of the user's folders or files cannot be used. The message is one line that names it."""


def folders(variable: str) -> list[Path]:
    """The folders that the environment variable lists, separated as in ``PATH``. Raises :class:`OwnFileError`."""
    found = []
    for part in filter(None, os.environ.get(variable, "").split(os.pathsep)):
        folder = Path(os.path.expanduser(part))
        # os.path, because the methods of a path raise an error below a folder that may not be entered.
        if not os.path.isdir(folder):
            raise OwnFileError(f"{variable} names {part!r}, which is not a folder that can be read")
        found.append(folder.resolve())
    return list(dict.fromkeys(found))


def import_folder(
    folder: Path, package: str, registry: MutableMapping[str, Any], imported: set[str], variable: str
) -> None:
    """Import every file in ``folder`` that registers something with ``package``.

    ``imported`` is the set of paths that are imported already; these are skipped, and new paths are added. If the
    import of a file fails, ``registry`` is restored to its state before that file.

    Raises :class:`OwnFileError` for a folder without such a file and for a file that cannot be imported.
    """
    paths = [path for path in sorted(folder.glob("*.py")) if path.is_file() and _registers(path, package)]
    if not paths:
        raise OwnFileError(f"{variable} names {str(folder)!r}, in which no file imports {package} and calls register")
    if str(folder) not in sys.path:
        # Appended at the end, so that no file in the folder shadows another module.
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    # Modules imported earlier, whose registrations may be gone: these are imported again.
    stale = set(sys.modules)
    for path in paths:
        if str(path) in imported:
            continue
        before = dict(registry)
        try:
            _import(path, stale)
        except OwnFileError:
            registry.clear()
            registry.update(before)
            raise
        imported.add(str(path))


def _import(path: Path, stale: set[str]) -> None:
    _check_siblings(path)
    if _same(_place(path.stem), path):
        name = path.stem
    else:
        # Another module has this name.
        name = f"_own_{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}_{path.stem}"
    if name in sys.modules and name not in stale:
        return  # another file in the folder imported it
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Needed before execution: dataclasses look up their module in sys.modules.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise OwnFileError(f"{path} cannot be imported: {_reason(error, path)}") from error


def _reason(error: BaseException, path: Path) -> str:
    """The error in one line, with the line number in the user's file, or in another file of its folder."""
    if isinstance(error, SystemExit):
        what = "it ends the program; put what only a script does under if __name__ == '__main__':"
    elif isinstance(error, SyntaxError):
        what = f"{type(error).__name__}: {error.msg}"
    else:
        what = f"{type(error).__name__}: {' '.join(str(error).split())}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [(Path(frame.filename), frame.lineno) for frame in frames if Path(frame.filename).parent == path.parent]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((Path(error.filename), error.lineno))
    if not lines:
        return what
    file, line = lines[-1]
    return f"{what} (line {line}{'' if file == path else f' of {file.name}'})"


def _parsed(path: Path) -> ast.Module | None:
    """The syntax tree of a file, or None if it does not parse: the import then reports the error."""
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    except OSError as error:
        raise OwnFileError(f"{path} cannot be read: {error.strerror}") from None


def _registers(path: Path, package: str) -> bool:
    tree = _parsed(path)
    if tree is None:
        return _REGISTER.encode() in path.read_bytes()
    mentioned, packages = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            mentioned.add(node.id)
        elif isinstance(node, ast.Attribute):
            mentioned.add(node.attr)
        elif isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            packages.add((node.module or "").partition(".")[0])
            # The name before an alias counts: from variants import register as enter
            mentioned |= {alias.name for alias in node.names}
    return _REGISTER in mentioned and package in packages


def _check_siblings(path: Path) -> None:
    """Raise :class:`OwnFileError` if another module shadows a file in the folder of ``path`` that ``path`` imports,
    directly or through other files in that folder."""
    waiting, seen = [path], set()
    while waiting:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        for name, line in _imported_names(file):
            sibling = _beside(path.parent, name)
            if sibling is None:
                continue
            found = _place(name)
            if not _same(found, sibling):
                taken = f"which is {found}" if found else "a module of Python's own"
                raise OwnFileError(
                    f"{file} imports {name!r} (line {line}), {taken}, not {sibling}: rename {sibling.name}"
                )
            waiting.append(sibling)


def _imported_names(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(_parsed(path) or ast.Module([], [])):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level and path.name != "__init__.py":
                raise OwnFileError(
                    f"{path} has a relative import (line {node.lineno}): files of one folder import each other by "
                    f"name, as in 'from {node.module or 'shared'} import …'"
                )
            if node.module and not node.level:
                yield node.module.partition(".")[0], node.lineno


def _beside(folder: Path, name: str) -> Path | None:
    return next((p for p in (folder / name / "__init__.py", folder / f"{name}.py") if p.is_file()), None)


def _place(name: str) -> Path | None:
    """The file that ``import name`` would import, or None."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def _same(found: Path | None, path: Path) -> bool:
    return found is not None and found.exists() and found.samefile(path)
