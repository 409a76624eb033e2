"""What `make speed` compares is the same work, and its tables say what was measured. No time is asserted."""

import pytest
import torch

import variants
from benchmarks.speed import loops, sampling, stacked
from benchmarks.speed.table import as_table, in_every_repeat, load_words, ratios
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
    monkeypatch.setattr(loops, "_pair", lambda images, repeats, precision: iter([1.0, 2.0]))
    rows = {line.split("|")[1].strip(): line for line in loops.loops(CPU, 1, None).split("\n") if line.startswith("|")}
    assert {loops.HAND, loops.SUITE, loops.FIXED, loops.PAIR, loops.PEER, loops.CAPTURED} <= rows.keys()
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


def test_a_ratio_is_the_median_of_the_repeats_ratios():
    assert ratios([2.0, 2.0, 3.0], [1.0, 4.0, 2.0]) == "1.50 (0.50 to 2.00)"
    assert ratios([2.0], [2.0]) == "1.00"
    assert as_table(["a", "b"], [["x", "1.00"]]).split("\n")[1] == "|:----|-----:|"


def test_a_loop_is_called_faster_or_slower_only_where_every_repeat_says_so():
    found = [in_every_repeat([2.0, 2.0], own) for own in ([1.0, 1.9], [2.1, 9.0], [1.0, 3.0], [2.0, 1.0], [2.0, 2.0])]
    assert found == ["faster", "slower", "–", "–", "–"]


def test_the_page_says_on_how_busy_a_machine_it_was_measured():
    assert load_words(0.1) == "Load per core before the measurements: 0.10."
    assert load_words(1.5).endswith("1.50: a busy machine, on which times vary more than on an idle one.")
    assert load_words(None) == ""
