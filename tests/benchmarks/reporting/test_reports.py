"""Pages depend only on the records, agree with them, and are not broken by their content."""

import functools
import hashlib
import json
import locale
import math
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.files import write_atomically
from benchmarks.records import catalogue
from benchmarks.records.catalogue import Family, Metric
from benchmarks.records.identity import run_id
from benchmarks.records.load import load_details
from benchmarks.records.record import REPRODUCTION, Record, read_records, write_record
from benchmarks.records.significance import differ, shared_ranks
from benchmarks.reporting import board, figures, write_reports
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.comparison import change
from benchmarks.reporting.figures import pareto_front
from benchmarks.reporting.markdown import code, escape
from benchmarks.reporting.marks import times
from benchmarks.reporting.pages import SPEED
from benchmarks.reporting.reading import guide
from benchmarks.reporting.rows import Row, sections
from benchmarks.reporting.style import own_settings
from benchmarks.reporting.variant_pages import _described, as_markdown
from benchmarks.reproduction.published import published
from benchmarks.reproduction.recipes import plans
from benchmarks.reproduction.targets import all_targets
from benchmarks.tuning.search import searched
from variants.registry import documentation

NATS = {"elbo": -100.0, "elbo_se": 0.3, "log_likelihood": -95.0, "log_likelihood_se": 0.3, "kl": 20.0}


def record(variant="vae", seed=0, metrics=None, **changes):
    fields = {
        "status": "ok",
        "variant": variant,
        "dataset": "mnist",
        "profile": "quick",
        "seed": seed,
        "finished": "2026-03-01T10:00:00+00:00",
        "metrics": (NATS | {"mse": 0.03, "active_units": 12} if metrics is None else metrics),
        "timing": {"train_seconds": 30.0, "train_images_per_second": 20_000.0},
        "parameters": 1234,
        "importance_samples": 100,
        "evaluated_images": 10_000,
        "environment": {"commit": "abcdef0123456", "device": "CPU", "threads": 2, "torch": "2.15", "python": "3.11"},
        "details": {"overrides": []},
    }
    fields |= changes
    # A record can only be read if its configuration is complete and agrees with its other fields.
    config = {
        "dataset": {"title": "MNIST", "binarise": "dynamic", "observation": "bernoulli"},
        "training": {"epochs": 3, "batch_size": 100, "optimiser": "adam", "learning_rate": 0.001},
        "variant": {},
        "network": {},
        "evaluation": {},
    } | fields.get("config", {})
    for section in ("dataset", "variant"):
        config[section] = config[section] | {"name": fields[section]}
    config |= {"profile": fields["profile"], "seed": seed}
    return Record(**({"run_id": run_id(config)} | fields | {"config": config}))


def store(results, *records):
    for entry in records:
        folder = results / "runs" / entry.run_id
        write_record(folder, entry)
        rows = "".join(f"{epoch},{-120 + epoch}\n" for epoch in (1, 2, 3))
        write_atomically(folder / "history.csv", f"epoch,validation_elbo\n{rows}".encode())
        for name in ("samples.png", "reconstructions.png"):
            Image.new("L", (30, 30), entry.seed * 10).save(folder / name)


