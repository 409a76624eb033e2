"""If a user's images are replaced under the same name, results of old and new images are never averaged."""

import dataclasses

import numpy as np
import pytest

from benchmarks.config import from_plain
from benchmarks.records.record import read_missing_data, read_record, read_records, write_record
from benchmarks.reporting import write_reports
from benchmarks.reporting.rows import sections
from benchmarks.sweep import cell, plan
from benchmarks.sweep import runner as sweep
from tests.benchmarks.cells import configuration, setting
from tests.benchmarks.reporting.test_reports import record


def instead_of_training(config, data, where):
    """Write a record with the digest of the data, without training."""
    outcome = {"status": "ok", "metrics": {"elbo": -1.0, "mse": 0.1}}
    details = {"overrides": [], "data_title": data.title}
    made = cell._record(config, where.device, data.sha256, {"total_seconds": 1.0}, details, outcome)
    write_record(where.run_folder(config), made)
    return made


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """Runs with three seeds on an array of images."""
    monkeypatch.setattr(cell, "run_cell", instead_of_training)
    replace_images(tmp_path, 0)
    config = configuration().resolved()
    config["dataset"] |= {"name": "mine", "source": "array", "path": str(tmp_path / "images.npy"), "title": "Mine"}
    return [from_plain(config | {"seed": seed}) for seed in (0, 1, 2)]


def replace_images(folder, seed):
    np.save(folder / "images.npy", np.random.default_rng(seed).integers(0, 256, (60, 8, 8), dtype=np.uint8))


def test_runs_on_images_that_were_replaced_are_run_again_and_the_earlier_records_kept(tmp_path, cells, caplog):
    where = setting(tmp_path)
    assert len(sweep.run(cells[:2], where, jobs=1).ran) == 2
    assert plan.to_do(cells, where, retry=False)[cells[0].run_id] == "done (ok)"
    replace_images(tmp_path, 1)
    states = plan.to_do(cells, where, retry=False)
    assert list(states.values()) == ["run again (its record was made from different data)"] * 2 + ["run"]
    assert len(sweep.run(cells, where, jobs=1).ran) == 3
    assert caplog.text.count("was made from different data") == 2
    records, messages = read_records(tmp_path)
    assert (len(records), messages, len({r.data_sha256 for r in records})) == (3, [], 1)
    kept = sorted(path.name for path in where.run_folder(cells[0]).iterdir() if path.suffix != ".lock")
    assert "record.json.other-data" in kept
    assert list(plan.to_do(cells, where, retry=False).values()) == ["done (ok)"] * 3


@pytest.mark.parametrize("conditional_first", [True, False])
def test_a_condition_that_the_data_lack_stops_the_runs_that_need_it_and_no_others(
    tmp_path, cells, caplog, conditional_first
):
    plain = cells[0].resolved()
    given = [
        from_plain({**configuration("cvae", seed, "dataset.condition=label").resolved(), "dataset": {
            **plain["dataset"], "condition": "label"}})
        for seed in (0, 1)
    ]  # fmt: skip
    summary = sweep.run([*given, cells[0]] if conditional_first else [cells[0], *given], setting(tmp_path), jobs=1)
    assert [ran.run_id for ran in summary.ran] == [cells[0].run_id]
    assert list(summary.refused) == [one.run_id for one in given]
    assert not summary.missing_data
    assert read_missing_data(tmp_path) == {}
    assert caplog.text.count("dataset.condition=label needs one class label per image, but mine has no labels") == 1


def test_a_record_stands_where_its_data_cannot_be_had(tmp_path, cells):
    where = setting(tmp_path)
    sweep.run(cells, where, jobs=1)
    (tmp_path / "images.npy").unlink()
    assert list(plan.to_do(cells, where, retry=False).values()) == ["done (ok)"] * 3


def test_one_bad_record_of_a_sweep_is_set_aside_in_its_own_folder_alone(tmp_path, cells):
    where = setting(tmp_path)
    sweep.run(cells, where, jobs=1)
    path = where.run_folder(cells[1]) / "record.json"
    path.write_bytes(path.read_bytes()[:-20])
    assert len(sweep.run(cells, where, jobs=1).ran) == 1
    assert read_record(path).seed == 1
    assert [p.name for p in tmp_path.rglob("*.unreadable")] == ["record.json.unreadable"]


def test_records_of_different_images_never_share_a_row(tmp_path):
    made = [
        record("vae", seed, environment={"data_sha256": digest})
        for seed, digest in ((0, "a" * 64), (1, "a" * 64), (2, "b" * 64))
    ]
    failed = record(
        "vae", 3, {}, status="failed", error={"type": "E", "message": "m", "traceback": ""},
        environment={"data_sha256": "unknown"},
    )  # fmt: skip
    found = {section.data: section for section in sections([*made, failed])}
    seeds = {data[0]: [r.seed for r in section.records] for data, section in found.items()}
    assert seeds == {"a": [0, 1], "b": [2]}
    # A run that failed before its data were loaded belongs to the section with the most records.
    assert [r.seed for r in found["a" * 64].failed] == [3]
    for entry in (*made, failed):
        write_record(tmp_path / "r" / "runs" / entry.run_id, entry)
    write_reports(tmp_path / "r", tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    assert page.count("not the same images as in the other sections") == 2
    assert "## Profile quick, 2" in page


def test_images_under_another_title_or_path_share_a_row_and_a_seed_counts_once():
    def entry(seed, title, **changes):
        dataset = record().config["dataset"] | {"title": title, "path": f"/{title}"}
        environment = {"data_sha256": "a" * 64}
        return record("vae", seed, config={"dataset": dataset}, environment=environment, **changes)

    later = dataclasses.replace(entry(0, "Yours"), finished="2026-04-01T10:00:00+00:00")
    (section,) = sections([entry(0, "Mine"), later, entry(1, "Yours")])
    (row,) = section.rows
    assert row.records == (later, entry(1, "Yours"))
