"""The lines that show the state of a sweep; the tests pass all times."""

import pytest

from benchmarks.progress.report import Status
from benchmarks.sweep.overview import Left, Overview

from ..cells import configuration
from .test_estimate import record

VAE, IWAE, BETA = (configuration(name) for name in ("vae", "iwae", "beta_vae"))


def training(left, epoch=1):
    return Status(f"epoch {epoch}/3", 6, 12, "steps", left, ("5,230 images/s",))


def test_a_run_is_one_line_and_so_is_the_sweep():
    overview = Overview([VAE, IWAE, BETA], [], 2, None)
    assert overview.started(VAE.run_id, 0) == f"[1/3] {VAE.run_id}: started"
    overview.started(IWAE.run_id, 0)
    overview.hear(VAE.run_id, training(90.0), 10)
    overview.hear(IWAE.run_id, Status("training the judge of digits", 300, 2343, "steps"), 10)
    assert overview.lines(10) == [
        f"{VAE.run_id}   epoch 1/3, 6/12 steps, training ends in about 1 min 30 s, 5,230 images/s",
        f"{IWAE.run_id}  training the judge of digits, 300/2,343 steps",
        # The first run has 90 s left, the second also, if it takes as long, and the third takes 100 s: 280 s for two at
        # a time.
        "0 of 3 runs finished, 2 running, at least 2 min 20 s left",
    ]


def test_one_run_needs_no_line_for_the_sweep():
    overview = Overview([VAE], [], 1, None)
    overview.started(VAE.run_id, 0)
    assert overview.lines(0) == [f"{VAE.run_id}  starting"]


def test_before_the_first_run_the_sweep_says_what_it_does_itself():
    overview = Overview([VAE, IWAE], [], 1, None)
    overview.hear(None, Status("decoding CelebA", 640, 202599, "images"), 0)
    assert overview.lines(0) == ["decoding CelebA, 640/202,599 images", "0 of 2 runs finished"]
    overview.started(VAE.run_id, 1)
    assert overview.lines(1)[0] == f"{VAE.run_id}  starting"


def test_with_records_the_time_of_evaluation_is_known_and_the_estimate_whole():
    overview = Overview([VAE, IWAE], [record("vae"), record("iwae")], 1, None)
    assert overview.started(VAE.run_id, 0) == f"[1/2] {VAE.run_id}: started, about 2 min 10 s"
    assert overview.left(0) == Left(260.0, True)
    overview.hear(VAE.run_id, training(200.0), 10)
    # 200 s of training and 30 s of evaluation are left, and the other run takes 130 s.
    assert overview.left(10) == Left(360.0, True)
    assert "about 3 min 50 s left" in overview.lines(10)[0]
    assert overview.left(60) == Left(310.0, True)
    overview.hear(VAE.run_id, Status("evaluating"), 210)
    assert overview.left(220) == Left(150.0, True)
    assert overview.lines(220)[0] == f"{VAE.run_id}  evaluating, for 10 s, about 20 s left"
    # The first run takes longer than expected, so only the time of the other run is counted.
    assert overview.left(500) == Left(130.0, True)


def test_a_sweep_learns_from_its_own_runs():
    overview = Overview([VAE, IWAE, BETA], [], 1, None)
    assert overview.left(0) is None
    overview.started(VAE.run_id, 0)
    overview.ended(VAE.run_id, record("vae"), 130)
    assert overview.left(130) == Left(260.0, True)
    assert overview.lines(130) == ["1 of 3 runs finished, about 4 min 20 s left"]


def test_the_longest_run_bounds_the_end_of_runs_side_by_side():
    overview = Overview([VAE, IWAE], [record("vae", train=970.0), record("iwae", train=0.0, rest=0.0)], 8, None)
    assert overview.left(0) == Left(1000.0, True)


def test_runs_that_end_badly_or_belong_to_another_process_are_counted_as_such():
    bad = record("iwae", status="failed", error=dict.fromkeys(("type", "message", "traceback"), "x"))
    overview = Overview([VAE, IWAE, BETA], [], 1, None)
    for cell, found in ((VAE, None), (IWAE, bad)):
        overview.started(cell.run_id, 0)
        overview.ended(cell.run_id, found, 5)
    overview.drop(BETA.run_id)
    assert overview.lines(5) == ["2 of 2 runs finished (1 run by another process, 1 failed)"]


@pytest.mark.parametrize("status", [Status("trained"), Status("evaluating")])
def test_time_goes_on_after_training_without_a_record(status):
    overview = Overview([VAE], [], 1, None)
    overview.started(VAE.run_id, 0)
    overview.hear(VAE.run_id, training(9.0), 1)
    overview.hear(VAE.run_id, status, 10)
    assert overview.left(12) is None
    assert overview.lines(12) == [f"{VAE.run_id}  {status.doing}"]
