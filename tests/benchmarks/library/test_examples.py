"""Every call of the library has an example in its docstring, and it runs."""

import doctest
import inspect

import pytest
import torch

import benchmarks
from benchmarks import library

CALLS = [name for name in library.__all__ if name not in ("Run", "Evaluation", "LatentMap", "MixtureSampler")]


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
