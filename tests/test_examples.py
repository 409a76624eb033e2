"""The notebooks run from the first cell to the last."""

import ast
import json
from pathlib import Path

import matplotlib
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


def cells(path, kind):
    found = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]
    return ["".join(cell["source"]) for cell in found]


def test_there_are_three_notebooks_and_the_readme_names_each():
    assert len(NOTEBOOKS) == 3
    for path in NOTEBOOKS:
        assert f"examples/{path.name}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_of_a_notebook_runs_and_draws(path, monkeypatch, capsys):
    monkeypatch.setenv("EXAMPLES", "small")
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    drawn = []

    def show():
        for number in plt.get_fignums():
            plt.figure(number).canvas.draw()
            drawn.append(number)
        plt.close("all")

    monkeypatch.setattr(plt, "show", show)
    known = {}
    for source in cells(path, "code"):
        exec(compile(source, path.name, "exec"), known)
    assert known["SMALL"] is True
    assert not plt.get_fignums(), "a figure that is never shown"
    assert len(drawn) >= 4
    assert len(capsys.readouterr().out.splitlines()) >= 10


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_the_form_that_jupyter_reads_and_no_error_in_its_outputs(path):
    content = json.loads(path.read_text())
    assert (content["nbformat"], content["metadata"]["kernelspec"]["name"]) == (4, "python3")
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])
    for cell in content["cells"]:
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        if cell["cell_type"] == "code":
            ast.parse("".join(cell["source"]))
            assert all(output["output_type"] != "error" for output in cell["outputs"])
    # Texts are short, because a lecturer explains the notebook.
    assert all(len(text) < 700 for text in cells(path, "markdown"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_number_is_typed_into_the_text_of_a_notebook(path):
    for text in cells(path, "markdown"):
        assert not any("." in word and word.strip(".,;:()").replace(".", "").isdigit() for word in text.split()), text
