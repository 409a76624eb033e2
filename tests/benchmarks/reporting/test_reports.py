"""Pages: a pure function of records, true to them, unbroken by their content."""

import dataclasses
import locale
import os
import re
import shutil
import time

import pytest
from PIL import Image

from benchmarks.reporting import write_reports
from benchmarks.reporting.board import spread
from benchmarks.reporting.markdown import code, escape
from benchmarks.reporting.rows import sections
from benchmarks.results import Record, read_records, write_atomically, write_record

NATS = {"elbo": -100.0, "elbo_se": 0.3, "log_likelihood": -95.0, "log_likelihood_se": 0.3, "kl": 20.0}


def record(variant="vae", seed=0, metrics=None, **changes):
    fields = {
        "run_id": f"mnist-{variant}-quick-s{seed}-{changes.get('tag', '00000000')}",
        "status": "ok",
        "variant": variant,
        "dataset": "mnist",
        "profile": "quick",
        "seed": seed,
        "config": {
            "dataset": {"title": "MNIST", "binarise": "dynamic", "observation": "bernoulli"},
            "training": {"epochs": 3, "batch_size": 100, "optimiser": "adam", "learning_rate": 0.001},
            "variant": {"name": variant},
        },
        "finished": "2026-03-01T10:00:00+00:00",
        "metrics": (NATS | {"mse": 0.03, "active_units": 12} if metrics is None else metrics),
        "timing": {"train_seconds": 30.0, "train_images_per_second": 20_000.0},
        "parameters": 1234,
        "importance_samples": 100,
        "evaluated_images": 10_000,
        "environment": {"commit": "abcdef0123456", "device": "CPU", "threads": 2, "torch": "2.15", "python": "3.11"},
        "details": {"overrides": []},
    }
    changes.pop("tag", None)
    return Record(**(fields | changes))


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
    return next(line for line in page.splitlines() if line.startswith(f"| {variant} "))


def test_the_leaderboard_shows_mean_and_deviation_the_best_in_bold_and_reasons(results, tmp_path):
    write_reports(results, tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    assert "-101.00 ± 1.00" in row(page, "vae")
    assert "**-93.00 ± 0.00**" in row(page, "iwae")
    assert "**0.0100**" in row(page, "wae\\_mmd")
    assert row(page, "vae").rstrip(" |").endswith("3")
    assert "– <sup>1</sup>" in row(page, "wae\\_mmd")
    assert "<sup>1</sup> deterministic encoder: no density" in page
    order = [line.split("|")[1].strip() for line in page.splitlines() if re.match(r"\| (vae|iwae|wae)", line)]
    assert order[:3] == ["iwae", "vae", "wae\\_mmd"]
    assert "K = 100" in page
    assert "10,000" in page
    assert "DivergenceError: the loss of epoch 2 is nan" in page
    assert "make bench VARIANTS=vae DATASETS=mnist SEEDS=0,1,2 PROFILE=quick" in page
    index = (tmp_path / "README.md").read_text()
    assert "[mnist](mnist.md)" in index
    assert "iwae: -93.00 ± 0.00" in index


def test_a_mean_is_never_taken_over_the_seeds_that_happen_to_have_the_number(tmp_path):
    store(tmp_path / "r", record("vae", 0), record("vae", 1, {"mse": 0.1}))
    write_reports(tmp_path / "r", tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    assert "-100.00" not in row(page, "vae")
    assert "not measured" in page


def test_numbers_of_different_profiles_and_budgets_never_share_a_table(tmp_path):
    longer = record("vae", 1, config=record().config | {"training": {"epochs": 300}}, tag="1")
    made = sections([record("vae", 0), record("vae", 0, profile="smoke", tag="2"), longer])
    assert len(made) == 3
    assert all(len(section.records) == 1 for section in made)


def test_settings_of_a_variant_are_rows_of_their_own(tmp_path):
    def setting(beta, overrides):
        config = record().config | {"variant": {"name": "beta_vae", "beta": beta}}
        return record("beta_vae", 0, config=config, details={"overrides": overrides}, tag=str(beta))

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
        dataclasses.replace(record("vae", 3, config={}), environment={}, details={}, timing={}),
    )
    write_reports(tmp_path / "r", tmp_path)
    for name in ("mnist.md", "README.md"):
        page = (tmp_path / name).read_text()
        assert "<script" not in page
        # Inside code spans, markup is text.
        assert not re.search(r"(?<!\\)\]\(javascript", re.sub(r"`[^`]*`", "", page))
        assert "\n# heading" not in page
        assert "z" * 400 not in page


def test_records_that_cannot_be_read_are_reported_and_the_board_still_stands(results, tmp_path):
    write_atomically(results / "runs" / "bad" / "record.json", b"{")
    messages = write_reports(results, tmp_path)
    assert len(messages) == 1
    assert (tmp_path / "mnist.md").exists()


def test_without_records_the_index_says_so(tmp_path):
    write_reports(tmp_path / "none", tmp_path)
    assert "no records yet" in (tmp_path / "README.md").read_text()


def test_spread_is_the_sample_standard_deviation():
    assert spread([1.0, 2.0, 4.0], 2) == "2.33 ± 1.53"
    assert spread([1.0], 2) == "1.00"


@pytest.mark.parametrize("text", ["a|b", "*a*", "<b>", "[a](b)", "a\nb", "`a`", "a_b"])
def test_escaping_leaves_no_markup(text):
    shown = escape(text)
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[|*`_\[\]]", shown)
    assert "<" not in shown
    assert code(text).count("`") == 2


def test_the_committed_reports_are_those_of_the_committed_records(tmp_path):
    """Nobody edits a report by hand: the same records give the committed pages."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    reference = os.path.join(root, "results", "reference")
    if not os.path.isdir(reference):
        pytest.skip("no committed records")
    shutil.copytree(reference, tmp_path / "results" / "reference")
    assert read_records(tmp_path / "results")[1] == []
    write_reports(tmp_path / "results", tmp_path / "reports")
    for path in (tmp_path / "reports").rglob("*.md"):
        committed = os.path.join(root, "reports", path.relative_to(tmp_path / "reports"))
        with open(committed, encoding="utf-8") as file:
            assert file.read() == path.read_text(), path.name
