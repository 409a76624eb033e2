"""The section of tasks on a board equals a manually checked file; it is missing if nothing was measured."""

import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.files import write_atomically
from benchmarks.records import catalogue
from benchmarks.records.catalogue import TASKS, Family, Metric, families, grouped, register
from benchmarks.records.publishing import publish
from benchmarks.records.record import RecordError, read_records
from benchmarks.reporting import board, figures, write_reports
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.rows import sections

from .test_reports import NATS, record, store

GOLDEN = Path(__file__).with_name("tasks.md")
NOISES = ("gaussian_20", "gaussian_50", "salt_pepper_10", "salt_pepper_30")
SEEDS = (0, 1, 2)
PCA = {2: 0.06, 8: 0.04, 32: 0.02}
DETAILS = {
    "overrides": [],
    "reference_denoising": {f"denoising_{noise}": 17.1234 - i for i, noise in enumerate(NOISES)},
    "reference_compression": {f"compression_mse_{k}": error for k, error in PCA.items()},
}


def measured(variant, seed, gain, errors, family="bounds", **changes):
    """A record with the same PSNR gain for every noise, and the ``errors`` of compression to 2, 8 and 32 numbers."""
    metrics = NATS | {"mse": 0.03} | {f"denoising_{noise}": gain + seed / 10 for noise in NOISES}
    reason = "discrete latent variables: see code perplexity"
    lacking = {} if errors else {f"compression_{kind}_{k}": reason for k in PCA for kind in ("mse", "of_pca")}
    for (k, pca), error in zip(PCA.items(), errors, strict=False):
        metrics |= {f"compression_mse_{k}": error, f"compression_of_pca_{k}": error / pca}
    details = DETAILS | {"family": family}
    return record(variant, seed, metrics, **({"details": details, "not_applicable": lacking} | changes))


CURVE = "dimensions,mse,pca_mse\n1,0.08,0.07\n2,0.05,0.06\n4,0.03,0.05\n5,0.02,\n"


