"""Imports go in one direction, and the training loop names no variant."""

import ast
import subprocess
import sys
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


# A part may import itself and parts of lower rank. Parts of equal rank do not import each other.
RANKS = {
    "files": 0, "errors": 0, "seeding": 0, "wording": 0, "environment": 0, "variants": 0,
    "arguments": 1, "variables": 1, "records": 1, "sealed": 1, "progress": 1, "conf_files": 2, "data": 2, "config": 3,
    "evaluation": 4, "training": 5, "sweep": 6, "tuning": 7, "reproduction": 7, "reporting": 8, "speed": 9,
    "library": 9, "__main__": 10,
}  # fmt: skip


def part(module):
    """The part of the suite that a module belongs to; None for a module that is not ours."""
    package, *rest = module.split(".")
    if package == "variants":
        return "variants"
    return rest[0] if package == "benchmarks" and rest else None


def modules():
    for package in ("benchmarks", "variants"):
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_no_module_imports_upwards():
    for path, module in modules():
        own = part(module)
        for name in imports(path):
            other = part(name)
            if own and other and own != other:
                assert RANKS[other] < RANKS[own], f"{module} imports {name}"


def test_variants_know_nothing_of_benchmarks():
    for path in (ROOT / "variants").rglob("*.py"):
        assert not [name for name in imports(path) if name.split(".")[0] in ("benchmarks", "hydra")], path


def test_parts_of_variants_know_no_variant():
    for path in (ROOT / "variants" / "parts").glob("*.py"):
        relative = {
            node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and node.level == 2
        }
        assert relative <= {"options"}, path


def test_files_imports_nothing_of_ours():
    assert not [name for name in imports(ROOT / "benchmarks" / "files.py") if part(name)]


def test_records_and_reports_need_no_torch():
    """Checked in a new process, because this one has already imported torch."""
    light = [module for _, module in modules() if part(module) in ("records", "reporting")]
    heavy = "[name for name in ('torch', 'torchvision', 'sklearn') if name in sys.modules]"
    code = f"import sys, {', '.join(light)}; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_names_of_the_library_are_loaded_when_they_are_used():
    code = "import sys, benchmarks; print('fit' in dir(benchmarks), 'torch' in sys.modules, benchmarks.fit.__module__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True False benchmarks.library.fitting"


def test_reading_the_whole_catalogue_needs_no_torch():
    """The files of families describe metrics. The code that computes a metric is imported when it runs."""
    heavy = "[name for name in ('torch', 'torchvision', 'sklearn', 'scipy') if name in sys.modules]"
    code = f"import sys; from benchmarks.records.catalogue import CATALOGUE; print(len(dict(CATALOGUE)) > 20, {heavy})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True []"


def test_reports_read_records_and_paper_targets_alone():
    allowed = tuple(f"benchmarks.{name}" for name in ("reporting", "records", "files", "errors", "wording"))
    for path in (ROOT / "benchmarks" / "reporting").rglob("*.py"):
        for name in imports(path):
            ours = part(name) is not None
            assert not ours or name.startswith(allowed) or name == "benchmarks.reproduction.targets", (path, name)


def test_no_folder_has_many_more_than_ten_modules():
    # These folders have one file per variant or per family of metrics.
    registries = {ROOT / "variants", ROOT / "benchmarks" / "evaluation" / "families"}
    for folder in {path.parent for path, _ in modules()} - registries:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= 12, folder


def test_loop_evaluation_and_cell_name_no_variant():
    for name in ("training/loop.py", "training/calibration.py", "evaluation/evaluate.py", "sweep/cell.py"):
        strings = {
            node.value
            for node in ast.walk(ast.parse((ROOT / "benchmarks" / name).read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & set(variants.names()), name


# Private names of other packages that may be used, each with its reason.
PRIVATE_NAMES_ALLOWED = {
    # Public despite its underscore: the standard library documents it.
    "os._exit",
}


def private_names(source):
    """Private modules and names of other packages that ``source`` imports or reaches through an imported module."""
    nodes = list(ast.walk(ast.parse(source)))
    # ``meaning`` gives the full name of each local name. Relative imports are ours.
    meaning, used = {}, set()
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                meaning[alias.asname or top] = alias.name if alias.asname else top
                used.add(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                meaning[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                used.add(f"{node.module}.{alias.name}")
    for node in nodes:
        path, value = [], node
        while isinstance(value, ast.Attribute):
            path.insert(0, value.attr)
            value = value.value
        if path and isinstance(value, ast.Name) and value.id in meaning:
            used.add(".".join([meaning[value.id], *path]))

    def foreign_and_private(name):
        package, *parts = name.split(".")
        ours = package in ("benchmarks", "variants", "tests")
        return not ours and any(part.startswith("_") and not part.startswith("__") for part in (package, *parts))

    return {name for name in used if foreign_and_private(name)}


def test_nothing_uses_private_names_of_other_packages():
    for folder in ("benchmarks", "variants", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert private_names(path.read_text()) <= PRIVATE_NAMES_ALLOWED, path


def test_a_private_name_is_found_however_it_is_reached():
    for source, name in {
        "from hydra._internal.callbacks import Callbacks": "hydra._internal.callbacks.Callbacks",
        "import hydra._internal.utils": "hydra._internal.utils",
        "from torch.nn import functional as F\nF._pad(x)": "torch.nn.functional._pad",
        "import torch\ntorch.nn.modules._wrapper(x)": "torch.nn.modules._wrapper",
        "def late():\n    from torch import _C": "torch._C",
    }.items():
        assert private_names(source) == {name}
    assert (
        private_names("from benchmarks.sweep import workers\nworkers._work\nself._x\nimport os\nos.__name__") == set()
    )
