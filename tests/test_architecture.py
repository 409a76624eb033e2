"""Arrows of import run one way, and the loop names no variant."""

import ast
from pathlib import Path

import variants

ROOT = Path(__file__).resolve().parents[1]


def imports(path):
    """Modules that a file imports at its top or inside its functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_variants_know_nothing_of_benchmarks():
    for path in (ROOT / "variants").glob("*.py"):
        assert not [name for name in imports(path) if name.split(".")[0] in ("benchmarks", "hydra")], path


def test_reporting_imports_neither_torch_nor_what_runs_cells():
    light = ("results", "metrics.catalogue", "metrics.judged", "statistics", "targets", "errors", "locks")
    allowed = ("benchmarks.reporting", *(f"benchmarks.{name}" for name in light))
    leaves = [ROOT / "benchmarks" / f"{name.replace('.', '/')}.py" for name in light]
    for path in [*(ROOT / "benchmarks" / "reporting").glob("*.py"), *leaves]:
        for name in imports(path):
            assert name.split(".")[0] not in ("torch", "torchvision", "variants"), (path, name)
            assert not name.startswith("benchmarks") or name.startswith(allowed), (path, name)


def test_nothing_imports_a_runner():
    runners = ("benchmarks.sweep", "benchmarks.speed", "benchmarks.speed.page", "benchmarks.__main__")
    for path in (ROOT / "benchmarks").rglob("*.py"):
        # What measures sweeps, and what makes them of recipes, are runners themselves.
        if path.name not in ("__main__.py", "reproduce.py") and path.parent.name != "speed":
            assert not set(imports(path)) & set(runners), path


def test_loop_evaluation_and_cell_name_no_variant():
    for name in ("training.py", "evaluation.py", "cell.py", "calibration.py"):
        strings = {
            node.value
            for node in ast.walk(ast.parse((ROOT / "benchmarks" / name).read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & set(variants.names()), name
