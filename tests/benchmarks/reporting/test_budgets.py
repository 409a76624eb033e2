"""Pages show a budget in steps as steps, and never as epochs."""

import dataclasses

from benchmarks.reporting import reproduction, write_reports
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
        (winners,) = (line for line in index.split("\n") if line.startswith("### [MNIST"))
        board = winners.partition("(")[0]
        assert {line.partition("(")[0] for line in words.split("\n") if line.startswith("### ")} == {board}
        return board

    alone = [record("vae", seed, **long) for seed in range(3)]
    assert "quick" in leading(alone[0])
    # A single variant has no winners, no matter how many seeds it has.
    assert "quick" in leading(*alone)
    assert "standard" in leading(*alone, *(record("iwae", seed, **long) for seed in range(3)))
