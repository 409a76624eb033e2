"""The identity of a run: digests of the configuration, the code and the data that its weights depend on."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from types import ModuleType

import benchmarks
import variants
from benchmarks.config import Config
from benchmarks.data import Dataset
from benchmarks.records.record import configuration_hash

# Files that affect the trained weights of every variant. Evaluation is not among them: weights may be evaluated by
# code that has changed since they were trained.
_SUITE = ("training/*.py", "training/steps/*.py", "data/*.py", "data/readers/*.py", "seeding.py")
_PARTS = ("base.py", "autoencoder.py", "parts/*.py")


@dataclass(frozen=True)
class Identity:
    """Digests of configuration, code and data. Weights belong to a run only if all three are equal."""

    configuration: str
    code: str
    data: str

    def difference(self, other: object) -> str | None:
        """Describe how ``other``, an identity as plain data, differs from this one; None if they are equal."""
        if not isinstance(other, dict) or other.keys() != vars(self).keys():
            return "an earlier version wrote it"
        changed = [f"the {name}" for name, value in vars(self).items() if other[name] != value]
        return f"{' and '.join(changed)} changed since it was written" if changed else None


def identity(config: Config, data: Dataset) -> Identity:
    """The identity of a run."""
    code = code_digest(variants.lookup(config.variant_name))
    return Identity(configuration_hash(config.resolved()), code, data.sha256)


def code_digest(cls: type) -> str:
    """SHA-256 over the files that affect the trained weights of ``cls``: those of the class, of its bases outside
    torch, of modules that these import from their own folders, and of the suite's training code.

    Computed once per process: a file that is edited later is not the code that runs in this process.
    """
    return _digest(cls.__qualname__, _modules(cls))


def own_code_digest(cls: type) -> str | None:
    """SHA-256 over the files of ``cls`` that do not belong to the suite. None for the suite's own variants, whose code
    is identified by the commit in the record. Computed once per process, like :func:`code_digest`."""
    return _own_digest(_modules(cls))


def _modules(cls: type) -> tuple[str, ...]:
    """The modules of a class and its bases, except those of torch and the standard library."""
    packages = {base.__module__: base.__module__.split(".")[0] for base in cls.__mro__}
    foreign = {"torch", *sys.stdlib_module_names}
    return tuple(name for name, package in packages.items() if package not in foreign)


@cache
def _own_digest(modules: tuple[str, ...]) -> str | None:
    suite = Path(variants.__file__).parent
    files = {path for path in _files_of(modules) if suite not in path.parents}
    return _digest_of(files, "") if files else None


@cache
def _digest(name: str, modules: tuple[str, ...]) -> str:
    suite, parts = Path(benchmarks.__file__).parent, Path(variants.__file__).parent
    files = {path for pattern in _SUITE for path in suite.glob(pattern)}
    files |= {path for pattern in _PARTS for path in parts.glob(pattern)}
    files |= _files_of(modules)
    return _digest_of(files, name)


def _digest_of(files: Iterable[Path], name: str) -> str:
    digest = hashlib.sha256(f"{name};".encode())
    # Names instead of paths: moving the code to another folder does not change the digest.
    for path in sorted(files, key=lambda path: (path.name, str(path))):
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        digest.update(f"{path.name};{hashlib.sha256(content).hexdigest()};".encode())
    return digest.hexdigest()


def _files_of(names: Iterable[str]) -> set[Path]:
    """The files of the modules ``names``, and of modules that these import from their own folders or below."""
    found: dict[str, Path] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        path = getattr(sys.modules.get(name), "__file__", None)
        if name in found or path is None:
            continue
        found[name] = Path(path)
        for other in _imports(sys.modules[name]):
            where = getattr(sys.modules.get(other), "__file__", None)
            # A package's __init__.py is left out, because it imports all modules of the package.
            if where is not None and Path(path).parent in Path(where).parents and Path(where).name != "__init__.py":
                waiting.append(other)
    return set(found.values())


def _imports(module: ModuleType) -> Iterator[str]:
    """The names of the modules that ``module`` imports, and of everything imported with ``from``, which may be modules
    too. They are read from the source, because an imported constant does not know its module."""
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level and not module.__package__:
                continue
            start = resolve_name("." * node.level, module.__package__ or "") if node.level else ""
            source = ".".join(filter(None, (start, node.module)))
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)
