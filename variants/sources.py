"""What this package offers by name, read from its source: importing it takes torch, and that takes seconds."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def variants() -> dict[str, str]:
    """The docstring of every variant of this package, by name."""
    return {
        call.args[0].value: ast.get_docstring(node) or ""
        for path in sorted(_PACKAGE.glob("*.py"))
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, ast.ClassDef)
        for call in node.decorator_list
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "register"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


@cache
def networks() -> tuple[str, ...]:
    """The keys of ``NETWORKS`` in parts/networks.py."""
    for node in ast.parse((_PACKAGE / "parts" / "networks.py").read_bytes()).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "NETWORKS":
            assert isinstance(node.value, ast.Dict)
            return tuple(ast.literal_eval(key) for key in node.value.keys if key is not None)
    raise LookupError("parts/networks.py defines no NETWORKS")
