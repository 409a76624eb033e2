"""Every call of the library has a working example in its docstring and in the README's table."""

import doctest
import inspect
import re
from pathlib import Path

import pytest
import torch

import benchmarks
from benchmarks import library

ROOT = Path(__file__).resolve().parents[3]
CLASSES = ("Run", "Disentanglement", "Evaluation", "LatentMap", "MixtureSampler")
CALLS = [name for name in library.__all__ if name not in CLASSES]


def test_the_package_has_the_names_of_the_library():
    assert benchmarks.__all__ == library.__all__
    assert all(getattr(benchmarks, name) is getattr(library, name) for name in library.__all__)
    with pytest.raises(AttributeError, match="'fitt'"):
        benchmarks.fitt  # noqa: B018


@pytest.mark.parametrize("name", CALLS)
def test_the_example_of_every_call_runs(name, run, images, labels, tmp_path):
    known = {name: getattr(library, name) for name in library.__all__}
    known |= {"run": run, "images": images, "labels": labels, "folder": tmp_path / "model", "torch": torch}
    documentation = inspect.getdoc(getattr(library, name))
    example = doctest.DocTestParser().get_doctest(documentation, known, name, None, None)
    assert example.examples, f"{name} has no example"
    report = []
    doctest.DocTestRunner().run(example, out=report.append)
    assert not report, "".join(report)


def table_of_calls():
    return re.search(r"\| call \| gives \|\n.*?\n\n", (ROOT / "README.md").read_text(), re.DOTALL)[0]


def lines_of_the_table():
    return re.findall(r"^\| `(.*?)` \|", table_of_calls(), re.MULTILINE)


def test_the_table_of_the_readme_has_every_call():
    assert set(CALLS) <= set(re.findall(r"(\w+)\(", table_of_calls()))


@pytest.mark.parametrize("line", lines_of_the_table())
def test_every_line_of_the_readmes_table_runs(line, run, images, labels, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Use few samples, to keep the test short.
    line = line.replace('labels, judge="digits"', 'labels, judge="digits", generated_images=50, importance_samples=2')
    known = {name: getattr(library, name) for name in library.__all__}
    assert eval(line, known | {"run": run, "images": images, "labels": labels}) is not False
