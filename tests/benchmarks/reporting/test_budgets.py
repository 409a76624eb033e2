"""Pages show a budget in steps as steps, and never as epochs."""

import dataclasses

import pytest

from benchmarks.reporting import figures, reproduction, write_reports
from benchmarks.reporting.board import protocol
from benchmarks.reporting.rows import sections
from benchmarks.reporting.verdicts import judge

from ..reproduction.test_reproduction import plan_of, records_of
from .test_reports import record, store


def test_a_board_says_how_many_steps_its_runs_took():
    training = record().config["training"]
    (epochs,) = sections([record()])
    (steps,) = sections([record(config=record().config | {"training": training | {"steps": 20_000}})])
    assert "| 3 epochs, batches of 100" in protocol(epochs)
    assert "| 20,000 steps, batches of 100" in protocol(steps)


def test_a_board_says_of_how_many_runs_the_steps_were_compiled():
    def budget(*compiled):
        runs = [record(seed=seed, details={"compiled": one}) for seed, one in enumerate(compiled)]
        (section,) = sections(runs)
        (line,) = (line for line in protocol(section).split("\n") if line.startswith("| budget"))
        return line.split("|")[2].strip()

    eager = budget(False, False)
    assert budget(True, True) == f"{eager}, compiled"
    assert budget(True, False) == f"{eager}, compiled (1 of 2 runs)"


def trained(**options):
    return record(config={"training": record().config["training"] | options})


def test_a_board_says_which_weights_it_evaluates_and_when_training_ends_early():
    def budget(**options):
        (section,) = sections([trained(**options)])
        (line,) = (line for line in protocol(section).split("\n") if line.startswith("| budget"))
        return line.split("|")[2].strip()

    plain = budget()
    assert budget(select="last", patience=None) == plain
    assert budget(select="validation") == f"{plain}; weights of the best validation"
    assert budget(select="validation", select_by="objective", patience=6) == (
        f"{plain}; weights of the best validation (by the variant's own loss); "
        "training ends early after 6 validations without a better one"
    )


def test_the_index_does_not_say_that_all_weights_are_the_last_ones(tmp_path):
    store(tmp_path / "r", trained(select="validation"))
    write_reports(tmp_path / "r", tmp_path / "reports")
    assert (
        "or, if the protocol of a board says so, to those of the best validation"
        in (tmp_path / "reports" / "README.md").read_text()
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "(one posterior sample per image) after every epoch"),
        ({"validate_every": 1, "validation_samples": 1}, "(one posterior sample per image) after every epoch"),
        ({"validate_every": 20}, "(one posterior sample per image) every 20 epochs and at the end of training"),
        ({"validate_every": 1, "validate_every_steps": 5000, "validation_samples": 16},
         "(16 posterior samples per image) every 5,000 steps and at the end of training"),
    ],
)  # fmt: skip
def test_the_caption_of_training_says_what_was_measured_and_when(tmp_path, monkeypatch, options, words):
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"drawn")
    store(tmp_path / "r", trained(**options))
    write_reports(tmp_path / "r", tmp_path / "reports")
    assert f"*Validation ELBO {words}, one line per seed.*" in (tmp_path / "reports" / "mnist.md").read_text()


def test_a_target_says_in_which_unit_its_recipe_was_run(tmp_path):
    plan = plan_of(tmp_path)
    found = records_of(reduced_vae_0=(-40, -50), reduced_vae_1=(-40, -50))

    def words(**steps):
        runs = {
            budget: {arm: [dataclasses.replace(run, steps=steps[budget]) for run in of] for arm, of in arms.items()}
            for budget, arms in plan.runs.items()
        }
        own = dataclasses.replace(plan, runs=runs)
        return reproduction._budget_words(own, judge(own, found, {}, {})[0])

    assert words(full=None, reduced=None) == "reduced, 10 of 100 epochs (10%)"
    assert words(full=20_000, reduced=5_000) == "reduced, 5,000 of 20,000 steps (25%)"
    assert words(full=20_000, reduced=None) == "reduced, 10 epochs of 20,000 steps"


def test_a_larger_budget_leads_where_its_seeds_can_tell_variants_apart(tmp_path):
    long = {"profile": "standard", "config": {"training": record().config["training"] | {"epochs": 100}}}
    short = [record(name, seed) for name in ("vae", "iwae") for seed in range(3)]

    def leading(*runs):
        folder = tmp_path / str(len(runs))
        store(folder, *short, *runs)
        write_reports(folder, tmp_path / "reports")
        index, words = ((tmp_path / "reports" / name).read_text() for name in ("README.md", "guide.md"))
        assert "(figures/mnist-quick-samples-best.png)" in (tmp_path / "reports" / "mnist.md").read_text()
        # The best numbers of larger budgets stand before.
        *_, last = (line for line in index.split("\n") if line.startswith("### [MNIST"))
        board = last.partition("(")[0]
        assert {line.partition("(")[0] for line in words.split("\n") if line.startswith("### ")} == {board}
        return board

    alone = [record("vae", seed, **long) for seed in range(3)]
    assert "quick" in leading(alone[0])
    # A single variant has no winners, no matter how many seeds it has.
    assert "quick" in leading(*alone)
    winners = [*alone, *(record("iwae", seed, **long) for seed in range(3))]
    assert "standard" in leading(*winners)
    # Most of its variants must have three seeds; here two of four, and then three of five.
    few = [*winners, *(record(name, 0, **long) for name in ("ae", "vq_vae"))]
    assert "quick" in leading(*few)
    assert "standard" in leading(*few, *(record("miwae", seed, **long) for seed in range(3)))
