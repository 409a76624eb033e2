"""An estimate at its ceiling is a bound: it is marked as one, and never marked as the best."""

import math
from dataclasses import replace

import pytest

from benchmarks.reporting import board
from benchmarks.reporting.marks.ceilings import ceiling, is_bound
from benchmarks.reporting.rows import sections

from .test_reports import NATS, record

METRICS = ("mutual_information", "aggregate_kl", "mse")


def informed(variant, mutual, rest, images=200, seeds=3, noted=None):
    """Records whose mutual information was estimated from ``images`` images; ``noted`` in their details replaces it."""
    config = record().config | {"variant": {"name": variant}, "evaluation": {"information_images": images}}
    details = {"overrides": []} | ({} if noted is None else {"information_images": noted})
    metrics = NATS | {"mse": 0.03 + len(variant) / 1000, "mutual_information": mutual, "aggregate_kl": rest}
    made = [record(variant, seed, metrics, config=config, details=details) for seed in range(seeds)]
    # Seeds differ slightly, so that paired tests can find significant differences.
    return [replace(r, metrics=r.metrics | {"aggregate_kl": rest + 0.01 * r.seed}) for r in made]


def table(*records):
    (section,) = sections([entry for group in records for entry in group])
    return section, board.metric_table(section, "mse", METRICS).markdown


def cells(page, variant):
    (line,) = [line for line in page.splitlines() if line.startswith(f"| [{variant}]")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_the_ceiling_is_the_log_of_the_images_that_were_used():
    (old, *_), (new, *_) = informed("vae", 5.0, 2.0), informed("vae", 5.0, 2.0, noted=5000)
    assert ceiling(old, "mutual_information") == math.log(200)
    assert ceiling(new, "mutual_information") == math.log(5000)
    # There are fewer test images than requested, so all of them were used.
    assert ceiling(replace(old, evaluated_images=50), "mutual_information") == math.log(50)
    assert ceiling(old, "mse") is None
    assert ceiling(record(), "mutual_information") is None


@pytest.mark.parametrize(("share", "bound"), [(1.0, True), (0.991, True), (0.989, False), (0.5, False)])
def test_a_value_within_one_percent_of_its_ceiling_is_a_bound(share, bound):
    section, page = table(informed("vae", share * math.log(200), 2.0), informed("iwae", 2.0, 3.0))
    row = next(row for row in section.rows if row.variant == "vae")
    assert is_bound(row, "mutual_information") is is_bound(row, "aggregate_kl") is bound
    mutual, rest, _ = cells(page, "vae")
    assert mutual.endswith("‡") is rest.endswith("‡") is bound
    assert mutual.startswith("**") is rest.startswith("**") is not bound
    assert "The estimate of I(x; z) cannot exceed log n, where n is the number of images: 5.298 (n = 200)." in page
    assert ("Where I(x; z) is only a lower bound, this is an upper bound" in page) is bound


def test_next_to_a_bound_no_other_value_is_called_the_best():
    section, page = table(
        informed("vae", math.log(200), 9.0), informed("iwae", 4.0, 2.0), informed("dip_vae", 3.0, 4.0)
    )
    assert board.best_labels(section, "mutual_information") == board.best_labels(section, "aggregate_kl") == set()
    assert not board.ranks_of(section, "mutual_information")
    # In a column without a ceiling, the best value is still marked.
    assert [cells(page, name)[2].startswith("**") for name in ("vae", "iwae")] == [True, False]
    assert [cells(page, name)[0].endswith("‡") for name in ("vae", "iwae")] == [True, False]


def test_one_seed_at_the_ceiling_makes_the_mean_a_bound():
    first, *others = informed("vae", 4.0, 2.0)
    high = replace(first, metrics=first.metrics | {"mutual_information": math.log(200)})
    section, _ = table([high, *others])
    assert is_bound(section.rows[0], "mutual_information")


def test_rows_from_different_numbers_of_images_are_told_apart():
    section, page = table(informed("vae", 5.297, 9.0), informed("beta_vae", 5.5, 9.0, noted=10_000))
    assert "5.298 (n = 200: vae); 9.210 (n = 10,000: beta\\_vae)." in page
    assert {row.variant: is_bound(row, "mutual_information") for row in section.rows} == {
        "vae": True,
        "beta_vae": False,
    }
    assert "**" not in "".join(cells(page, "beta\\_vae")[:2])


def test_a_table_without_such_a_column_says_nothing_of_ceilings():
    section, _ = table(informed("vae", math.log(200), 9.0))
    assert "‡" not in board.metric_table(section, "mse", ("mse", "elbo")).markdown
    assert "ceiling" not in board.metric_table(section, "mse", ("mse", "elbo")).markdown
