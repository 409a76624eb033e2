"""The committed records are readable, and have the run ids that the current code gives their configurations."""

from pathlib import Path

import pytest

from benchmarks.config import from_plain
from benchmarks.records.record import REPRODUCTION, read_records

RESULTS = Path(__file__).resolve().parents[3] / "results"


@pytest.mark.parametrize("folder", [RESULTS, RESULTS / REPRODUCTION], ids=["boards", "reproduction"])
def test_committed_records_are_readable_and_keep_their_run_ids(folder):
    records, messages = read_records(folder)
    assert not messages
    assert len(records) > 40
    for record in records:
        config = from_plain(record.config)
        assert config.run_id == record.run_id
        assert config.resolved() == record.config