def keep(results, *records):
    store(results, *records)
    for entry in records:
        folder = results / "runs" / entry.run_id
        Image.new("L", (12, 12)).save(folder / "denoised.png")
        if "compression_mse_2" in entry.metrics:
            write_atomically(folder / "compression.csv", CURVE.encode())


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Figures are not rendered, because that takes seconds."""
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"")


@pytest.fixture
def results(tmp_path):
    keep(
        tmp_path / "results",
        *(measured("vae", seed, 1.0, (0.05, 0.03, 0.015)) for seed in SEEDS),
        *(measured("iwae", seed, 2.0, (0.07, 0.05, 0.01)) for seed in SEEDS),
        measured("vq_vae", 0, -3.0, (), "discrete"),
    )
    return tmp_path / "results"


def section_of(page):
    return page[page.index("### Tasks") : page.index("### Cost")]


def test_the_section_is_the_one_in_the_file(results, tmp_path):
    assert write_reports(results, tmp_path / "reports") == []
    found = section_of((tmp_path / "reports" / "mnist.md").read_text())
    assert found == GOLDEN.read_text()
    for line in found.splitlines():
        assert line.count("|") <= 9, "more than eight columns"


def test_the_page_for_the_browser_has_the_section_with_its_pictures(results, tmp_path):
    write_reports(results, tmp_path / "reports", html=True)
    page = (tmp_path / "reports" / "mnist.html").read_text()
    assert '<h3 id="tasks">Tasks</h3>' in page
    for task in ("denoising", "compression"):
        assert f'<h4 id="{task}">{task.title()}</h4>' in page
        assert f'<img src="figures/mnist-quick-{task}.png" alt="{task.title()}"' in page


def test_boards_without_any_of_these_numbers_have_no_section(tmp_path):
    store(tmp_path / "results", record("vae", 0), record("iwae", 0, details={"family": "bounds", "overrides": []}))
    write_reports(tmp_path / "results", tmp_path / "reports", baseline=tmp_path / "results")
    for page in (tmp_path / "reports").rglob("*.md"):
        assert not re.search("Tasks|enois|ompression", page.read_text()), page


def test_a_family_alone_has_its_table_and_no_empty_ones_beside_it(tmp_path):
    store(tmp_path / "results", measured("vq_vae", 0, 1.0, (), "discrete"))
    write_reports(tmp_path / "results", tmp_path / "reports")
    found = section_of((tmp_path / "reports" / "mnist.md").read_text())
    assert "#### Denoising" in found
    assert "ompression" not in found
    # The record has no pictures.
    assert "figures/" not in found


def test_tasks_are_questions_with_winners_places_seeds_and_changes(results, tmp_path):
    keep(tmp_path / "before", *(measured("vae", seed, 0.5, (0.05, 0.05, 0.015)) for seed in SEEDS))
    write_reports(results, tmp_path / "reports", baseline=tmp_path / "before")
    assert {"denoising", "compression"} <= board.questions(TASKS).keys()
    assert not board.questions(TASKS).keys() & board.questions().keys()

    def after(page, heading):
        return " ".join((tmp_path / "reports" / page).read_text().partition(heading)[2].split())

    winners = after("README.md", "## Winners")
    assert "[iwae](variants/iwae.md) | PSNR gain, Gaussian 0.5: 2.10 ± 0.10 dB, 3 seeds | – |" in winners
    assert "[vae](variants/vae.md) | MSE / PCA's MSE, k = 8: 0.750 ± 0.000, 3 seeds | – |" in winners
    places = after("variants/vae.md", "## Ranks")
    assert re.search(r"board \|.* denoising \| compression \|.* 2 of 2 \| 1 of 2 \|", places)
    against = after("mnist.md", "### Against the baseline")
    assert re.search(r"vae\.md\) \| \+0\.50 \(\*\*better\*\*\) \| -0\.500 \(\*\*better\*\*\) \|", against)


def test_the_picture_shows_the_best_row_of_each_family_of_variants(results, tmp_path, monkeypatch):
    shown = []
    sheet = figures.sheet

    def spy(rows, files, name, height):
        if name == "denoised.png":
            shown.append([row.variant for row in rows])
        return sheet(rows, files, name, height)

    monkeypatch.setattr(figures, "sheet", spy)
    write_reports(results, tmp_path / "reports")
    assert shown == [["iwae", "vq_vae"]]


def test_images_that_may_not_be_shown_have_numbers_and_no_picture_of_their_denoising(tmp_path):
    hidden = {"dataset": {"title": "Faces", "show_originals": False}}
    keep(tmp_path / "results", measured("vae", 0, 1.0, (0.05, 0.03, 0.015), config=hidden))
    write_reports(tmp_path / "results", tmp_path / "reports")
    found = section_of((tmp_path / "reports" / "mnist.md").read_text())
    assert "PSNR gain, Gaussian 0.2" in found
    assert "![Compression]" in found
    assert "![Denoising]" not in found


@pytest.fixture
def lines_drawn(results, monkeypatch):
    """A function that draws the curves.

    It returns a dictionary label -> (points, line style), and the messages about files that were left out.
    """
    captured = []
    monkeypatch.setattr(figures, "png", lambda figure, dpi: captured.append(figure) or b"")

    def draw():
        (section,) = sections(read_records(results)[0])
        files = SideFiles(results)
        figures.compression(section, board.sorted_rows(section, "compression_of_pca_8"), files)
        (axis,) = captured[-1].axes
        return {
            line.get_label(): (line.get_xydata().tolist(), line.get_linestyle()) for line in axis.lines
        }, files.messages

    return draw


def test_curves_are_those_of_the_files_and_the_pca_is_dashed(lines_drawn):
    curve = [[1, 0.08], [2, 0.05], [4, 0.03], [5, 0.02]]
    assert lines_drawn() == (
        {
            "vae": (curve, "-"),
            "iwae": (curve, "-"),
            # The last point of the PCA is missing in the file.
            "PCA of the images": ([[1, 0.07], [2, 0.06], [4, 0.05]], "--"),
        },
        [],
    )


@pytest.mark.parametrize("damage", ["", "dimensions,mse\n1,0.1\n", "dimensions,mse,pca_mse\n1,one,0.1\n", "cut,"])
def test_a_damaged_curve_costs_itself_alone(results, lines_drawn, damage):
    (folder,) = (results / "runs").glob("mnist-vae-quick-s0-*")
    (folder / "compression.csv").write_text(damage)
    lines, (message,) = lines_drawn()
    assert message.startswith(f"left out: compression.csv of {folder.name}")
    assert lines.keys() == {"iwae", "PCA of the images"}


def test_families_of_a_group_stand_together_where_the_first_does(monkeypatch):
    families()
    monkeypatch.setattr(catalogue, "_families", dict(catalogue._families))
    metric = Metric("m", "share", "higher", "a test's")

    def add(name, order, group=None):
        return register(Family(name, name.title(), order, {f"{name}_metric": metric}, lambda *_: None, group=group))

    first, last = add("first", 1, TASKS), add("last", 98, TASKS)
    add("between", 67)
    order = [[family.name for family in members] for _, members in grouped(families())]
    together = next(members for members in order if "first" in members)
    assert order[0] is together
    assert together[0] == first.name
    assert together[-1] == last.name
    assert {"denoising", "compression"} <= set(together)
    assert ["between"] in order


def test_a_reference_that_is_not_numbers_by_metric_is_refused():
    for wrong in ("0.1", [0.1], {"compression_mse_2": "x"}):
        with pytest.raises(RecordError, match=r"details\['reference_compression'\]"):
            measured("vae", 0, 1.0, (), details={"overrides": [], "reference_compression": wrong})


def test_publishing_takes_the_pictures_of_tasks_along(results, tmp_path):
    publish(tmp_path / "published", results)
    found = {path.name for path in (tmp_path / "published").glob("reference/mnist-vae-quick-s0-*/*")}
    assert {"denoised.png", "compression.csv"} <= found


def test_columns_that_only_the_browser_has_are_named_below_the_table(results, tmp_path):
    write_reports(results, tmp_path / "reports", html=True)
    board = (tmp_path / "reports" / "mnist.md").read_text().partition("### Leaderboard")[2].partition("###")[0]
    (named,) = (line for line in board.splitlines() if line.startswith("In the HTML page"))
    (headings,) = (line for line in board.splitlines() if line.startswith("| variant"))
    for column in ("parameters", "images/s"):
        assert column in named
        assert column not in headings
        assert f">{column}" in (tmp_path / "reports" / "mnist.html").read_text()
