"""``make speed`` compares equal work, and its tables state what was measured. No test asserts a time."""

import itertools
import multiprocessing
import subprocess
import sys

import pytest
import torch

import variants
from benchmarks.config import TrainingConfig
from benchmarks.speed import growth, loops, rounds, sampling, small_steps, stacked
from benchmarks.speed.epochs import epochs
from benchmarks.speed.table import as_table, in_every_repeat, ratios
from variants import Batch
from variants.parts.networks import MLP

CPU = torch.device("cpu")


def test_the_hand_written_loop_trains_the_same_model_by_the_same_loss():
    torch.manual_seed(0)
    hand = loops._HandWritten()
    suite = variants.build("vae", (1, 28, 28), MLP(latent_size=loops.LATENT, hidden=[loops.HIDDEN], activation="relu"))
    for own, other in zip(hand.parameters(), suite.parameters(), strict=True):
        own.data.copy_(other.data)
    x = torch.rand(20, 1, 28, 28).round()
    torch.manual_seed(1)
    by_hand = hand(x.flatten(1))
    torch.manual_seed(1)
    by_suite = suite.loss(Batch(x), torch.zeros(())).value
    assert by_hand.item() == pytest.approx(by_suite.item(), rel=1e-6)
    by_hand.backward()
    by_suite.backward()
    for own, other in zip(hand.parameters(), suite.parameters(), strict=True):
        assert torch.allclose(own.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_every_loop_that_was_timed_has_a_row_and_the_others_are_not_measured(monkeypatch):
    monkeypatch.setattr(loops, "IMAGES", 200)
    monkeypatch.setattr(loops, "_pair", lambda images, precision: itertools.count(1.0))
    monkeypatch.setattr(loops, "epochs", lambda images, network, config, data: itertools.count(1.0))
    rows = {line.split("|")[1].strip(): line for line in loops.loops(CPU, 1, None).split("\n") if line.startswith("|")}
    assert {loops.HAND, loops.SUITE, loops.FIXED, loops.PAIR, loops.PEER} <= rows.keys()
    assert {loops.COMPILED, loops.COMPILED_FIXED} <= rows.keys()
    assert loops.CAPTURED not in rows
    assert {loops.LIMIT, loops.LIMIT_WITH_UPDATE} <= rows.keys()
    assert rows[loops.PEER].count("not measured") == 5
    assert rows[loops.LIMIT].split("|")[3].strip() in ("faster", "slower", "–")
    assert "not measured" in rows[loops.SUITE]
    assert rows[loops.HAND].split("|")[2].strip() == "1.00"


def test_sampling_and_stacked_seeds_are_measured(monkeypatch):
    monkeypatch.setattr(sampling, "IMAGES", 1)
    monkeypatch.setattr(stacked, "STEPS", 1)
    text, by_samples = sampling.importance_sampling(CPU, 1)
    assert "the decoder's matrix products" in text
    assert sorted(by_samples) == [10, 100, 1000, sampling.SAMPLES]
    assert all(seconds > 0 for seconds in by_samples.values())
    assert "784-200-200-16" in stacked.seeds_stacked(CPU, 1)


def test_epochs_are_given_one_by_one_by_a_process_of_their_own():
    images = torch.randint(0, 256, (60, 1, 28, 28), dtype=torch.uint8)
    found = epochs(images, MLP(latent_size=2, hidden=[4]), TrainingConfig(batch_size=20), loops.DATA)
    assert all(0 < next(found) < 60 for _ in range(3))
    found.close()
    assert not multiprocessing.active_children()


def test_small_steps_are_compared_with_the_eager_ones_of_the_same_network(monkeypatch):
    seconds = {"off": 3.0, "on": 2.0}
    monkeypatch.setattr(
        small_steps, "epochs", lambda images, network, config, data: itertools.repeat(seconds[config.compile])
    )
    monkeypatch.setattr(small_steps, "STEPS", 2)
    lines = [line.split("|") for line in small_steps.small_steps(CPU, 1).split("\n") if line.startswith("|")]
    rows = {(cells[1].strip(), cells[2].strip()): cells[3].strip() for cells in lines[2:]}
    for network in ("784-200-200-50, batches of 20", "784-512-16, batches of 100"):
        assert rows[network, "eager"] == "1.00"
        assert rows[network, "compiled"] == "1.50"
        assert float(rows[network, small_steps.LIMIT]) > 0


def test_the_limit_has_the_products_of_every_layer():
    assert small_steps._widths((200, 100), 50) == [
        (784, 200),
        (200, 100),
        (100, 100),
        (50, 100),
        (100, 200),
        (200, 784),
    ]


def test_rounds_on_a_busy_machine_are_repeated_and_what_remains_is_said(monkeypatch):
    def measured(others, repeats):
        busy = iter(others)
        monkeypatch.setattr(rounds, "others", lambda before, after: next(busy))
        calls = itertools.count()
        return rounds.in_turn({"work": lambda: float(next(calls))}, repeats)

    quiet = measured([0.0, 0.05], 2)
    assert quiet.seconds == {"work": [1.0, 2.0]}
    assert quiet.note == ""
    repeated = measured([0.0, 0.8, 0.0], 2)
    assert repeated.seconds == {"work": [1.0, 3.0]}
    assert repeated.note == "Rounds repeated because other processes were computing: 1."
    busy = measured([0.8, 0.8, 0.8, 0.1], 2)
    assert busy.seconds == {"work": [3.0, 4.0]}
    assert busy.note.startswith("**The machine was busy**: other processes used up to 0.8 cores in 1 of 2 rounds")


COMPUTING = """
import os, subprocess, sys
from benchmarks.speed import rounds
before = rounds.used()
work = "import time\\nwhile time.process_time() < 0.5: pass"
for apart in (False, True):
    subprocess.run([sys.executable, "-c", work], start_new_session=apart, check=True)
_, everything, own = (b - a for a, b in zip(before, rounds.used()))
print(everything - own, own)
"""


def test_what_a_group_of_processes_waited_for_is_its_own_work_and_counted_once():
    """Two processes compute for half a second each, one of them in its own process group."""
    done = subprocess.run(
        [sys.executable, "-c", COMPUTING], start_new_session=True, capture_output=True, text=True, check=True
    )
    others, own = map(float, done.stdout.split())
    assert own >= 0.95
    assert others >= -0.1


@pytest.mark.slow
def test_growth_measures_every_command_at_every_size(monkeypatch):
    monkeypatch.setattr(growth, "VARIANTS", ("vae", "iwae"))
    monkeypatch.setattr(growth, "SIZES", {2: (1, 1), 8: (2, 2)})
    text, picture = growth.growth()
    for name in growth.COMMANDS:
        assert f"| {name} " in text
    assert "8 records" in text
    assert picture.startswith(b"\x89PNG")


def test_a_ratio_is_the_median_of_the_repeats_ratios():
    assert ratios([2.0, 2.0, 3.0], [1.0, 4.0, 2.0]) == "1.50 (1.00 to 1.75)"
    assert ratios([2.0], [2.0]) == "1.00"
    assert as_table(["a", "b"], [["x", "1.00"]]).split("\n")[1] == "|:----|-----:|"


def test_a_loop_is_called_faster_or_slower_only_where_every_repeat_says_so():
    found = [in_every_repeat([2.0, 2.0], own) for own in ([1.0, 1.9], [2.1, 9.0], [1.0, 3.0], [2.0, 1.0], [2.0, 2.0])]
    assert found == ["faster", "slower", "–", "–", "–"]