def pages(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    store(
        folder,
        *(record("vae", seed, NATS | {"elbo": -100.0 - seed, "mse": 0.03, "active_units": 12}) for seed in (0, 1, 2)),
        *(
            record("iwae", seed, NATS | {"log_likelihood": -93.0, "mse": 0.02, "active_units": 20})
            for seed in (0, 1, 2)
        ),
        record(
            "wae_mmd",
            metrics={"mse": 0.01, "active_units": 3},
            not_applicable=dict.fromkeys(("elbo", "log_likelihood", "kl"), "deterministic encoder: no density"),
        ),
        record(
            "dip_vae",
            metrics={},
            status="diverged",
            error={"type": "DivergenceError", "message": "the loss of epoch 2 is nan", "traceback": "…"},
        ),
    )
    return folder


def test_the_same_records_give_the_same_bytes_in_any_order_place_time_and_locale(results, tmp_path, monkeypatch):
    write_reports(results, tmp_path / "first")
    copied = tmp_path / "copied"
    for folder in sorted((results / "runs").iterdir(), reverse=True):
        shutil.copytree(folder, copied / "runs" / folder.name)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    before = locale.setlocale(locale.LC_ALL)
    for name in ("de_DE.UTF-8", "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_ALL, name)
            break
        except locale.Error:
            continue
    try:
        write_reports(copied, tmp_path / "second")
    finally:
        locale.setlocale(locale.LC_ALL, before)
        monkeypatch.undo()
        time.tzset()
    assert pages(tmp_path / "first") == pages(tmp_path / "second")
    write_reports(results, tmp_path / "first")
    assert pages(tmp_path / "first") == pages(tmp_path / "second")


def row(page, variant):
    return next(line for line in page.splitlines() if line.startswith(f"| [{variant}](variants/"))


def test_the_leaderboard_shows_mean_and_deviation_the_best_in_bold_and_reasons(results, tmp_path):
    write_reports(results, tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    assert "-101.0 ± 1.0" in row(page, "vae")
    assert "**-93.00 ± 0.00**" in row(page, "iwae")
    # It has the smallest squared error, but only one seed, so it is not marked as the best.
    assert "**0.0100**" not in row(page, "wae\\_mmd")
    assert "0.0100" in row(page, "wae\\_mmd")
    assert row(page, "vae").rstrip(" |").endswith("3")
    assert "– <sup>1</sup>" in row(page, "wae\\_mmd")
    assert "<sup>1</sup> deterministic encoder: no density" in page
    order = [line.split("|")[1].strip() for line in page.splitlines() if re.match(r"\| \[(vae|iwae|wae)", line)]
    assert [re.match(r"\[(.*)\]", entry)[1] for entry in order[:3]] == ["iwae", "vae", "wae\\_mmd"]
    assert "K = 100" in page
    assert "10,000" in page
    assert "DivergenceError: the loss of epoch 2 is nan" in page
    assert "make bench VARIANTS=NAME DATASETS=mnist SEEDS=0,1,2 PROFILE=quick" in page
    index = (tmp_path / "README.md").read_text()
    assert "[MNIST, quick](mnist.md#profile-quick)" in index
    assert "[iwae](variants/iwae.md) | log p(x): -93.00 ± 0.00 nats/image, 3 seeds |" in " ".join(index.split())
    assert "DivergenceError: the loss of epoch 2 is nan" in index


def test_a_mean_is_never_taken_over_the_seeds_that_happen_to_have_the_number(tmp_path):
    store(tmp_path / "r", record("vae", 0), record("vae", 1, {"mse": 0.1}))
    write_reports(tmp_path / "r", tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    assert "-100.00" not in row(page, "vae")
    assert "</sup> not measured, in 1 of 2 seeds" in page


def test_boards_with_more_seeds_and_then_with_more_runs_come_first_on_the_index(tmp_path):
    def runs(dataset, seeds, *names):
        given = {"dataset": dataset, "config": {"dataset": {"name": dataset}}}
        return [record(name, seed, **given) for name in names for seed in range(seeds)]

    store(tmp_path / "r", *runs("a_few", 2, "vae"), *runs("many", 2, "vae", "iwae"))
    store(tmp_path / "r", *runs("a_single", 1, "vae", "iwae", "ae"))
    write_reports(tmp_path / "r", tmp_path / "out")
    linked = re.findall(r"^\| \[[^]]*\]\((\w+)\.md#", (tmp_path / "out" / "README.md").read_text(), re.MULTILINE)
    assert linked == ["many", "a_few", "a_single"]


def test_numbers_of_different_profiles_and_budgets_never_share_a_table(tmp_path):
    longer = record("vae", 1, config=record().config | {"training": {"epochs": 300}})
    made = sections([record("vae", 0), record("vae", 0, profile="smoke"), longer])
    assert len(made) == 3
    assert all(len(section.records) == 1 for section in made)


def test_settings_of_a_variant_are_rows_of_their_own(tmp_path):
    def setting(beta, overrides):
        config = record().config | {"variant": {"name": "beta_vae", "beta": beta}}
        return record("beta_vae", 0, config=config, details={"overrides": overrides})

    (section,) = sections([setting(4, []), setting(8, ["variant.beta=8"])])
    assert [entry.label for entry in section.rows] == ["beta_vae", "beta_vae (variant.beta=8)"]


HOSTILE = "</td><script>alert(1)</script> | a | `b` \n# heading\n[x](javascript:alert(1)) ![](y) <!-- *" + "z" * 5000


def test_hostile_text_in_a_record_stays_text(tmp_path):
    error = {"type": HOSTILE, "message": HOSTILE, "traceback": HOSTILE}
    config = record().config | {"dataset": {"title": HOSTILE, "observation": HOSTILE, "binarise": HOSTILE}}
    environment = dict.fromkeys(("commit", "device", "torch", "python", "threads"), HOSTILE)
    store(
        tmp_path / "r",
        record("vae", 0, config=config, environment=environment, details={"overrides": [HOSTILE]}),
        record("vae", 1, {}, status="failed", error=error, config=config),
        record("iwae", 1, {}, not_applicable={"elbo": HOSTILE}, config=config),
        record("vae", 3, environment={}, details={}, timing={}),
    )
    write_reports(tmp_path / "r", tmp_path)
    write_reports(tmp_path / "r", tmp_path, html=True)
    for name in ("mnist.md", "README.md", "variants/vae.md", "index.html", "mnist.html", "variants/vae.html"):
        page = (tmp_path / name).read_text()
        if name.endswith(".html"):
            assert page.count("<script") == 1
            assert "javascript:" not in re.sub(r"<code>.*?</code>", "", page).replace("x](javascript:alert(1))", "")
            continue
        assert "<script" not in page
        # Code spans are removed, because markup is not interpreted inside them.
        assert not re.search(r"(?<!\\)\]\(javascript", re.sub(r"`[^`]*`", "", page))
        assert "\n# heading" not in page
        assert "z" * 2000 not in page


def test_records_that_cannot_be_read_are_reported_and_the_board_still_stands(results, tmp_path):
    write_atomically(results / "runs" / "bad" / "record.json", b"{")
    messages = write_reports(results, tmp_path)
    assert len(messages) == 1
    assert (tmp_path / "mnist.md").exists()


def test_without_records_the_index_says_so(tmp_path):
    write_reports(tmp_path / "none", tmp_path)
    assert "no records yet" in (tmp_path / "README.md").read_text()


def row_of(metric, values, **others):
    rows = [record("vae", seed, {metric: value, **others}) for seed, value in enumerate(values)]
    return Row("vae", (), tuple(rows))


def test_rows_have_different_labels_whatever_their_options_came_from():
    """Ranks, bold numbers and the baseline are by label."""

    def made(seed, warmup, overrides):
        config = {"variant": {"samples": 1} | ({"kl_warmup": warmup} if warmup else {})}
        return record("vae", seed, config=config, details={"overrides": overrides})

    (section,) = sections(
        [
            made(0, None, []),
            made(0, 0.5, ["++variant.kl_warmup=0.5"]),
            # Options that came from a file of the user's.
            made(1, 0.25, []),
            made(2, 0.75, []),
        ]
    )
    assert [row.label for row in section.rows] == [
        "vae (variant.kl_warmup=0.25)", "vae (variant.kl_warmup=0.5)", "vae (variant.kl_warmup=0.75)",
        "vae (variant.kl_warmup=default)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 2.0, 4.0], "2.3 ± 1.5"),
        ([1.0], "1.00"),
        ([-96.4, -97.05, -96.85], "-96.77 ± 0.33"),
        ([500.0, 560.0], "530 ± 42"),
        ([5.0, 5.0], "5.00 ± 0.00"),
        ([0.100001, 0.100002], "0.100 ± <0.001"),
    ],
)
def test_numbers_are_rounded_to_the_second_digit_of_their_uncertainty(values, text):
    assert board.number(row_of("elbo", values), "elbo") == text


def test_a_single_seed_has_its_standard_error_over_images_in_both_units():
    # 784 ln 2 nats are one bit per dimension.
    nats = {"log_likelihood": -784 * math.log(2) * 0.5, "log_likelihood_se": 784 * math.log(2) * 0.0123}
    row = row_of("log_likelihood_bits_per_dim", [0.5], **nats)
    assert board.number(row, "log_likelihood_bits_per_dim") == "0.500 (0.012)"
    assert board.number(row, "log_likelihood") == "-271.7 (6.7)"
    assert board.number(row, "mse") == "–"
    several = row_of("elbo", [-100.0, -102.0], elbo_se=0.3)
    assert board.number(several, "elbo") == "-101.0 ± 1.4"
    assert several.standard_error("elbo") == 0.3
    assert board.number(row_of("kid_features", [0.0], kid_features_se=0.01), "kid_features") == "0.000 (0.010)"
    # Numbers so different that the error cannot be converted.
    far = {"log_likelihood": 1e-300, "log_likelihood_se": 1e100}
    one = row_of("log_likelihood_bits_per_dim", [1e100], **far)
    assert "(" not in board.number(one, "log_likelihood_bits_per_dim")


def test_formulas_are_followed_by_the_definitions_of_their_own_terms_only():
    for name, has_r, has_kl in (
        ("vae", True, True), ("beta_tcvae", True, False), ("joint_vae", True, False), ("ae", False, False),
    ):  # fmt: skip
        page = "\n".join(_described(documentation(name), {}, ()))
        assert ("Here, r = " in page) == has_r, name
        assert ("and KL = KL(q(z" in page) == has_kl, name


@pytest.mark.parametrize("text", ["a|b", "*a*", "<b>", "[a](b)", "a\nb", "`a`", "a_b"])
def test_escaping_leaves_no_markup(text):
    shown = escape(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[|*`_\[\]]", shown)
    assert "<" not in shown
    assert code(text).count("`") == 2


def test_a_name_from_a_record_cannot_leave_the_reports_folder(tmp_path):
    # The run ids of these records cannot be folder names, so other folders are used.
    for number, entry in enumerate([record("../../up", 0, dataset="../out"), record("<b>", 0)]):
        write_record(tmp_path / "r" / "runs" / str(number), entry)
    store(tmp_path / "r", record("mine"))
    assert len(write_reports(tmp_path / "r", tmp_path / "reports", html=True)) == 2
    written = {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {"r", "reports"}
    assert "not registered" in (tmp_path / "reports" / "variants" / "mine.md").read_text()


def test_variants_that_seeds_cannot_tell_apart_share_a_rank_and_the_bold(tmp_path):
    def seeds(variant, values):
        return [record(variant, seed, NATS | {"log_likelihood": value}) for seed, value in enumerate(values)]

    store(
        tmp_path / "r",
        *seeds("iwae", [-91.0, -91.4, -91.2]),
        *seeds("vae", [-91.3, -91.1, -91.2]),
        *seeds("beta_vae", [-95.0, -95.2, -95.3]),
    )
    write_reports(tmp_path / "r", tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    ranks = {name: row(page, name).split("|")[2].strip() for name in ("iwae", "vae", "beta\\_vae")}
    assert ranks == {"iwae": "1", "vae": "1", "beta\\_vae": "3"}
    assert "**-91.20 ± 0.20**" in row(page, "iwae")
    assert "**-91.20 ± 0.10**" in row(page, "vae")
    assert "**-9" not in row(page, "beta\\_vae")
    own = (tmp_path / "variants" / "vae.md").read_text()
    assert "1 of 3" in own
    # Metrics that no row has do not have a column of ranks.
    assert "| likelihood" in own
    assert "few labels" not in own
    # The page names the test that was used, and no other.
    assert "paired t-test over seeds, 5% level" in page
    assert "bootstrap" not in page


def test_a_row_behind_one_that_differs_is_not_tied_with_the_best_however_much_it_varies(tmp_path):
    def seeds(variant, values):
        return [record(variant, seed, NATS | {"log_likelihood": value}) for seed, value in enumerate(values)]

    best, worse, varied = [-91.0, -91.4, -91.2], [-95.0, -95.2, -95.3], [-92.0, -120.0, -170.0]
    assert not differ(dict(enumerate(best)), dict(enumerate(varied)))
    store(tmp_path / "r", *seeds("iwae", best), *seeds("vae", worse), *seeds("beta_vae", varied))
    store(tmp_path / "r", record("miwae", 0, NATS | {"log_likelihood": -100.0}))
    write_reports(tmp_path / "r", tmp_path)
    assert "**-91.20 ± 0.20**" in row((tmp_path / "mnist.md").read_text(), "iwae")
    assert "**-1" not in row((tmp_path / "mnist.md").read_text(), "beta\\_vae")
    (winner,) = (line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("| likelihood"))
    assert winner.split("|")[4].strip() == "–"
    # Rows that can be tested are ranked among themselves, the others by the mean among all.
    places = {name: (tmp_path / "variants" / f"{name}.md").read_text() for name in ("vae", "beta_vae", "miwae")}
    assert "| 2 of 3 " in places["vae"]
    assert "| 2 of 3 " in places["beta_vae"]
    assert "| ~3 of 4 " in places["miwae"]


def test_a_row_with_other_seeds_than_the_best_one_is_neither_bold_nor_ranked_nor_tied(tmp_path):
    def seeds(variant, first, value):
        numbers = (NATS | {"log_likelihood": value - 0.1 * seed} for seed in range(3))
        return [record(variant, first + seed, metrics) for seed, metrics in enumerate(numbers)]

    store(tmp_path / "r", *seeds("iwae", 0, -91.0), *seeds("vae", 2, -400.0), *seeds("dip_vae", 0, -91.0))
    write_reports(tmp_path / "r", tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    ranks = {name: row(page, name).split("|")[2].strip() for name in ("iwae", "vae", "dip\\_vae")}
    assert ranks == {"iwae": "1", "vae": "–", "dip\\_vae": "1"}
    assert "**-4" not in row(page, "vae")
    assert "too few seeds in common with others for a test" in page
    assert "~3 of 3" in (tmp_path / "variants" / "vae.md").read_text()
    (winner,) = (line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("| likelihood"))
    tied = winner.split("|")[4].strip()
    assert tied == "[iwae](variants/iwae.md)"


def test_a_row_of_one_seed_is_no_winner_and_is_named_beside_it(tmp_path):
    store(
        tmp_path / "r",
        *(record("vae", seed, NATS | {"log_likelihood": -95.0 - seed}) for seed in (0, 1, 2)),
        # The mean is lower than that of vae, but one seed is better and one worse.
        *(record("dip_vae", s, NATS | {"log_likelihood": v}) for s, v in enumerate((-95.5, -95.5, -97.5))),
        *(record("iwae", seed, NATS | {"log_likelihood": -99.0 - seed}) for seed in (0, 1, 2)),
        record("miwae", 0, NATS | {"log_likelihood": -90.0}),
    )
    write_reports(tmp_path / "r", tmp_path)
    index = " ".join((tmp_path / "README.md").read_text().split())
    assert (
        "| likelihood | [vae](variants/vae.md) | log p(x): -96.0 ± 1.0 nats/image, 3 seeds | "
        "[dip\\_vae](variants/dip_vae.md) | 30 s | [miwae](variants/miwae.md): -90.00 (0.30) |" in index
    )
    assert board.OVER_IMAGES in index
    assert times.MARKS in index
    assert board.OVER_IMAGES in (tmp_path / "variants" / "miwae.md").read_text()
    assert board.OVER_IMAGES not in (tmp_path / "variants" / "vae.md").read_text()
    assert "To run vae again: `make bench VARIANTS=vae" in index


def test_one_row_that_can_be_tested_wins_nothing_and_better_rows_that_are_not_named_are_counted(tmp_path):
    def winners(name, *others):
        three = [record("rae", seed, NATS | {"log_likelihood": -95.0 - seed}) for seed in (0, 1, 2)]
        single = [record(f"v{i}", 0, NATS | {"log_likelihood": -80.0 - i}) for i in range(5)]
        store(tmp_path / name, *three, *single, *others)
        write_reports(tmp_path / name, tmp_path / f"reports-{name}")
        text = (tmp_path / f"reports-{name}" / "README.md").read_text()
        return [" ".join(line.split()) for line in text.splitlines() if line.startswith("| likelihood")]

    assert winners("alone") == ["| likelihood | [v0](variants/v0.md) | log p(x): -80.00 (0.30) nats/image | 30 s |"]
    (line,) = winners("two", *(record("vae", seed, NATS | {"log_likelihood": -99.0 - seed}) for seed in (0, 1, 2)))
    assert "| [rae](variants/rae.md) |" in line
    assert "[v2](variants/v2.md): -82.00 (0.30), and 2 more |" in line


def test_numbers_without_a_unit_are_said_without_one():
    assert guide._result(*_of_one_row("fid_features", 37.91)) == "FID, classifier features: 37.91"
    assert guide._result(*_of_one_row("psnr", 20.5)) == "PSNR: 20.50 dB"


def _of_one_row(metric, value):
    (section,) = sections([record("vae", 0, {metric: value})])
    return section, section.rows[0], metric


def autoencoders():
    return [record(name, seed, {"mse": mse + seed / 1e5}) for name, mse in (("ae", 0.01), ("wae_mmd", 0.02))
            for seed in range(3)]  # fmt: skip


def leaderboard(folder, *records):
    store(folder / "r", *records)
    write_reports(folder / "r", folder / "reports")
    return (folder / "reports" / "mnist.md").read_text().partition("### Leaderboard")[2].partition("\n### ")[0]


def test_a_board_without_log_likelihoods_is_sorted_and_ranked_by_a_metric_that_it_has(tmp_path):
    board = leaderboard(tmp_path, *autoencoders())
    assert "Sorted by MSE (per pixel)" in board
    assert "there are none here" not in board
    ranks = [row(board, name).split("|")[2].strip() for name in ("ae", "wae\\_mmd")]
    assert ranks == ["1", "2"]
    assert "**0.01" in row(board, "ae")


def test_bold_numbers_are_explained_where_only_the_ranks_are_missing(tmp_path):
    board = leaderboard(tmp_path, *autoencoders(), record("vae"))
    assert "Sorted by log p(x)" in board
    assert "There are no ranks, because no two rows have log p(x) for the same three seeds." in board
    assert "**Bold**: the best mean" in board
    assert "there are none here" not in board


def test_a_family_of_the_users_own_before_all_others_needs_no_headline(tmp_path, monkeypatch):
    own = Family("own", "Own", 5, {"own": Metric("own", "", "lower", "")}, lambda context, result: None)
    known = {family.name: family for family in catalogue.families()}
    monkeypatch.setattr(catalogue, "_families", known | {"own": own})
    board = leaderboard(tmp_path, *(record(name, metrics=NATS | {"own": 2.5}) for name in ("vae", "iwae")))
    assert "Sorted by log p(x)" in board
    assert "2.50" in row(board, "vae")


def test_two_seeds_give_no_ranks(tmp_path):
    store(tmp_path / "r", *(record(name, seed) for name in ("vae", "iwae") for seed in (0, 1)))
    write_reports(tmp_path / "r", tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    assert "| rank" not in page.replace("   ", " ")
    assert "Ranks and bold numbers need at least three seeds per variant" in page


def test_a_number_that_the_evaluation_warned_of_is_marked(tmp_path):
    warning = "fid_features from 100 images in 128 dimensions is biased upwards"
    store(tmp_path / "r", record("vae", 0, NATS | {"fid_features": 12.0}, warnings=[warning]))
    write_reports(tmp_path / "r", tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    assert "12.00 †" in page
    assert "† fid\\_features from 100 images in 128 dimensions is biased upwards" in page


def test_a_board_shows_no_address_and_no_python_error_of_a_download(tmp_path):
    """Earlier records contain such details, which are now written to the log only."""
    tried = "https://example.org/weights.pth"
    teacher = (
        f"a classifier (t, SHA-256 00), since weights are unavailable from {tried} (<urlopen error [Errno -2] x (y)>)"
    )
    reason = f"weights unavailable: /home/me/w.pth does not exist and {tried} could not be downloaded (<urlopen error>)"
    one = record("dfc_vae", details={"overrides": [], "teacher": teacher}, not_applicable={"fid_inception": reason},
                 metrics=NATS | {"fid_features": 3.0})  # fmt: skip
    store(tmp_path / "r", one, record("vae", metrics=NATS | {"fid_features": 4.0, "fid_inception": 5.0}))
    write_reports(tmp_path / "r", tmp_path / "reports")
    page = (tmp_path / "reports" / "mnist.md").read_text()
    assert "since weights are unavailable." in page
    assert "Inception's weights could not be downloaded" in page
    compared = "Distances in Inception features can be compared with published values"
    assert compared in page
    store(tmp_path / "without", one)
    write_reports(tmp_path / "without", tmp_path / "reports")
    assert compared not in (tmp_path / "reports" / "mnist.md").read_text()
    for detail in ("example.org", "urlopen", "Errno", "/home/me"):
        assert detail not in page


def test_distances_by_two_judges_never_share_a_table(tmp_path):
    def judged(variant, noise, finished="2026-03-01T10:00:00+00:00"):
        details = {"judge_accuracy": round(noise) / 1e4, "limits_features": {"train": 1.7, "noise": noise}}
        return record(variant, 0, NATS | {"mse": 0.03, "fid_features": noise / 7}, details=details, finished=finished)

    def fids(*records):
        (section,) = sections(records)
        assert all(row.mean("elbo") == -100.0 for row in section.rows)
        return {row.variant: row.mean("fid_features") for row in section.rows}

    few = [judged("vae", 1740.0), judged("iwae", 1740.00001), judged("dip_vae", 1947.0)]
    assert fids(*few) == {"vae": 1740 / 7, "iwae": 1740.00001 / 7, "dip_vae": None}
    # If both judges have the same number of records, the judge of the latest record is used, so that a user who repeats
    # half of a board sees the new numbers.
    later = judged("info_vae", 1947.0, "2026-03-02T10:00:00+00:00")
    assert fids(*few, later) == {"vae": None, "iwae": None, "dip_vae": 1947 / 7, "info_vae": 1947 / 7}
    store(tmp_path / "now", *few)
    store(tmp_path / "then", judged("vae", 1947.0))
    write_reports(tmp_path / "now", tmp_path, baseline=tmp_path / "then")
    page = (tmp_path / "mnist.md").read_text()
    quality, against = (page.partition(f"### {heading}")[2] for heading in ("Sample quality", "Against the baseline"))
    assert "248.57" in row(quality, "vae")
    assert "278.14" not in quality
    assert "judged by another network than the rest" in quality
    # The description is that of the judge whose numbers are shown.
    assert "accuracy of 17.40%." in quality
    assert "1947" not in quality
    assert re.search(r"same .*different classifier .*same", row(against, "vae"))


def test_records_of_one_judge_are_known_by_its_digest_and_older_ones_by_what_it_measured(tmp_path):
    def judged(variant, noise, digest=None):
        details = {"limits_features": {"train": 1.7, "noise": noise}} | ({"judge_digest": digest} if digest else {})
        return record(variant, 0, NATS | {"mse": 0.03, "fid_features": noise / 7}, details=details)

    def shown(*records):
        (section,) = sections(records)
        return {row.variant for row in section.rows if row.mean("fid_features") is not None}

    # The same judge on machines with different rounding.
    assert shown(judged("vae", 1740.0, "a"), judged("iwae", 1750.0, "a")) == {"vae", "iwae"}
    # Two different judges whose reference distances happen to agree.
    assert shown(judged("vae", 1740.0, "a"), judged("iwae", 1740.0, "a"), judged("vq_vae", 1740.0, "b")) == {
        "vae", "iwae"
    }  # fmt: skip
    # An older record without a digest: with the same judge, then with another one.
    assert shown(judged("vae", 1740.0, "a"), judged("iwae", 1740.0)) == {"vae", "iwae"}
    assert shown(judged("vae", 1740.0, "a"), judged("iwae", 1740.0, "a"), judged("vq_vae", 1947.0)) == {"vae", "iwae"}


def test_a_baseline_marks_what_is_better_worse_or_noise(tmp_path):
    def seeds(folder, variant, values):
        store(folder, *(record(variant, s, NATS | {"log_likelihood": v}) for s, v in enumerate(values)))

    seeds(tmp_path / "then", "vae", [-95.0, -95.2, -95.1])
    seeds(tmp_path / "now", "vae", [-93.0, -93.3, -93.2])
    seeds(tmp_path / "then", "iwae", [-92.0, -92.5, -91.5])
    seeds(tmp_path / "now", "iwae", [-92.4, -91.9, -91.8])
    seeds(tmp_path / "then", "beta_vae", [-100.0])
    seeds(tmp_path / "now", "beta_vae", [-103.0])
    seeds(tmp_path / "now", "dip_vae", [-103.0])
    write_reports(tmp_path / "now", tmp_path / "reports", baseline=tmp_path / "then")
    page = (tmp_path / "reports" / "mnist.md").read_text().partition("### Against the baseline")[2]
    assert "+1.93 (**better**)" in row(page, "vae")
    assert "-0.03 (within noise)" in row(page, "iwae")
    # With one seed, a difference of three nats is far more than twice the standard error over images.
    assert "-3.00 (**worse**)" in row(page, "beta\\_vae")
    assert "dip" not in page
    write_reports(tmp_path / "now", tmp_path / "reports")
    assert "Against the baseline" not in (tmp_path / "reports" / "mnist.md").read_text()


def test_a_difference_to_the_baseline_is_that_of_the_seeds_that_are_tested():
    def row(values, metric="log_likelihood"):
        return Row("vae", (), tuple(record("vae", seed, {metric: value}) for seed, value in enumerate(values)))

    now, then = [-89.0, -89.1, -88.9, -200.0], [-90.0, -90.11, -89.9]
    assert change(row(now), row(then), "log_likelihood") == "+1.00 (**better**)"
    # The KL has no better direction.
    assert change(row([9.0, 9.2, 9.1], "kl"), row([7.0, 7.21, 7.1], "kl"), "kl") == "+2.00 (**different**)"


def test_a_baseline_with_the_same_protocol_is_compared_before_one_with_another(tmp_path):
    def trained(folder, epochs, value):
        config = {"training": record().config["training"] | {"epochs": epochs}}
        store(folder, record(metrics=NATS | {"log_likelihood": value}, config=config))

    def against(epochs):
        (tmp_path / "reports").mkdir(exist_ok=True)
        trained(tmp_path / f"now-{epochs}", epochs, -95.0)
        write_reports(tmp_path / f"now-{epochs}", tmp_path / "reports", baseline=tmp_path / "then")
        return (tmp_path / "reports" / "mnist.md").read_text().partition("### Against the baseline")[2]

    for epochs, value in ((1, -120.0), (3, -95.0), (9, -80.0)):
        trained(tmp_path / "then", epochs, value)
    # Sections are sorted by budget, so neither the first nor the last one is chosen.
    assert "| same " in row(against(3), "vae")
    assert "no section of the baseline has this protocol" not in against(3)
    assert "no section of the baseline has this protocol" in against(5)


def test_pages_that_no_record_supports_any_more_are_removed_and_others_left(results, tmp_path):
    reports = tmp_path / "reports"
    write_reports(results, reports)
    (reports / "speed.md").write_text("# Speed, by another command")
    assert (reports / "variants" / "iwae.md").exists()
    for folder in (results / "runs").glob("*-iwae-*"):
        shutil.rmtree(folder)
    write_reports(results, reports, html=True)
    assert not (reports / "variants" / "iwae.md").exists()
    assert (reports / "speed.md").exists()
    assert "[speed](speed.md)" in (reports / "README.md").read_text()
    assert '<a href="speed.html">speed</a>' in (reports / "index.html").read_text()


def test_the_pictures_of_a_board_show_the_best_of_each_family_by_their_own_metric_of_those_that_have_them(
    tmp_path, monkeypatch
):
    def of_family(variant, metrics):
        return record(variant, metrics=metrics, details={"overrides": [], "family": "autoencoders"})

    # Without log p(x), the first by label is a model that cannot generate images.
    unable = of_family("ae", {"mse": 0.01})
    numbers = {"rae": (0.03, 9.0), "wae_mmd": (0.02, 5.0)}
    able = [of_family(name, {"mse": mse, "fid_features": fid}) for name, (mse, fid) in numbers.items()]
    likely = [
        record(name, metrics=NATS | {"log_likelihood": value}, details={"overrides": [], "family": "bounds"})
        for name, value in (("iwae", -95.0), ("vae", -90.0))
    ]
    store(tmp_path / "r", unable, *able, *likely)
    (tmp_path / "r" / "runs" / unable.run_id / "samples.png").unlink()
    drawn = {}

    def sheet(rows, files, name, height):
        drawn.setdefault(name, []).append([row.variant for row in rows])
        return b"drawn"

    monkeypatch.setattr(figures, "sheet", sheet)
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"drawn")
    write_reports(tmp_path / "r", tmp_path / "reports")
    assert drawn["samples.png"][1] == ["wae_mmd", "vae"]
    assert drawn["reconstructions.png"][1] == ["ae", "vae"]
    page = (tmp_path / "reports" / "mnist.md").read_text()
    assert "The best row of each family by FID, classifier features or, in families without it, by log p(x)." in page
    assert "The best row of each family by MSE or, in families without it, by log p(x)." in page


@pytest.mark.parametrize(
    ("images", "classes", "words"),
    [
        (1000, ("0", "1"), "the first 1,000 test images, projected onto their first two principal components and "
                           "coloured by class; "),
        (500, ("", ""), "the first 500 test images, projected onto their first two principal components; "),
    ],
)  # fmt: skip
def test_the_caption_of_codes_says_how_many_images_were_used_and_names_classes_only_where_they_are(
    tmp_path, monkeypatch, images, classes, words
):
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"drawn")
    # The first row has no codes, like a model without continuous latent variables.
    store(tmp_path / "r", record("ae"), record("vae"))
    lines = ["axis_1,axis_2,class", *(f"{number}.0,1.0,{classes[number % 2]}" for number in range(images))]
    codes = "\n".join(lines) + "\n"
    write_atomically(tmp_path / "r" / "runs" / record("vae").run_id / "codes.csv", codes.encode())
    write_reports(tmp_path / "r", tmp_path / "reports")
    assert f"*Posterior means of {words}" in (tmp_path / "reports" / "pictures" / "mnist.md").read_text()


@pytest.mark.parametrize(("classes", "columns"), [(2, 2), (15, 5), (30, None)])
def test_the_legend_of_codes_fits_below_the_panels(tmp_path, monkeypatch, classes, columns):
    kept = []
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: kept.append(figure) or b"drawn")
    store(tmp_path, record("vae"))
    lines = ["axis_1,axis_2,class", *(f"{number}.0,1.0,{number % classes}" for number in range(60))]
    codes = ("\n".join(lines) + "\n").encode()
    write_atomically(tmp_path / "runs" / record("vae").run_id / "codes.csv", codes)
    (section,) = sections(read_records(tmp_path)[0])
    with own_settings():
        assert figures.codes(section.rows, SideFiles(tmp_path)) == b"drawn"
    assert [legend._ncols for legend in kept[0].legends] == ([] if columns is None else [columns])


def test_no_picture_is_larger_than_the_limit(tmp_path):
    store(tmp_path / "r", *(record(f"v{i}", 0) for i in range(12)))
    noise = np.random.default_rng(0).integers(0, 256, size=(400, 400, 3), dtype=np.uint8)
    for path in (tmp_path / "r").rglob("samples.png"):
        Image.fromarray(noise).save(path)
    write_reports(tmp_path / "r", tmp_path)
    sizes = [path.stat().st_size for path in (tmp_path / "figures").iterdir()]
    assert max(sizes) <= 300_000


def test_the_pareto_front_is_what_no_other_point_beats():
    points = [(1.0, 5.0), (2.0, 4.0), (2.0, 6.0), (3.0, 3.0), (3.0, 3.0), (4.0, 9.0)]
    assert pareto_front(points, (True, True)) == [True, True, False, True, True, False]
    assert pareto_front(points, (True, False)) == [True, False, True, False, False, True]


def test_a_docstring_becomes_markdown():
    text = as_markdown(
        "A model: with ``code``.\n\n    loss = r\n         + KL\n\nSee :class:`~a.B`\nhere.\n\n"
        "References:\n    One, *T*,\n    2014. https://a.org/1\n    Two. https://a.org/2\n\n"
        "Deviations:\n    1. First,\n       still first.\n    2. Second."
    )
    assert text == (
        "**A model: with `code`.**\n\n```\nloss = r\n     + KL\n```\n\nSee `a.B` here.\n\n## References\n\n"
        "- One, *T*, 2014. https://a.org/1\n- Two. https://a.org/2\n\n## Deviations\n\n"
        "1. First,\n   still first.\n2. Second."
    )


def test_the_committed_reports_are_those_of_the_committed_records(tmp_path, monkeypatch):
    """The committed pages are generated from the committed records, and not edited by hand.

    Figures depend on the version of matplotlib, so they are neither rendered nor compared.
    """
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"")
    root = Path(__file__).resolve().parents[3]
    if any(list((root / "results" / part).glob("runs/*/record.json")) for part in (".", REPRODUCTION)):
        pytest.skip("the reports here show local records, too")
    shutil.copytree(root / "results", tmp_path / "results", ignore=shutil.ignore_patterns("verification"))
    assert read_records(tmp_path / "results")[1] == []
    manifest = json.loads((root / "reports" / "manifest.json").read_text())["files"]
    # These pages are measured, not generated from records. The index links them if they exist.
    (tmp_path / "reports").mkdir()
    for name in SPEED:
        shutil.copy(root / "reports" / name, tmp_path / "reports")
    targets = all_targets()
    write_reports(
        tmp_path / "results", tmp_path / "reports", describe=documentation, plans=plans(targets), searched=searched,
        find_published=functools.partial(published, targets),
    )  # fmt: skip
    for path in (tmp_path / "reports").rglob("*.md"):
        name = path.relative_to(tmp_path / "reports").as_posix()
        assert (root / "reports" / name).read_text() == path.read_text(), name
        # The pages of SPEED are not written by this command, so the manifest does not contain them.
        assert name in SPEED or manifest[name] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert manifest.keys() == json.loads((tmp_path / "reports" / "manifest.json").read_text())["files"].keys()


@pytest.mark.parametrize(
    "docstring",
    ["", "One line.", "One line.\n\n\n", "Title\n\nReferences:\n", "| a table |\n\n```\ncode", "\n\n    indented"],
)
def test_a_docstring_of_any_form_makes_a_page(docstring):
    assert as_markdown(docstring).startswith("**")


def test_markdown_in_a_docstring_stays_what_it_is_and_ends_where_it_does():
    table_and_list = "| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n  and the same\n- two"
    python = "```python\nx = 1\n\ny = 2\n```"
    text = as_markdown(f"A model.\n\n{table_and_list}\n\n{python}\nWords\non two lines.\n\n```\nnot closed")
    assert text == f"**A model.**\n\n{table_and_list}\n\n{python}\n\nWords on two lines.\n\n```\nnot closed\n```"


def test_a_variant_without_a_docstring_has_a_page_that_says_so(results, tmp_path):
    known = {"vae": "", "iwae": "A bound."}
    write_reports(results, tmp_path / "reports", describe=known.get)
    page = {name: (tmp_path / "reports" / "variants" / f"{name}.md").read_text() for name in ("vae", "iwae", "wae_mmd")}
    assert "This variant has no docstring." in page["vae"]
    assert "**A bound.**" in page["iwae"]
    assert "This variant is not registered here." in page["wae_mmd"]


def test_a_variants_page_shows_the_pictures_of_a_few_rows_and_the_numbers_of_all(tmp_path, monkeypatch):
    def row_with(beta):
        config = record().config | {"variant": {"name": "beta_vae", "beta": beta}}
        return record("beta_vae", 0, config=config, details={"overrides": [f"variant.beta={beta}"]})

    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"drawn")
    store(tmp_path / "r", *(row_with(beta) for beta in range(14)))
    write_reports(tmp_path / "r", tmp_path / "reports")
    page = (tmp_path / "reports" / "variants" / "beta_vae.md").read_text()
    assert page.count("](../figures/") == 12
    assert "Pictures of the first 12 of 14 rows." in page
    assert page.count("Command: ") == 14


def test_pictures_of_a_grid_keep_their_shape_and_lie_below_their_titles_in_spaces_of_their_own():
    pictures = [(f"title {number}", np.zeros((20, 40 + 10 * number))) for number in range(5)]
    with own_settings():
        figure = figures._grid(pictures, 3, 2.0)
    (axis,) = figure.axes
    assert tuple(figure.get_size_inches()) == (3 * figures.WIDTH, 4.0)
    for number, (drawn, words) in enumerate(zip(axis.images, axis.texts, strict=True)):
        left, right, bottom, top = drawn.get_extent()
        lines, columns = pictures[number][1].shape
        assert (right - left) / (bottom - top) == pytest.approx(columns / lines)
        line, column = divmod(number, 3)
        assert column * figures.WIDTH <= left < right <= (column + 1) * figures.WIDTH
        assert 2.0 * line < words.get_position()[1] < top < bottom <= 2.0 * (line + 1)
        assert words.get_text() == f"title {number}"


def test_the_ranks_of_a_board_are_computed_once_however_many_rows_it_has(tmp_path, monkeypatch):
    computed = []

    def counted(values, better):
        computed.append(len(values))
        return shared_ranks(values, better)

    monkeypatch.setattr(board, "shared_ranks", counted)
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"")
    store(tmp_path / "r", *(record(f"v{number}", seed) for number in range(15) for seed in (0, 1, 2)))
    write_reports(tmp_path / "r", tmp_path / "reports")
    assert set(computed) == {15}
    assert len(computed) <= len(board.questions())


def test_times_of_a_busy_machine_are_marked_with_a_footnote():
    busy = {"overrides": [], **load_details(0.4, 1.9, 1.0)}
    idle = {"overrides": [], **load_details(0.4, 1.0, 1.0)}
    (section,) = sections([record("vae", details=idle), record("iwae", details=busy)])
    note = (
        "§ Timed while other processes were running, so perhaps slower than on an idle machine: the load per core was "
        "up to 1.9, of which this suite's runs account for 1.0."
    )
    for table in (board.leaderboard(section), board.cost(section)):
        for text in (table.markdown, table.html):
            rows = {name: next(line for line in text.splitlines() if f"[{name}]" in line) for name in ("vae", "iwae")}
            assert " 30 § |" in rows["iwae"]
            assert "§" not in rows["vae"]
            assert note in text
    (quiet,) = sections([record("vae", details=idle)])
    assert "§" not in board.leaderboard(quiet).markdown + board.cost(quiet).html


def test_times_of_a_busy_machine_are_marked_in_the_guide_and_among_the_winners(tmp_path):
    busy = {"overrides": [], **load_details(0.4, 1.9, 1.0)}
    of_vae = (record("vae", seed, {"log_likelihood": -90.0 - seed, "mse": 0.1}, details=busy) for seed in (0, 1, 2))
    of_iwae = (record("iwae", seed, {"log_likelihood": -95.0 - seed, "mse": 0.1}) for seed in (0, 1, 2))
    store(tmp_path / "r", *of_vae, *of_iwae)
    write_reports(tmp_path / "r", tmp_path / "reports")
    index = " ".join((tmp_path / "reports" / "README.md").read_text().split())
    assert re.search(r"\| \[vae\]\S* \| log p\(x\): \S+ ± \S+ nats/image, 3 seeds \| \S+ \| 30 s § \|", index)
    page = " ".join((tmp_path / "reports" / "guide.md").read_text().split())
    speed = page.partition("## Training speed")[2]
    assert re.search(r"\| \[vae\]\S* \| 20,000 § \|", speed)
    assert re.search(r"\| \[iwae\]\S* \| 20,000 \|", speed)
    # One busy time is enough to make the order that of the machine's load.
    assert times.UNCERTAIN in speed
    assert "speed ~" not in index + page
    store(tmp_path / "idle", *(record(name, 0, {"log_likelihood": -90.0, "mse": 0.1}) for name in ("vae", "iwae")))
    write_reports(tmp_path / "idle", tmp_path / "reports")
    page = (tmp_path / "reports" / "guide.md").read_text()
    assert times.UNCERTAIN not in page
    assert "training speed ~2 of 2" in page


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("metric", "worse", "better", "reference"),
    [("fid_features", 60.0, 40.0, "PCA reconstructions: 50.00"),
     ("outliers_dataset_auroc_log_likelihood", 0.3, 0.7, "chance: 0.5")],
)  # fmt: skip
def test_a_best_result_that_does_not_reach_its_reference_is_said_not_to(
    tmp_path, metric, worse, better, reference, seeds
):
    details = {"overrides": [], "limits_features": {"pca_32_reconstruction": 50.0}}
    for value, expected in ((worse, True), (better, False)):
        found = [record(name, seed, {metric: value * (1 + (n + seed) / 1000), "mse": 0.1}, details=details)
                 for n, name in enumerate(("vae", "iwae")) for seed in range(seeds)]  # fmt: skip
        store(tmp_path / f"{value}", *found)
        write_reports(tmp_path / f"{value}", tmp_path / "reports")
        index, page = ((tmp_path / "reports" / name).read_text() for name in ("README.md", "guide.md"))
        assert (f"(worse than {reference})" in index) == expected
        assert (f"All of these results are worse than {reference}" in page) == expected
        own = (tmp_path / "reports" / "variants" / "iwae.md").read_text()
        assert (f" of 2 (worse than {reference})" in own) == expected


def test_a_table_says_which_of_its_columns_no_row_has_and_why(tmp_path):
    lacking = {"fid_inception": "no weights", "kid_features": "blocks"}
    found = [record(name, metrics=NATS | {"fid_features": 9.0}, not_applicable=lacking) for name in ("vae", "iwae")]
    # An autoencoder lacks them for another reason, which is not that of the table.
    none = dict.fromkeys([*lacking, "fid_features"], "no prior")
    found += [record(name, metrics={"mse": 0.1}, not_applicable=none) for name in ("ae", "swae", "sparse_ae")]
    store(tmp_path / "r", *found)
    write_reports(tmp_path / "r", tmp_path / "reports")
    page = (tmp_path / "reports" / "mnist.md").read_text()
    assert "KID, classifier features (blocks)" in page
    assert "FID, Inception (no weights)" in page
    assert page.count("Not available for any row: ") == 2
    assert "no prior)" not in page


def test_a_table_needs_a_number_of_its_own_and_not_only_one_of_another_family(tmp_path):
    mixture = {"fid_features": 9.0, "fid_features_gmm": 8.0}
    for metrics, expected in (({"fid_features": 9.0}, False), (mixture, True)):
        store(tmp_path / str(expected), record("vae", metrics=NATS | metrics))
        write_reports(tmp_path / str(expected), tmp_path / "reports")
        assert ("### Samplers" in (tmp_path / "reports" / "mnist.md").read_text()) == expected


def test_a_loss_that_compares_features_is_named_beside_a_distance_between_features(tmp_path):
    found = [record(name, seed, {"fid_features": 9.0 + seed + n, "mse": 0.1 + n}, details=details)
             for n, (name, details) in enumerate((("dfc_vae", {"overrides": [], "teacher": "a classifier"}),
                                                  ("vae", {"overrides": []}))) for seed in (0, 1, 2)]  # fmt: skip
    store(tmp_path / "r", *found)
    write_reports(tmp_path / "r", tmp_path / "reports")
    for page in ("README.md", "guide.md"):
        lines = (tmp_path / "reports" / page).read_text().splitlines()
        of_dfc = [line for line in lines if guide.FEATURE_LOSS in line]
        assert of_dfc
        assert all("dfc" in line and ("FID" in line or "10.0" in line) for line in of_dfc)


def test_a_table_says_how_many_images_were_generated(tmp_path):
    options = {"evaluation": {"generated_images": 10_000}}
    store(tmp_path / "r", record("vae", metrics=NATS | {"fid_features": 9.0}, config=options))
    write_reports(tmp_path / "r", tmp_path / "reports")
    assert "\n10,000 mean images of draws from the prior" in (tmp_path / "reports" / "mnist.md").read_text()


def test_a_section_names_the_variants_of_other_sections_that_it_lacks(tmp_path):
    broken = record("miwae", profile="standard", metrics={}, status="diverged",
                    error={"type": "E", "message": "broke", "traceback": ""}, evaluated_images=0)  # fmt: skip
    store(tmp_path / "r", record("vae"), record("iwae"), record("miwae"), record("vae", profile="standard"), broken)
    write_reports(tmp_path / "r", tmp_path / "reports")
    board = (tmp_path / "reports" / "mnist.md").read_text()
    assert "- [Profile standard](#profile-standard): rows: 1, seeds: 1; not run: iwae\n" in board
    assert "- [Profile quick](#profile-quick): rows: 3, seeds: 1\n" in board


def test_times_of_another_device_are_marked_and_never_compared(tmp_path):
    gpu = {"device": "a GPU", "commit": "abcdef0123456", "threads": 2, "torch": "2.15", "python": "3.11"}
    fast = {"train_seconds": 3.0, "train_images_per_second": 200_000.0}
    store(tmp_path / "r", record("vae"), record("iwae"), record("dip_vae", environment=gpu, timing=fast))
    (section,) = sections(read_records(tmp_path / "r")[0])
    note = "¶ Timed on a GPU; not comparable with the times without this mark, on CPU."
    leaderboard, cost = board.leaderboard(section).markdown, board.cost(section).markdown
    assert note in leaderboard
    assert note in cost
    assert re.search(r"dip.*\| +3 ¶ \|", leaderboard)
    order = [re.match(r"\| \[([^]]*)\]", line) for line in cost.splitlines()]
    assert [found[1] for found in order if found] == ["iwae", "vae", "dip\\_vae"]
    speed = guide.answering(section, guide.SPEED)
    assert [row.variant for row in speed] == ["iwae", "vae"]
    assert all(guide.place(section, row, guide.SPEED) != "~1 of 3" for row in section.rows)
    write_reports(tmp_path / "r", tmp_path / "reports")
    # Of a row with seeds on both, the times are those of its most frequent device, although the other is faster.
    seeds = [record("vae", seed) for seed in (0, 1, 2)]
    mixed = Row("vae", (), (*seeds, record("vae", 3, environment=gpu, timing=fast)))
    assert mixed.timing("train_seconds") == 30.0
    # The memory of tensors on a GPU and that of a process are not comparable either.
    peaks = [({"peak_memory_bytes": size * 2**30}) for size in (3, 1, 2)]
    parts = [record("vae", seed, details=peak) for seed, peak in enumerate(peaks[1:])]
    mixed = Row("vae", (), (*parts, record("vae", 2, environment=gpu, timing=fast, details=peaks[0])))
    assert board._memory(mixed) == "2.0 GiB"
    known = [figures._value(section, row, "train_seconds") for row in section.rows]
    assert sorted(value is None for value in known) == [False, False, True]
    assert "| images/s on CPU " in (tmp_path / "reports" / "guide.md").read_text()


def test_the_protocol_counts_the_runs_of_each_device():
    of_vae = [record("vae", seed) for seed in (0, 1)]
    (section,) = sections(of_vae)
    assert "| hardware           | CPU, threads: 2 " in board.protocol(section)
    on_gpu = record("vae", 2, environment=of_vae[0].environment | {"device": "AGPU", "threads": 3})
    (section,) = sections([*of_vae, on_gpu])
    assert "| CPU, threads: 2 (2 runs); AGPU, threads: 3 (1 run) " in board.protocol(section)


def test_the_protocol_of_failed_runs_does_not_say_that_no_test_image_was_evaluated():
    broken = record(metrics={}, status="diverged", error={"type": "E", "message": "broke", "traceback": ""},
                    evaluated_images=0)  # fmt: skip
    (section,) = sections([broken])
    assert "| test images " not in board.protocol(section)
    (section,) = sections([broken, record(seed=1)])
    assert "| test images        | 10,000 " in board.protocol(section)


def test_no_data_set_has_the_file_of_another_page():
    for name in ("speed", "speed-gpu", "guide"):
        assert board.page_file(name) != f"{name}.md"
    assert board.page_file("mnist") == "mnist.md"


def test_the_protocol_names_the_network_of_most_records():
    network = {"name": "mlp", "hidden": [400, 400], "activation": "silu", "latent_size": 32}
    other = record("vq_vae", config={"network": {"name": "conv", "width": 32}})
    (section,) = sections([*(record(name, config={"network": network}) for name in ("vae", "iwae")), other])
    line = next(line for line in board.protocol(section).splitlines() if line.startswith("| network"))
    assert "mlp 400-400 silu, latent size 32, unless a row or its variant's page names another" in line
    (unknown,) = sections([record("vae")])
    assert "| network" not in board.protocol(unknown)


def test_the_best_numbers_of_a_larger_budget_stand_before_the_winners_of_a_smaller_one(tmp_path):
    longer = {"epochs": 100, "batch_size": 100, "optimiser": "adam", "learning_rate": 0.001}

    def of_standard(name, seed, mse):
        return record(name, seed, {"mse": mse}, profile="standard", config={"training": longer})

    def index_of(*records):
        store(tmp_path / "r", *records)
        write_reports(tmp_path / "r", tmp_path / "reports")
        return " ".join((tmp_path / "reports" / "README.md").read_text().partition("## Winners")[2].split())

    quick = [record(name, seed, {"mse": 0.03 + seed / 1000}) for name in ("vae", "ae") for seed in (0, 1, 2)]
    index = index_of(*quick, of_standard("vae", 0, 0.01), of_standard("ae", 0, 0.02))
    larger, smaller = index.index("(mnist.md#profile-standard)"), index.index("(mnist.md#profile-quick)")
    assert larger < index.index("No winners. Variants with three or more seeds: 0 of 2.") < smaller
    assert "| reconstruction | [vae](variants/vae.md) | MSE: 0.0100 per pixel | 30 s |" in index[larger:smaller]
    assert "To run vae again: `make bench VARIANTS=vae DATASETS=mnist SEEDS=0 PROFILE=standard" in index[larger:smaller]
    # Of three variants one has enough seeds: its number has a standard deviation, and the smaller section stays.
    index = index_of(*(of_standard("vae", seed, 0.01 + seed / 1000) for seed in (1, 2)), of_standard("iwae", 0, 0.03))
    larger, smaller = index.index("(mnist.md#profile-standard)"), index.index("(mnist.md#profile-quick)")
    assert "No winners. Variants with three or more seeds: 1 of 3." in index[larger:smaller]
    assert "MSE: 0.0110 ± 0.0010 per pixel, 3 seeds |" in index[larger:smaller]
    # With winners of its own, the larger section stands alone.
    index = index_of(*(of_standard("ae", seed, 0.02 + seed / 1000) for seed in (1, 2)))
    assert "(mnist.md#profile-standard)" in index
    assert "(mnist.md#profile-quick)" not in index


def test_a_section_in_which_no_criterion_has_two_rows_has_no_table_of_best_numbers(tmp_path):
    seeds = range(3)
    store(
        tmp_path / "r",
        *(record(name, seed, {metric: 1.0}) for name, metric in (("vae", "mse"), ("ae", "psnr")) for seed in seeds),
    )
    write_reports(tmp_path / "r", tmp_path / "reports")
    index = (tmp_path / "reports" / "README.md").read_text().partition("## Winners")[2].partition("## Variants")[0]
    assert "No winners. No criterion has results of two variants." in index
    assert "|" not in index
