"""Every call of the library has a working example in its docstring and in the README's table."""

import contextlib
import doctest
import inspect
import re
from pathlib import Path

import numpy as np
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


@contextlib.contextmanager
def other_settings():
    """Settings of torch that a caller may have and none of the suite's calls may follow."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16), torch.device("meta"):
            yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("settings", [contextlib.nullcontext, other_settings])
@pytest.mark.parametrize("name", CALLS)
def test_the_example_of_every_call_runs_under_any_settings_of_torch(name, settings, run, images, labels, tmp_path):
    known = {name: getattr(library, name) for name in library.__all__}
    known |= {"run": run, "images": images, "labels": labels, "folder": tmp_path / "model", "np": np}
    documentation = inspect.getdoc(getattr(library, name))
    example = doctest.DocTestParser().get_doctest(documentation, known, name, None, None)
    assert example.examples, f"{name} has no example"
    report = []
    with settings():
        doctest.DocTestRunner().run(example, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize(
    "call",
    [
        library.encode, library.represent, library.reconstruct,
        lambda run, images: library.sample(run, 4, seed=0),
        lambda run, images: library.interpolate(run, images[:2], images[2:4]),
        lambda run, images: library.latent_map(run, images).decoded(2),
        lambda run, images: library.fit_mixture(run, images, 2).sample(4, seed=0),
        lambda run, images: library.likelihoods(run, images, samples=2, seed=0),
        lambda run, images: library.outlier_scores(run, images, samples=2, seed=0),
        lambda run, images: library.evaluate(run, images, importance_samples=2).metrics,
        lambda run, images: library.fit("vae", images, epochs=1, progress=False).model.state_dict(),
        lambda run, images: library.compression(run, images[:50], images[50:]),
    ],
)  # fmt: skip
def test_the_callers_settings_of_torch_change_no_value(call, run, images):
    expected = call(run, images)
    with other_settings():
        found = call(run, images)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


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
