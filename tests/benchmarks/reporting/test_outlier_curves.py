"""The ROC curves of a board: which rows are labelled, and that the curves belong to the AUROCs in the records."""

import pytest

from benchmarks.records.publishing import publish
from benchmarks.reporting import figures, write_reports
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.rows import sections
from benchmarks.reporting.style import own_settings

from .test_reports import NATS, record, store

MSE, ELBO, OF_CLASS = "outliers_dataset_auroc_mse", "outliers_dataset_auroc_elbo", "outliers_class_auroc_mse"
# AUROC -> points of a ROC curve: close to the corner, in between, and on the diagonal.
CURVES = {0.9: ((0, 0), (0.1, 0.9), (1, 1)), 0.7: ((0, 0), (0.3, 0.7), (1, 1)), 0.5: ((0, 0), (1, 1))}


def measured(variant, family, **areas):
    details = {"overrides": [], "family": family, "outliers_dataset": {"dataset": "fashion_mnist"}}
    return record(variant, metrics=NATS | areas, details=details)


def stored(results, *records, settings=(("dataset", "mse"),)):
    store(results, *records)
    for entry in records:
        lines = ["setting,score,false_positive_rate,true_positive_rate"]
        for setting, score in settings:
            points = CURVES[entry.metrics.get(f"outliers_{setting}_auroc_{score}", 0.5)]
            lines += [f"{setting},{score},{false},{true}" for false, true in points]
        (results / "runs" / entry.run_id / "roc.csv").write_text("\n".join(lines) + "\n")
    (section,) = sections(records)
    return section


@pytest.fixture
def drawn(monkeypatch):
    """The list of figures that are drawn; they are not rendered."""
    made = []
    monkeypatch.setattr(figures, "png", lambda figure, dpi: made.append(figure) or b"")
    with own_settings():
        yield made


def labels(axis):
    return [line.get_label() for line in axis.lines if not line.get_label().startswith("_")]


def test_the_best_of_each_family_is_named_with_its_number_and_all_others_are_grey(tmp_path, drawn):
    section = stored(
        tmp_path,
        measured("vae", "bounds", **{MSE: 0.7}),
        measured("iwae", "bounds", **{MSE: 0.9}),
        measured("ae", "autoencoders", **{MSE: 0.5}),
    )
    figures.roc_curves(section, section.rows, SideFiles(tmp_path))
    (axis,) = drawn[0].axes
    assert labels(axis) == ["iwae: 0.900", "ae: 0.500"]
    chance, grey, best, _ = axis.lines
    assert grey.get_color() == "0.8"
    assert grey.get_xydata().tolist() == [[0, 0], [0.3, 0.7], [1, 1]]
    assert best.get_xydata().tolist() == [[0, 0], [0.1, 0.9], [1, 1]]
    assert (chance.get_xdata() == chance.get_ydata()).all()
    assert axis.get_title() == "other data: squared error"


def test_a_long_name_is_shortened_and_its_number_is_not(tmp_path, drawn):
    one = measured("a_variant_with_a_very_long_name_of_its_own", "bounds", **{MSE: 0.7})
    section = stored(tmp_path, one)
    figures.roc_curves(section, section.rows, SideFiles(tmp_path))
    (label,) = labels(drawn[0].axes[0])
    assert label.startswith("a_variant_with_a_very_long")
    assert label.endswith("…: 0.700")


def test_a_panel_a_score_a_line_a_kind_of_outliers_and_none_for_what_nobody_has(tmp_path, drawn):
    section = stored(
        tmp_path,
        measured("vae", "bounds", **{MSE: 0.9, ELBO: 0.7, OF_CLASS: 0.5}),
        settings=(("dataset", "mse"), ("dataset", "elbo"), ("class", "mse")),
    )
    figures.roc_curves(section, section.rows, SideFiles(tmp_path))
    titles = [axis.get_title() for axis in drawn[0].axes]
    assert titles == ["other data: squared error", "other data: -ELBO", "left-out class: squared error", ""]


def test_a_curve_without_its_number_in_the_record_is_not_drawn(tmp_path, drawn):
    section = stored(tmp_path, measured("vae", "bounds"))
    assert figures.roc_curves(section, section.rows, SideFiles(tmp_path)) is None
    assert not drawn


@pytest.mark.parametrize(("area", "scale"), [(0.9, "linear"), (0.96, "log")])
def test_curves_that_are_all_nearly_perfect_are_shown_at_low_rates(tmp_path, drawn, monkeypatch, area, scale):
    monkeypatch.setitem(CURVES, area, CURVES[0.9])
    section = stored(tmp_path, measured("vae", "bounds", **{MSE: area}))
    figures.roc_curves(section, section.rows, SideFiles(tmp_path))
    assert drawn[0].axes[0].get_xscale() == scale


def test_the_board_draws_the_curves_names_the_outliers_and_publishing_takes_the_curves_along(tmp_path):
    entry = measured("vae", "bounds", **{MSE: 0.9})
    stored(tmp_path / "r", entry, measured("iwae", "bounds", **{MSE: 0.7}))
    assert write_reports(tmp_path / "r", tmp_path / "reports") == []
    page = (tmp_path / "reports" / "mnist.md").read_text()
    assert "![Outliers](figures/mnist-quick-outliers.png)" in page
    assert "| outliers           | test images of fashion\\_mnist " in page
    assert (tmp_path / "reports" / "figures" / "mnist-quick-outliers.png").stat().st_size > 1000
    publish(tmp_path / "out", tmp_path / "r")
    copied = tmp_path / "out" / "reference" / entry.run_id / "roc.csv"
    assert copied.read_bytes() == (tmp_path / "r" / "runs" / entry.run_id / "roc.csv").read_bytes()


def test_seeds_of_many_metrics_stand_in_several_lines(tmp_path, drawn):
    names = ("elbo", "log_likelihood", "kl", MSE, ELBO)
    section = stored(tmp_path, measured("vae", "bounds", **{MSE: 0.9, ELBO: 0.7}))
    figures.seeds(section, section.rows, names)
    axes = drawn[0].axes
    assert len(axes) == 8
    assert len({round(axis.get_position().y0, 3) for axis in axes}) == 2
    assert [bool(axis.lines) for axis in axes] == [True] * 5 + [False] * 3
