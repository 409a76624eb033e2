"""Records are written completely or not at all, and read only if they are valid."""

import dataclasses
import json
import math
import os
import subprocess
import sys

import pytest

from benchmarks.files import write_atomically
from benchmarks.records.identity import run_id
from benchmarks.records.record import (
    SCHEMA,
    Record,
    RecordError,
    configuration_hash,
    read_record,
    read_records,
    run_folder,
    write_record,
)


def record(**changes):
    config = {
        "variant": {"name": "vae"}, "network": {"name": "mlp"}, "dataset": {"name": "digits"},
        "training": {"epochs": 1}, "evaluation": {}, "profile": "smoke", "seed": 0,
    }  # fmt: skip
    fields = {
        "run_id": run_id(config),
        "status": "ok",
        "variant": "vae",
        "dataset": "digits",
        "profile": "smoke",
        "seed": 0,
        "config": config,
        "finished": "2026-01-01T00:00:00+00:00",
        "metrics": {"elbo": -1.5},
    }
    return Record(**(fields | changes))


def test_what_is_written_is_read_again(tmp_path):
    written = record(not_applicable={"active_units": "discrete"}, warnings=["a"], details={"b": [1]})
    assert read_record(write_record(tmp_path / written.run_id, written)) == written


@pytest.mark.parametrize(
    ("dataset", "details", "biased"),
    [
        ({"source": "mnist"}, {}, True),
        ({"source": "mnist"}, {"kid_blocks": "random"}, False),
        ({"source": "fashion_mnist"}, {}, False),
        ({"source": "fashion_mnist", "condition": "label"}, {}, True),
    ],
)
def test_a_kid_of_ordered_blocks_is_not_shown_where_the_order_biases_it(tmp_path, dataset, details, biased):
    config = record().config | {"dataset": {"name": "some", **dataset}}
    metrics = {"fid_features": 9.0, "kid_features": 5.0, "kid_features_se": 0.5}
    written = record(run_id=run_id(config), dataset="some", config=config, metrics=metrics, details=details)
    found = read_record(write_record(tmp_path / written.run_id, written))
    assert found.metrics == ({"fid_features": 9.0} if biased else metrics)
    assert found.not_applicable.keys() == ({"kid_features", "kid_features_se"} if biased else set())


@pytest.mark.parametrize(
    "changes",
    [
        {"metrics": {"elbo": math.nan}},
        {"metrics": {"elbo": math.inf}},
        {"metrics": {"elbo": "-1.5"}},
        {"metrics": {"elbo": True}},
        {"not_applicable": {"elbo": "both"}},
        {"not_applicable": {"kl": ""}},
        {"status": "fine"},
        {"status": "failed"},
        {"error": {"type": "E", "message": "m", "traceback": "t"}},
        {"schema": SCHEMA + 1},
        {"seed": "0"},
        {"seed": True},
        {"seed": -1},
        {"parameters": 10**400},
        {"metrics": {"elbo": 1e308}},
        {"metrics": {"elbo": -(10**400)}},
        {"metrics": {"$x_y_z$": 1.0}},
        {"status": "failed", "metrics": {}, "error": ["type"]},
        {"status": "failed", "metrics": {}, "error": {"type": "E", "message": 1, "traceback": ""}},
        {"warnings": [1]},
        {"warnings": ["\ud800"]},
        {"warnings": ["x" * 10**6]},
        {"not_applicable": {"kl": ["a", "b"]}},
        {"config": {"training": [1]}},
        {"config": {"training": {"epochs": 0}}},
        {"config": {"training": {"epochs": "12"}}},
        {"environment": {"device": ["a"]}},
        {"details": {"overrides": "ab"}},
        {"details": {"overrides": [1]}},
        {"details": {"data_title": {}}},
        {"finished": "yesterday"},
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes):
    with pytest.raises(RecordError):
        record(**changes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"schema": 0}',
        json.dumps(dataclasses.asdict(record()))[:-20],
        json.dumps(dataclasses.asdict(record()) | {"unheard_of": 1}),
        json.dumps({k: v for k, v in dataclasses.asdict(record()).items() if k != "seed"}),
        "[" * 100_000,
    ],
)
def test_a_file_that_is_no_record_is_left_out_with_a_message_and_the_others_are_read(tmp_path, text):
    write_record(tmp_path / "runs" / record().run_id, record())
    bad = tmp_path / "runs" / "bad" / "record.json"
    write_atomically(bad, text.encode())
    records, messages = read_records(tmp_path)
    assert [r.run_id for r in records] == [record().run_id]
    assert len(messages) == 1
    assert "bad" in messages[0]
    assert "\n" not in messages[0]
    # Reading changes nothing in the folder.
    assert bad.read_text() == text
    assert list(bad.parent.iterdir()) == [bad]


def test_a_local_record_stands_before_a_reference_one_of_the_same_cell(tmp_path):
    write_record(tmp_path / "reference" / record().run_id, record(metrics={"elbo": -1.0}))
    assert run_folder(tmp_path, record().run_id) == tmp_path / "reference" / record().run_id
    write_record(tmp_path / "runs" / record().run_id, record(metrics={"elbo": -2.0}))
    (found,), _ = read_records(tmp_path)
    assert found.metrics == {"elbo": -2.0}
    assert run_folder(tmp_path, record().run_id) == tmp_path / "runs" / record().run_id


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_during_a_write_leaves_the_old_file_or_the_new_one(tmp_path):
    """The process dies inside os.replace, the last moment at which the old file exists."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = (
        "import os, pathlib, sys\n"
        "from benchmarks.files import write_atomically\n"
        "os.replace = lambda *a: os.kill(os.getpid(), 9)\n"
        f"write_atomically(pathlib.Path({str(path)!r}), b'new' * 100000)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    assert path.read_bytes() == b"old"


def test_the_hash_depends_on_content_not_on_order():
    assert configuration_hash({"a": 1, "b": 2}) == configuration_hash({"b": 2, "a": 1})
    assert configuration_hash({"a": 1, "b": 2}) != configuration_hash({"a": 1, "b": 3})
