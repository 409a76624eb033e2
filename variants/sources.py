"""Names of this package's variants and networks, read from its source.

Importing the package would import torch, which takes seconds.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def variants() -> dict[str, tuple[str, str]]:
    """Name -> family and docstring of every variant of this package."""
    trees = [ast.parse(path.read_bytes()) for path in sorted(_PACKAGE.glob("*.py"))]
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    return {
        call.args[0].value: (_family(node, classes), ast.get_docstring(node) or "")
        for node in classes.values()
        for call in node.decorator_list
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "register"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def _family(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> str:
    """The ``family`` of the class, or of the nearest base class that sets one."""
    for statement in node.body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else None
        target = statement.target if isinstance(statement, ast.AnnAssign) else target
        if isinstance(target, ast.Name) and target.id == "family":
            value = statement.value  # type: ignore[attr-defined]
            assert isinstance(value, ast.Constant)
            return str(value.value)
    bases = [classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes]
    return _family(bases[0], classes) if bases else "other"


@cache
def networks() -> tuple[str, ...]:
    """The keys of ``NETWORKS`` in parts/networks.py."""
    for node in ast.parse((_PACKAGE / "parts" / "networks.py").read_bytes()).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "NETWORKS":
            assert isinstance(node.value, ast.Dict)
            return tuple(ast.literal_eval(key) for key in node.value.keys if key is not None)
    raise LookupError("parts/networks.py defines no NETWORKS")
