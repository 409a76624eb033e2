"""What a checkpoint belongs to: the configuration, the code and the data that its weights come from."""

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

# Files that decide what training does to weights, whichever variant it is. Evaluation is not among them: weights may
# be evaluated by other code than the one that was here when they were trained.
_SUITE = ("training/*.py", "training/steps/*.py", "data/*.py", "data/readers/*.py", "seeding.py")
_PARTS = ("base.py", "autoencoder.py", "parts/*.py")


@dataclass(frozen=True)
class Identity:
    """Digests of the three things without which weights are another run's."""

    configuration: str
    code: str
    data: str

    def difference(self, other: object) -> str | None:
        """What ``other``, an identity as plain data, differs in, in words; None where it is this one."""
        if not isinstance(other, dict) or other.keys() != vars(self).keys():
            return "an earlier version wrote it"
        changed = [f"the {name}" for name, value in vars(self).items() if other[name] != value]
        return f"{' and '.join(changed)} changed since it was written" if changed else None


def identity(config: Config, data: Dataset) -> Identity:
    """The identity of a run."""
    code = code_digest(variants.lookup(config.variant_name))
    return Identity(configuration_hash(config.resolved()), code, data.sha256)


def code_digest(cls: type) -> str:
    """SHA-256 over the files that decide what training does to weights of ``cls``: those of its class, its bases
    outside torch and what these import from their own folder, and the suite's training.

    Once a process: a file that is edited later is not the code that runs here.
    """
    return _digest(cls.__qualname__, _modules(cls))


def own_code_digest(cls: type) -> str | None:
    """SHA-256 over the files of ``cls`` that do not belong to the suite; None for one of the suite's own variants,
    whose code a record's commit names. Once a process, as :func:`code_digest`."""
    return _own_digest(_modules(cls))


def _modules(cls: type) -> tuple[str, ...]:
    """The modules of a class and its bases, but for those of torch and of Python."""
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
    # By name, not by path: the same code in another folder is the same code.
    for path in sorted(files, key=lambda path: (path.name, str(path))):
        try:
            content = path.read_bytes()
        except OSError:
            content = b""
        digest.update(f"{path.name};{hashlib.sha256(content).hexdigest()};".encode())
    return digest.hexdigest()


def _files_of(names: Iterable[str]) -> set[Path]:
    """The files of the modules of these ``names``, and of the modules in the same folders that they import."""
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
            # Not a package's own file: it imports all there is.
            if where is not None and Path(path).parent in Path(where).parents and Path(where).name != "__init__.py":
                waiting.append(other)
    return set(found.values())


def _imports(module: ModuleType) -> Iterator[str]:
    """Names of modules that ``module`` imports, and of what may be modules among the names that it imports from them.
    From its source, because a constant that it imports does not know where it comes from."""
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
