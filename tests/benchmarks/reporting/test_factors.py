"""What a board shows of disentanglement: a section with the scores, their spread, and two pictures."""

import dataclasses
import math

import numpy as np
import pytest
from PIL import Image

from benchmarks.files import write_atomically
from benchmarks.records.publishing import publish
from benchmarks.records.record import read_records
from benchmarks.reporting import figures, write_reports
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.factors.pictures import factor_lines, scores
from benchmarks.reporting.factors.spread import over_runs, over_splits, spread_table, swept
from benchmarks.reporting.rows import Row, sections

from .test_reports import NATS, record, store

NAMES = ("mig", "dci_disentanglement", "sap", "factor_vae_score", "beta_vae_score", "modularity")
LINES = "dimension,factor,share\n3,x,0.9100\n0,y,0.5\n1,shape,0.02\n"


def scored(variant, seed, mig, spread=0.01, **changes):
    """A record with the MIG ``mig`` and similar other scores."""
    details = {
        "overrides": changes.pop("overrides", []),
        "family": "disentangling",
        "disentanglement": {
            "factors": ["shape", "x", "y"], "images": 3307, "restarts": 5, "spread": dict.fromkeys(NAMES, spread),
        },
    }  # fmt: skip
    metrics = NATS | {"mse": 0.02 + mig / 10} | {name: mig + i / 100 for i, name in enumerate(NAMES)}
    return record(variant, seed, metrics, **({"details": details} | changes))


def beta(value, seed, mig, **changes):
    return scored(
        "beta_vae", seed, mig, overrides=[f"variant.beta={value}"], config={"variant": {"beta": value}}, **changes
    )


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Figures are not rendered, because that takes seconds."""
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"")


def keep(results, *records):
    store(results, *records)
    for entry in records:
        folder = results / "runs" / entry.run_id
        Image.fromarray(np.zeros((28, 40), np.uint8)).save(folder / "factor_lines.png")
        write_atomically(folder / "factor_lines.csv", LINES.encode())


@pytest.fixture
def results(tmp_path):
    keep(
        tmp_path / "results",
        *(scored("vae", seed, mig, spread=0.03) for seed, mig in enumerate((0.1, 0.2, 0.3))),
        *(beta(4.0, seed, mig) for seed, mig in enumerate((0.3, 0.5, 0.4))),
        *(beta(16.0, seed, mig) for seed, mig in enumerate((0.6, 0.6, 0.6))),
    )
    return tmp_path / "results"


def section_of(results):
    (found,) = sections(read_records(results)[0])
    return found


def test_the_board_has_a_section_with_scores_their_spread_and_pictures(results, tmp_path):
    assert write_reports(results, tmp_path / "reports") == []
    page = (tmp_path / "reports" / "mnist.md").read_text()
    part = page[page.index("### Factors of variation") : page.index("### Cost")]
    assert "#### Disentanglement" in part
    assert "Each half of a split has 3,307 images. Factors: shape, x, y." in part
    words = " ".join(part.split())
    assert "| variant | MIG ↑ | DCI disentanglement ↑ | SAP ↑ | FactorVAE score ↑ |" in words
    assert "| score | splits | seeds | settings | variants |" in words
    assert "(variant.beta=16.0)](variants/beta_vae.md) | **0.600 ± 0.000** |" in words
    assert part.count("![") == 2
    # A board without such scores has no such section.
    plain = tmp_path / "plain"
    store(plain, record())
    write_reports(plain, tmp_path / "other")
    assert "Factors of variation" not in (tmp_path / "other" / "mnist.md").read_text()


def test_spreads_are_pooled_over_seeds_settings_and_variants(results):
    section = section_of(results)
    # Six records have a standard deviation of 0.01, three of 0.03.
    assert over_splits(section, "mig") == pytest.approx(math.sqrt((6 * 0.01**2 + 3 * 0.03**2) / 9))
    seeds, settings, variants = over_runs(section, "mig")
    # The variances of the three rows are 0.01, 0.01 and 0.
    assert seeds == pytest.approx(math.sqrt(0.02 / 3))
    # The means of the two rows of beta_vae are 0.4 and 0.6.
    assert settings == pytest.approx(math.sqrt(0.02))
    # The means of the two variants are 0.2 and 0.5.
    assert variants == pytest.approx(math.sqrt(0.045))
    assert "| MIG | 0.019 | 0.082 | 0.141 | 0.212 |" in " ".join(spread_table(section, ["mig"]).split())


def test_one_run_has_no_spread_over_runs(tmp_path):
    store(tmp_path, scored("vae", 0, 0.1))
    section = section_of(tmp_path)
    assert over_runs(section, "mig") == (None, None, None)
    assert spread_table(section, ["mig"]) == ""


def test_rows_of_one_variant_are_in_the_order_of_the_option_that_was_varied(tmp_path):
    store(tmp_path, *(beta(value, 0, 0.1) for value in (16.0, 2.0, 4.0)), scored("vae", 0, 0.1))
    rows = [row for row in section_of(tmp_path).rows if row.variant == "beta_vae"]
    name, ordered = swept(rows)
    assert name == "beta"
    assert [row.first.config["variant"]["beta"] for row in ordered] == [2.0, 4.0, 16.0]
    assert swept(rows[:1]) is None
    # Rows whose networks differ, too, are no sweep of one option.
    other = beta(8.0, 0, 0.1)
    other = dataclasses.replace(other, config=other.config | {"network": {"name": "mlp", "latent_size": 20}})
    assert swept([*rows, Row("beta_vae", (), (other,))]) is None


def axes_of(monkeypatch, draw):
    """The axes of the picture that ``draw`` draws."""
    kept = []
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: kept.append(figure) or b"")
    assert draw() is not None
    return kept[0].axes


def test_scores_stand_against_the_squared_error_a_mark_a_run_and_a_line_a_sweep(results, monkeypatch):
    section = section_of(results)
    axes = axes_of(monkeypatch, lambda: scores(section, section.rows, ["mig", "sap"]))
    assert [axis.get_ylabel() for axis in axes[:2]] == ["MIG, higher is better", "SAP, higher is better"]
    marks = [line for line in axes[0].lines if line.get_linestyle() == "None"]
    points = sorted(float(y) for line in marks for y in line.get_ydata())
    assert points == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6])
    (sweep,) = [line for line in axes[0].lines if line.get_linewidth() == 2]
    assert list(sweep.get_ydata()) == pytest.approx([0.4, 0.6])


def test_lines_are_named_by_factor_and_share(results, monkeypatch):
    section = section_of(results)
    axes = axes_of(monkeypatch, lambda: factor_lines(section.rows, SideFiles(results)))
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["x 0.91", "y 0.50", "shape 0.02"]


def test_lines_whose_factors_the_record_does_not_name_are_left_out_with_the_reason(results):
    section, files = section_of(results), SideFiles(results)
    path = results / "runs" / section.rows[0].first.run_id / "factor_lines.csv"
    path.write_text(LINES.replace("shape", "$x_1$"))
    assert factor_lines(section.rows[:1], files) is None
    assert "holds something else than shape, x, y" in files.messages[0]


def test_published_records_bring_the_lines_of_the_lowest_seed(results, tmp_path):
    publish(tmp_path / "committed", results)
    kept = sorted(path.parent.name for path in (tmp_path / "committed").rglob("factor_lines.*"))
    assert len(kept) == 2 * 3
    assert all("-s0-" in name for name in kept)
