"""Reports replace and remove only files that the suite wrote."""

import json
import os
import re
import shutil
import time

import pytest

from benchmarks.__main__ import main
from benchmarks.errors import UserError
from benchmarks.reporting import check_folder, figures, write_reports
from benchmarks.reporting.boundary.output import Output
from benchmarks.reporting.markdown import GENERATED, file_name

from .test_reports import pages, record, store


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Figures are not rendered, because these tests do not depend on their content; each gives a few bytes."""
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: f"{len(figure.axes)}".encode())


@pytest.fixture
def results(tmp_path):
    store(tmp_path / "results", record("vae"), record("iwae"))
    return tmp_path / "results"


@pytest.mark.parametrize(
    "name",
    ["README.md", "mnist.md", "variants/vae.md", "figures/mnist-quick-samples.png", "manifest.json", "index.html"],
)
def test_a_file_of_the_user_is_refused_in_one_line_before_anything_is_written(results, tmp_path, name):
    reports = tmp_path / "thesis"
    (reports / name).parent.mkdir(parents=True)
    (reports / name).write_text("my own words")
    (reports / "notes.md").write_text("more of them")
    before = pages(reports)
    with pytest.raises(UserError, match="was not written by this suite and would be overwritten") as refused:
        write_reports(results, reports, html=True)
    assert str(reports / name) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert pages(reports) == before


def test_files_of_the_user_beside_ours_are_left_alone(results, tmp_path):
    reports = tmp_path / "reports"
    write_reports(results, reports)
    for name in ("notes.md", "figures/holiday.png", "variants/mine.md"):
        (reports / name).write_text("mine")
    # Without its run, the page of iwae and its picture are removed; the files of the user are not.
    shutil.rmtree(results / "runs" / record("iwae").run_id)
    write_reports(results, reports)
    for name in ("notes.md", "figures/holiday.png", "variants/mine.md"):
        assert (reports / name).read_text() == "mine"
    assert not (reports / "variants" / "iwae.md").exists()
    assert not (reports / "figures" / "mnist-quick-iwae.png").exists()
    assert (reports / "figures" / "mnist-quick-vae.png").exists()


def test_a_file_in_the_place_of_one_that_the_manifest_names_is_not_removed(results, tmp_path):
    reports = tmp_path / "reports"
    write_reports(results, reports)
    (reports / "variants" / "iwae.md").write_text("# My own notes on iwae")
    shutil.rmtree(results / "runs" / record("iwae").run_id)
    write_reports(results, reports)
    assert (reports / "variants" / "iwae.md").read_text() == "# My own notes on iwae"


def test_the_manifest_names_every_file_with_its_digest_and_the_same_reports_are_written_once(results, tmp_path):
    reports = tmp_path / "reports"
    write_reports(results, reports)
    named = json.loads((reports / "manifest.json").read_text())["files"]
    assert named.keys() | {"manifest.json"} == pages(reports).keys()
    times = {path: path.stat().st_mtime_ns for path in reports.rglob("*")}
    write_reports(results, reports)
    assert {path: path.stat().st_mtime_ns for path in reports.rglob("*")} == times


@pytest.mark.parametrize("manifest", [None, b"", b"<<<<<<< ours", b'{"files": {"../results/x": "a"}}', b"[1]"])
def test_reports_of_an_earlier_version_and_after_a_broken_merge_are_known_by_their_first_line(
    results, tmp_path, manifest
):
    reports = tmp_path / "reports"
    write_reports(results, reports)
    about = (reports / "manifest.json").read_bytes()[:200]
    (reports / "manifest.json").unlink()
    if manifest is not None:
        (reports / "manifest.json").write_bytes(about + manifest)
    (reports / "figures" / "mnist-quick-samples.png").write_bytes(b"as another machine drew it")
    write_reports(results, reports)
    assert (reports / "figures" / "mnist-quick-samples.png").read_bytes() != b"as another machine drew it"


def test_a_link_in_the_place_of_a_page_is_not_replaced(results, tmp_path):
    reports, target = tmp_path / "reports", tmp_path / "elsewhere.md"
    target.write_text("elsewhere")
    reports.mkdir()
    (reports / "README.md").symlink_to(target)
    with pytest.raises(UserError, match="not written by this suite"):
        write_reports(results, reports)
    assert (reports / "README.md").is_symlink()


@pytest.mark.parametrize("name", ["README", "reproduction", "speed", "Variants", "index", "manifest", "guide"])
def test_a_data_set_named_as_a_page_of_ours_gets_a_page_of_its_own(tmp_path, name):
    store(tmp_path / "r", record("vae"), record("vae", dataset=name))
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "speed.md").write_text("# Speed")
    write_reports(tmp_path / "r", reports, html=True)
    assert (reports / "README.md").read_text().splitlines()[2] == "# Reports"
    assert (reports / "speed.md").read_text() == "# Speed"
    (page,) = reports.glob(f"{name}-*.md")
    assert f"({page.name}#profile-quick)" in (reports / "README.md").read_text()
    assert f"(../{page.name}#profile-quick)" in (reports / "variants" / "vae.md").read_text()


def test_no_two_names_share_a_page_or_a_picture_and_long_ones_keep_their_ending(tmp_path):
    names = ["a+b", "a_b", "é", "è", "x" * 64]
    store(tmp_path / "r", *(record("vae", dataset=name) for name in names))
    # Pictures of two long names that differ only in the last character.
    store(tmp_path / "r", *(record("y" * 63 + end, dataset="x" * 64) for end in "ab"))
    # The picture of the variant "samples" would have the same name as the board's picture of samples.
    store(tmp_path / "r", record("samples"), record("vae"))
    store(tmp_path / "r", record("vae", config={"training": {"epochs": 300}}))
    assert write_reports(tmp_path / "r", tmp_path / "reports") == []
    others = {"README.md", "guide.md", "glossary.md"}
    boards = [path for path in (tmp_path / "reports").glob("*.md") if path.name not in others]
    assert len(boards) == len(names) + 1
    shown = [
        line.rpartition("/")[2].rstrip(")")
        for path in (tmp_path / "reports").rglob("*.md")
        for line in path.read_text().splitlines()
        if line.startswith("![")
    ]
    # Some pictures are shown twice: on a board and on its page with the pictures of all rows.
    shown = sorted(set(shown))
    assert len(shown) == len({name.lower() for name in shown})
    assert shown == sorted(path.name for path in (tmp_path / "reports" / "figures").iterdir())
    assert all(name.endswith(".png") for name in shown)
    # Names that are refused when records are read also have distinct file names.
    refused = [*names, "a/b", "a b", "../a", "", ".", "x" * 90, "x" * 91]
    assert len({file_name(name) for name in refused}) == len(refused)
    assert all(re.fullmatch(r"[\w-][\w.-]*", file_name(name), re.ASCII) for name in refused)


def test_a_folder_that_cannot_hold_reports_is_refused_before_training(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="is not a folder"):
            check_folder(folder)
    arguments = ["bench", "--variants=vae", "--datasets=digits", "--profile=smoke", f"--results={tmp_path / 'r'}"]
    assert main([*arguments, f"--reports={tmp_path / 'file'}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(UserError, match="is not writable"):
            check_folder(tmp_path / "reports")
    finally:
        tmp_path.chmod(0o700)


def test_what_fails_in_writing_is_one_line(results, tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("benchmarks.reporting.boundary.output.write_atomically", full)
    with pytest.raises(UserError, match=r"cannot write .*README.md: No space left on device"):
        write_reports(results, tmp_path / "reports")


def test_half_written_files_of_killed_runs_are_removed_once_they_are_old(results, tmp_path):
    reports = tmp_path / "reports"
    write_reports(results, reports)
    old, new = reports / ".mnist.md.abcd_123.tmp", reports / "figures" / ".a.png.abcd_123.tmp"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (time.time() - 7200,) * 2)
    write_reports(results, reports)
    assert not old.exists()
    assert new.exists()


def test_two_that_write_the_same_reports_at_once_do_not_take_each_others_files_for_the_users(tmp_path):
    """Both read the folder before either of them writes, as when two sweeps end at the same time."""
    outputs = [Output(tmp_path / "reports") for _ in range(2)]
    for output in outputs:
        output.page("README.md", f"{GENERATED}\n\n![x](figures/x.png)\n")
        output.picture("x", b"a picture")
    for output in outputs:
        output.write()
    assert (tmp_path / "reports" / "figures" / "x.png").read_bytes() == b"a picture"
