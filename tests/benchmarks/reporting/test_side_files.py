"""If a file beside a record cannot be read, only its picture is left out."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.reporting import figures, write_reports
from benchmarks.reporting.boundary.side_files import SideFiles

from .test_reports import NATS, pages, record, store

ROOT = Path(__file__).resolve().parents[3]


def png(side=8):
    packed = io.BytesIO()
    Image.fromarray(np.arange(side * side, dtype=np.uint8).reshape(side, side)).save(packed, "PNG")
    return packed.getvalue()


def postscript():
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n"


def jpeg():
    packed = io.BytesIO()
    Image.new("L", (8, 8)).save(packed, "JPEG")
    return packed.getvalue()


HISTORY = b"epoch,validation_elbo\n1,-119.0\n2,-118.0\n"
CODES = b"axis_1,axis_2,class\n0.5,1.5,3\n-1.0,2.0,\n"
DAMAGED = {
    "samples.png": [b"", b"garbage", png()[:60], png()[:-20], postscript(), jpeg(), png()[:45] + b"!" + png()[46:],
                    b"\x89PNG\r\n\x1a\n" + bytes(50)],
    "history.csv": [b"", b"\n", b"\xff\xfe\x00", HISTORY[:-3], b"epoch\n1\n2,3,4\n", b"epoch,validation_elbo\na,b\n",
                    b"validation_elbo\n-1.0\n", b'"', b"\x00\x01\n", b"<html>\n"],
    "codes.csv": [b"", b"axis_1\n", b"garbage\n", CODES[:-4], b"axis_1,axis_2,class\n1,2,three\n"],
}  # fmt: skip
ROC = b"setting,score,false_positive_rate,true_positive_rate\nclass,mse,0.0,0.5\n"
WORDS = {"setting": ("dataset", "class"), "score": ("mse", "elbo")}
DAMAGED["roc.csv"] = [ROC.replace(b"class", b"$x$"), ROC.replace(b"class", b""), ROC.replace(b"mse", b"1"), ROC[:-3],
                      ROC.replace(b"score", b"scores"), ROC.replace(b"0.5", b"half")]  # fmt: skip
CASES = [(name, data) for name, found in DAMAGED.items() for data in found]


@pytest.mark.parametrize(("name", "data"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_a_damaged_file_is_left_out_and_named(tmp_path, name, data):
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    (folder / "record.json").touch()
    (folder / name).write_bytes(data)
    files = SideFiles(tmp_path)
    tables = {
        "history.csv": (("epoch", "validation_elbo"), 1),
        "codes.csv": (("axis_1", "axis_2", "class"), 3),
        "roc.csv": (("false_positive_rate", "true_positive_rate"), 2, WORDS),
    }
    found = files.picture("run", name) if name.endswith(".png") else files.table("run", name, *tables[name])
    assert found is None
    (message,) = files.messages
    assert message.startswith(f"left out: {name} of run: ")
    assert "\n" not in message


def test_a_link_and_a_folder_are_left_out(tmp_path):
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    (folder / "record.json").touch()
    (tmp_path / "secret.png").write_bytes(png())
    (folder / "samples.png").symlink_to(tmp_path / "secret.png")
    (folder / "plane.png").mkdir()
    files = SideFiles(tmp_path)
    assert files.picture("run", "samples.png") is None
    assert files.picture("run", "plane.png") is None
    assert files.picture("run", "reconstructions.png") is None
    assert files.messages == [
        "left out: samples.png of run: a link", "left out: plane.png of run: not a file"
    ]  # fmt: skip


def test_whole_files_are_read_and_numbers_that_are_not_finite_are_missing(tmp_path):
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    (folder / "record.json").touch()
    (folder / "samples.png").write_bytes(png())
    (folder / "history.csv").write_bytes(b"epoch,loss,validation_elbo\n1,2,-5.0\n2,2,inf\n3,2,1e308\n4,2,\n")
    files = SideFiles(tmp_path)
    assert (files.picture("run", "samples.png") == np.arange(64).reshape(8, 8)).all()
    table = files.table("run", "history.csv", ("epoch", "validation_elbo"))
    assert list(table) == ["epoch", "validation_elbo"]
    assert table["validation_elbo"].dropna().tolist() == [-5.0]
    assert files.messages == []


def test_columns_of_known_words_are_read_as_they_are(tmp_path):
    folder = tmp_path / "runs" / "run"
    folder.mkdir(parents=True)
    (folder / "record.json").touch()
    (folder / "roc.csv").write_bytes(ROC)
    files = SideFiles(tmp_path)
    table = files.table("run", "roc.csv", ("false_positive_rate", "true_positive_rate"), 2, WORDS)
    assert table.to_dict("records") == [
        {"setting": "class", "score": "mse", "false_positive_rate": 0.0, "true_positive_rate": 0.5}
    ]
    assert files.messages == []


def test_reports_stand_beside_damaged_files(tmp_path):
    store(tmp_path / "r", record("vae", 0, NATS | {"outliers_dataset_auroc_mse": 0.9}), record("iwae"))
    folder = tmp_path / "r" / "runs" / record("vae").run_id
    for name in ("samples.png", "history.csv", "codes.csv", "roc.csv"):
        (folder / name).write_bytes(b"garbage")
    messages = write_reports(tmp_path / "r", tmp_path / "reports")
    assert len(messages) == 4
    assert all(message.startswith("left out: ") and record("vae").run_id in message for message in messages)
    written = pages(tmp_path / "reports")
    assert {"mnist.md", "README.md", "variants/vae.md", "figures/mnist-quick-samples.png"} <= written.keys()


def test_a_figure_that_cannot_be_drawn_costs_no_other(tmp_path, monkeypatch):
    store(tmp_path / "r", record("vae"))

    def broken(*args):
        raise OverflowError("too large\nto draw")

    monkeypatch.setattr(figures, "seeds", broken)
    messages = write_reports(tmp_path / "r", tmp_path / "reports")
    assert messages == ["left out: picture mnist-quick-seeds: OverflowError: too large to draw"]
    assert (tmp_path / "reports" / "figures" / "mnist-quick-samples.png").exists()


def test_names_are_drawn_as_they_are_whatever_is_in_them(tmp_path):
    store(tmp_path / "r", *(record(name) for name in ("_hidden", "名前", "m" * 64)))
    # Labels contain overrides, which can be any text.
    for text in ("$x_y_z$", "$\\frac{", "m" * 190):
        set_to = {"config": {"variant": {"a": text}}, "details": {"overrides": [f"variant.a={text}"]}}
        store(tmp_path / "r", record("vae", **set_to))
    assert write_reports(tmp_path / "r", tmp_path / "reports") == []
    drawn = {path.name for path in (tmp_path / "reports" / "figures").iterdir()}
    assert {f"mnist-quick-{name}.png" for name in ("samples", "training", "seeds")} <= drawn


def test_figures_are_those_of_the_suite_whatever_the_users_settings_of_matplotlib(tmp_path):
    store(tmp_path / "r", record("vae"), record("iwae", metrics={"mse": 0.02, "active_units": 3}))
    write_reports(tmp_path / "r", tmp_path / "first")
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "matplotlibrc").write_text(
        "backend: nbagg\ntext.usetex: True\nfont.family: serif\nfont.size: 31\nfigure.dpi: 300\nsavefig.dpi: 20\n"
        "axes.facecolor: red\nlines.linewidth: 9\nfigure.autolayout: True\naxes.formatter.use_locale: True\n"
        "legend.loc: center\nimage.origin: lower\npath.sketch: 1, 100, 2\naxes.formatter.limits: 0, 0\n"
    )
    program = (
        "import sys; from pathlib import Path; from benchmarks.reporting import write_reports; "
        f"write_reports(Path({str(tmp_path / 'r')!r}), Path({str(tmp_path / 'second')!r}))"
    )
    environment = {
        "PYTHONPATH": str(ROOT), "MPLBACKEND": "no_such_backend", "MATPLOTLIBRC": str(hostile), "HOME": str(hostile),
        "MPLCONFIGDIR": str(hostile / "config"), "LC_ALL": "C", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    subprocess.run([sys.executable, "-c", program], cwd=hostile, env=environment, check=True)
    assert pages(tmp_path / "first") == pages(tmp_path / "second")
