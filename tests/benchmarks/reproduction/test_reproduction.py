"""Paper targets: what is refused, what is run, and verdicts in cases with known answers."""

import dataclasses
import math
import os
import re
import shutil
import statistics

import pytest
import torch
import yaml

from benchmarks.__main__ import main
from benchmarks.config import compose_seeds, conf_folder
from benchmarks.errors import UserError
from benchmarks.records.made_for import read_made_for
from benchmarks.records.numbers import number, standard_error
from benchmarks.records.record import read_records, write_record
from benchmarks.reporting import verdicts
from benchmarks.reporting.boundary.output import Output
from benchmarks.reporting.reproduction import add_page
from benchmarks.reporting.verdicts import Distance, judge, verdict_of
from benchmarks.reproduction import costs, recipes
from benchmarks.reproduction.targets import Plan, Run, all_targets, read_target, read_targets
from benchmarks.reproduction.verify import compare
from benchmarks.sweep.locks import cell_lock

from ..cells import configuration, run, setting
from ..reporting.test_reports import record, store

TOY = {
    "title": "A toy", "paper": "Nobody, Nowhere", "link": "https://example.org", "table": "Table 0", "seen": "nowhere",
    "recipe": "little training",
    "arms": {
        "vae": {"variant": "vae", "dataset": "digits", "profile": "smoke",
                "options": ["network.hidden=[8]", "training.epochs=2", "training.validation_samples=3"]},
        "iwae": {"variant": "iwae", "dataset": "digits", "profile": "smoke", "options": ["network.hidden=[8]"]},
    },
    "quantities": [
        {"name": "NLL", "unit": "nats", "arm": "vae", "metric": "log_likelihood", "times": -1, "published": 40.0,
         "accept": [39.0, 41.0], "because": "toys vary", "expected": [39.0, 60.0], "expected_because": "less training",
         "curve": "validation_log_likelihood"},
        {"name": "gap", "unit": "nats", "arm": "vae", "minus": "iwae", "metric": "elbo", "times": -1,
         "accept": [0.0, None], "because": "order", "standard_errors": 2, "expected": [0.0, None],
         "expected_because": "order"},
    ],
    "full": {"seeds": [0, 1]},
    "reduced": {"seeds": [0, 1], "options": ["training.epochs=1"], "deviations": ["one epoch"]},
    "ablation": {"options": ["training.epochs=1"], "changes": [{"what": "wider", "options": ["network.hidden=[9]"]}]},
}  # fmt: skip


def written(folder, name="toy", **changes):
    path = folder / "paper" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**TOY, **changes}))
    return path


def without(key, part=None):
    if part is None:
        return {key: None}
    return {part: [{name: value for name, value in TOY[part][0].items() if name != key}, *TOY[part][1:]]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seen": ""}, "seen must not be empty"),
        ({"seen": " "}, "seen must not be empty"),
        ({"recipe": ""}, "recipe must not be empty"),
        ({"full": {"minutes": 0}}, "full.minutes must be above 0"),
        ({"quantities": [{**TOY["quantities"][0], "metric": "elb"}]}, "'elb' is not a metric; did you mean 'elbo'"),
        ({"quantities": [{**TOY["quantities"][0], "metric": "elbo@last"}]}, "such as elbo, objective@5"),
        ({"quantities": [{**TOY["quantities"][0], "metric": "elbo.kl"}]}, "such as elbo, objective@5"),
        ({"quantities": [{**TOY["quantities"][0], "metric": "training_kl"}]}, "'training_kl' is not a metric"),
        ({"quantities": [{**TOY["quantities"][0], "spread": 0.0}]}, "spread must be above 0"),
        ({"quantities": [{**TOY["quantities"][0], "times": 0}]}, r"quantities\[0\].times must not be 0"),
        ({"quantities": [{**TOY["quantities"][0], "spread": 0.1}], "full": {"seeds": [0]}}, "needs several full.seeds"),
        (without("accept", "quantities"), r"quantities\[0\].accept is not given"),
        (without("because", "quantities"), r"quantities\[0\].because is not given"),
        (without("expected", "quantities"), r"quantities\[0\].expected is not given, though there is a reduced budget"),
        ({"quantities": [{**TOY["quantities"][0], "accept": [2.0, 1.0]}]}, "low below high"),
        ({"quantities": [{**TOY["quantities"][0], "accept": [None, None]}]}, "one of them null at most"),
        (
            {"quantities": [{**TOY["quantities"][0], "first_result": 41.0}]},
            "first_result must miss the accepted .* 41.0",
        ),
        (
            {"quantities": [{**TOY["quantities"][0], "arm": "vea"}]},
            r"unknown arm of quantities\[0\] 'vea'; did you mean 'vae'",
        ),
        ({"full": {"seeds": []}}, "full.seeds must not be empty"),
        ({"full": {"seeds": [0, 0]}}, r"full.seeds must be different whole numbers from 0, got \[0, 0\]"),
        ({"full": {"seeds": [-1]}}, r"full.seeds must be different whole numbers from 0, got \[-1\]"),
        ({"quantities": [TOY["quantities"][0]] * 2}, "quantities: each name must be another one, got 'NLL' twice"),
        (
            {"ablation": {"changes": [{"what": "x", "options": []}] * 2}},
            "ablation.changes: each what must be another one, got 'x' twice",
        ),
        (
            {"ablation": {"changes": [{"what": "the recipe", "options": []}]}},
            "got 'the recipe' twice .the name of the runs without a change.",
        ),
        ({"arms": {"vae": {}}}, "arms.vae needs either a variant or another target"),
        ({"recpe": "x"}, "unknown key 'recpe'; did you mean 'recipe'"),
        ({"id": "toy"}, "unknown key 'id'"),
        (
            {"full": {"minute": 1}},
            "unknown key of full 'minute'; did you mean 'minutes'.* .allowed: deviations, minutes",
        ),
        ({"full": {"seeds": 0}}, "full.seeds must be a list of whole numbers such as .*, got 0"),
        ({"full": {"seeds": [True]}}, r"full.seeds\[0\] must be a whole number, got True"),
        ({"full": 3}, r"full must be keys and values .allowed: seeds, minutes, options, deviations., got 3"),
        ({"reduced": {"minutes": "long"}}, "reduced.minutes must be a number or null, got 'long'"),
        ({"arms": {"vae": {"varaint": "vae"}}}, "unknown key of arms.vae 'varaint'; did you mean 'variant'"),
        ({"arms": ["vae"]}, "arms must be keys and values, got"),
        (
            {"ablation": {"changes": [{"what": "x", "option": []}]}},
            r"unknown key of ablation.changes\[0\] 'option'; did you mean 'options'",
        ),
        (
            {"quantities": [{**TOY["quantities"][0], "published": "forty"}]},
            "published must be a number or null, got 'fo",
        ),
        ({"quantities": [{**TOY["quantities"][0], "published": math.nan}]}, r"\[0\].published must be finite, got nan"),
        ({"quantities": [{**TOY["quantities"][0], "published": -math.inf}]}, "published must be finite, got -inf"),
        ({"quantities": [{**TOY["quantities"][0], "accept": [1.0, math.inf]}]}, r"accept\[1\] must be finite, got inf"),
    ],
)
def test_a_target_that_lacks_something_or_contradicts_itself_is_refused_by_name(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as refused:
        read_target(written(tmp_path, **changes))
    assert str(refused.value).startswith(f"{tmp_path / 'paper' / 'toy.yaml'}: ")
    assert "\n" not in str(refused.value)


def test_a_target_without_source_or_that_is_no_yaml_is_refused_by_name(tmp_path):
    fields = {name: value for name, value in TOY.items() if name != "link"}
    path = tmp_path / "sourceless.yaml"
    path.write_text(yaml.safe_dump(fields))
    with pytest.raises(UserError, match=r"sourceless\.yaml: link is not given"):
        read_target(path)
    path.write_text("title: [")
    with pytest.raises(UserError, match=r"sourceless\.yaml: ") as refused:
        read_target(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ({"of": "toyy"}, "unknown arms.vae.of 'toyy'; did you mean 'toy'? (allowed: "),
        ({"variant": "VEA"}, "unknown arms.vae.variant 'VEA'; did you mean 'vae'? (allowed: ae, "),
        ({"variant": "vae", "dataset": "digit"}, "unknown arms.vae.dataset 'digit'; did you mean 'digits'?"),
        ({"variant": "vae", "profile": "papr"}, "unknown arms.vae.profile 'papr'; did you mean 'paper'?"),
    ],
)
def test_an_arm_with_a_name_that_does_not_exist_is_refused_with_its_file(tmp_path, monkeypatch, capsys, arm, message):
    path = written(tmp_path, arms={"vae": arm, "iwae": TOY["arms"]["iwae"]})
    with pytest.raises(UserError) as refused:
        read_targets((tmp_path / "paper").glob("*.yaml"))
    assert str(refused.value).startswith(f"{path}: {message}")
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path))
    assert main(["list"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {path}: {message}")


def test_an_option_of_an_arm_that_does_not_exist_is_refused_with_the_file_and_the_arm(tmp_path, monkeypatch, capsys):
    arms = TOY["arms"] | {"vae": TOY["arms"]["vae"] | {"options": ["training.epoch=1"]}}
    path = written(tmp_path, arms=arms)
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path))
    assert main(["reproduce", "--targets", "toy", "--dry", "--results", str(tmp_path / "results")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"error: {path}: arms.vae: unknown option 'training.epoch'; did you mean 'training.epochs'?"
    )
    assert error.count("\n") == 1


def test_an_ablation_of_another_target_is_refused(tmp_path):
    written(tmp_path, "base", arms={"vae": TOY["arms"]["vae"]}, quantities=[TOY["quantities"][0]], ablation=None)
    written(tmp_path, arms={"vae": {"of": "base"}, "iwae": TOY["arms"]["iwae"]})
    with pytest.raises(UserError, match=r"toy\.yaml: arms\.vae\.of: an ablation needs a variant in its place"):
        read_targets((tmp_path / "paper").glob("*.yaml"))


def test_an_arm_of_a_target_without_the_reduced_budget_is_refused(tmp_path, monkeypatch, capsys):
    one = {"arms": {"vae": TOY["arms"]["vae"]}, "quantities": [TOY["quantities"][0]], "ablation": None}
    written(tmp_path, "base", **one, reduced=None)
    path = written(tmp_path, **one | {"arms": {"vae": {"of": "base"}}})
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path))
    assert main(["reproduce", "--targets", "toy", "--dry"]) == 2
    error = f"error: {path}: arms.vae.of: 'base' has no reduced budget, though 'toy' has one\n"
    assert capsys.readouterr().err == error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--targets", "Burda-VAE-1"], "unknown target 'Burda-VAE-1'; did you mean 'burda-vae-1'?"),
        (["--targets", "all,burda-vae-1"], "'all' stands alone, without other names, got 'all,burda-vae-1'"),
        (["--targets", "burda-vea-1"], "unknown target 'burda-vea-1'; did you mean 'burda-vae-1'?"),
        (["--budget", "fill"], "unknown budget 'fill'; did you mean 'full'?"),
        (["--budget", "all"], "unknown budget 'all'"),
        (["--targets", "wae-celeba", "--budget", "reduced"], "target 'wae-celeba' has no reduced budget"),
    ],
)
def test_unknown_targets_and_budgets_are_refused_in_one_line(tmp_path, capsys, arguments, message):
    assert main(["reproduce", "--results", str(tmp_path / "r"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


@pytest.fixture(scope="module")
def plans():
    """The plans of all targets of the suite, for which Hydra composes about 50 configurations."""
    return recipes.plans(all_targets())


def test_every_target_of_the_suite_can_be_composed_and_reduced_ones_are_shorter(plans):
    assert {plan.target.id for plan in plans} == {path.stem for path in (conf_folder() / "paper").glob("*.yaml")}
    for plan in plans:
        for arm, runs in plan.runs.get("reduced", {}).items():
            assert runs[0].epochs < plan.runs["full"][arm][0].epochs
        ids = [
            run.run_id for budget in ("full", "reduced") for runs in plan.runs.get(budget, {}).values() for run in runs
        ]
        assert len(set(ids)) == len(ids), plan.target.id
        for runs in list(plan.runs.get("ablation", {}).values())[1:]:
            # A change without an effect would be compared with itself.
            assert runs[0].run_id != plan.runs["ablation"][recipes.UNCHANGED][0].run_id


def test_the_gap_is_between_the_very_cells_of_its_two_targets(plans):
    runs = {plan.target.id: plan.runs for plan in plans}
    for budget in ("full", "reduced"):
        assert runs["burda-gap-5"][budget]["vae"] == runs["burda-vae-5"][budget]["vae"]
        assert runs["burda-gap-5"][budget]["iwae"] == runs["burda-iwae-5"][budget]["iwae"]


def test_a_number_that_the_full_recipe_does_not_measure_is_refused_before_it_costs_a_run(tmp_path):
    quantities = [{**TOY["quantities"][0], "metric": "elbo@2"}]
    target = read_target(written(tmp_path, quantities=quantities))
    with pytest.raises(UserError, match=r"elbo@2 of 'NLL' needs 2 in training.measure_at of arms.vae, got \[\]$"):
        recipes.plans({"toy": target})
    vae = TOY["arms"]["vae"]
    measuring = {**vae, "options": [*vae["options"], "training.measure_at=[1,2]"]}
    target = read_target(written(tmp_path, quantities=quantities, arms={"vae": measuring}))
    assert recipes.cells(target, "full", {"toy": target}).keys() == {"vae"}


def plan_of(tmp_path, **changes):
    target = read_target(written(tmp_path, **changes))
    runs = {
        budget: {arm: [Run(f"{budget}-{arm}-{seed}", seed, epochs) for seed in (0, 1)] for arm in ("vae", "iwae")}
        for budget, epochs in (("full", 100), ("reduced", 10))
    }
    return Plan(target, runs, {"vae": "vae", "iwae": "iwae"})


def records_of(**values):
    """Records by run id. Each argument is a run id, with _ for -, and its pair (log-likelihood, ELBO)."""
    made = [
        dataclasses.replace(
            record(seed=int(name[-1]), metrics={"log_likelihood": likelihood, "log_likelihood_se": 0.3, "elbo": elbo,
                                                "elbo_se": 0.3}),
            run_id=name.replace("_", "-"),
        )
        for name, (likelihood, elbo) in values.items()
    ]  # fmt: skip
    return {one.run_id: one for one in made}


def test_a_full_recipe_inside_the_interval_is_reproduced_and_one_outside_is_not(tmp_path):
    plan = plan_of(tmp_path)
    inside = records_of(
        full_vae_0=(-40.5, -50), full_vae_1=(-39.9, -51), full_iwae_0=(-38, -47), full_iwae_1=(-38, -48.2)
    )
    nll, gap = judge(plan, inside, {}, {})
    assert (nll.verdict, nll.budget) == ("reproduced", "full")
    assert nll.mean == pytest.approx(40.2)
    assert nll.difference == pytest.approx(0.2)
    assert nll.error == pytest.approx(statistics.stdev([40.5, 39.9]) / math.sqrt(2))
    assert nll.over_seeds
    # The gaps of the seeds are 3 and 2.8 nats: their mean is more than two standard errors of 0.1 above zero.
    assert (gap.verdict, gap.mean, gap.error) == ("reproduced", pytest.approx(2.9), pytest.approx(0.1))
    assert verdict_of([nll, gap]) == "reproduced"
    outside = records_of(full_vae_0=(-42, -50), full_vae_1=(-41, -51), full_iwae_0=(-38, -47), full_iwae_1=(-38, -48.2))
    nll, gap = judge(plan, outside, {}, {})
    assert nll.verdict == "missed"
    assert verdict_of([nll, gap]) == "1 of 2 quantities reproduced, 1 missed"


def test_an_order_that_seeds_leave_open_is_not_reproduced(tmp_path):
    noisy = records_of(full_vae_0=(-40, -50), full_vae_1=(-40, -50), full_iwae_0=(-38, -44), full_iwae_1=(-38, -49.9))
    _, gap = judge(plan_of(tmp_path), noisy, {}, {})
    assert gap.mean > 0
    assert gap.verdict == "missed"


def test_a_reduced_budget_is_never_called_reproduced(tmp_path):
    plan = plan_of(tmp_path)
    found = records_of(reduced_vae_0=(-40, -50), reduced_vae_1=(-40, -50))
    nll, gap = judge(plan, found, {}, {})
    assert (nll.verdict, nll.budget) == ("consistent", "reduced")
    assert (gap.verdict, gap.mean) == ("not run", None)
    found = records_of(reduced_vae_0=(-70, -80), reduced_vae_1=(-70, -80))
    assert judge(plan, found, {}, {})[0].verdict == "missed"


def test_less_than_a_tenth_of_the_recipe_is_too_short_to_judge_wherever_it_ends(tmp_path):
    plan = plan_of(tmp_path)
    shorter = [Run(run.run_id, run.seed, 9) for run in plan.runs["reduced"]["vae"]]
    plan.runs["reduced"]["vae"] = shorter
    for likelihood, where in ((-40, "inside"), (-70, "outside")):
        found = records_of(reduced_vae_0=(likelihood, -50), reduced_vae_1=(likelihood, -50))
        nll, gap = judge(plan, found, {}, {})
        assert (nll.verdict, nll.mean) == ("too short to judge", -likelihood)
        assert nll.reason == f"9% of the recipe; {where} the interval expected for this budget, 39 to 60"
        assert verdict_of([nll, gap]) == "1 of 2 quantities too short to judge, 1 not run"
    # A run of the full recipe is judged, however short it is.
    plan.runs["full"]["vae"] = [Run(run.run_id, run.seed, 1) for run in plan.runs["full"]["vae"]]
    full = records_of(full_vae_0=(-40, -50), full_vae_1=(-40, -50))
    assert judge(plan, full, {}, {})[0].verdict == "reproduced"


def test_a_source_with_a_spread_is_compared_in_units_of_both(tmp_path):
    first = TOY["quantities"][0] | {"spread": 0.4}
    plan = plan_of(tmp_path, quantities=[first, TOY["quantities"][1]])
    found = records_of(full_vae_0=(-40.0, -50), full_vae_1=(-40.6, -50))
    nll, _ = judge(plan, found, {}, {})
    both = math.sqrt(statistics.stdev([40.0, 40.6]) ** 2 + 0.4**2)
    assert nll.distance == Distance(pytest.approx(0.3 / both), "both spreads", 40.0)


def test_an_order_is_measured_from_the_end_of_its_interval_not_from_the_published_size(tmp_path):
    gap = TOY["quantities"][1] | {"published": 30.0}
    plan = plan_of(tmp_path, quantities=[TOY["quantities"][0], gap])
    found = records_of(full_vae_0=(-40, -50), full_vae_1=(-40, -51), full_iwae_0=(-38, -47), full_iwae_1=(-38, -48.2))
    nll, order = judge(plan, found, {}, {})
    assert order.difference == pytest.approx(2.9 - 30)
    assert order.distance == Distance(pytest.approx(29.0), "s.e. over seeds", 0.0)
    assert nll.distance is None  # equal values of both seeds give no standard error


@pytest.mark.parametrize(
    ("name", "expected"),
    [("objective", 78.4), ("objective@5", 156.8), ("objective_per_pixel", 0.1), ("objective_per_pixel@5", 0.2),
     ("objective@6", None), ("elbo_per_pixel", None), ("objective.kl", 7.84), ("objective.kl_per_pixel", 0.01),
     ("objective.r", None), ("training_reconstruction_per_pixel@5", 0.05)],
)  # fmt: skip
def test_a_quantity_is_a_metric_a_term_of_the_objective_or_one_measured_on_the_way_also_per_pixel(name, expected):
    measured = {"objective@5": 156.8, "training_reconstruction@5": 39.2}
    details = {"pixels": 784, "measured": measured, "objective_terms": {"kl": 7.84}}
    one = record(metrics={"objective": 78.4}, details=details)
    assert number(one, name) == (None if expected is None else pytest.approx(expected))
    assert number(dataclasses.replace(one, details={}), "objective_per_pixel") is None
    # The standard error of a quantity measured during training is that of the same weights.
    noted = dataclasses.replace(
        one, metrics={"elbo_se": 0.5}, details={"pixels": 784, "measured": {"elbo_se@5": 0.784}}
    )
    errors = [standard_error(noted, of) for of in ("elbo", "elbo@5", "elbo_per_pixel@5", "elbo@6", "objective.kl")]
    assert errors == [0.5, 0.784, pytest.approx(0.001), None, None]
    broken = dataclasses.replace(one, status="failed", error={"type": "E", "message": "m", "traceback": ""})
    assert number(broken, name) is None


def test_the_page_begins_with_a_count_and_lists_what_is_reproduced_first(tmp_path):
    first = {name: value for name, value in TOY["quantities"][0].items() if not name.startswith("expected")}
    plans = []
    for seed, (name, likelihood) in enumerate([("bad", -70.0), ("good", -40.0), ("none", 0.0)]):
        path = written(tmp_path, name, quantities=[first], reduced=None, ablation=None)
        one = record(seed=seed, metrics={"log_likelihood": likelihood})
        if name != "none":
            store(tmp_path / "results", one)
        runs = [Run(one.run_id, seed, 3)]
        plans.append(Plan(read_target(path), {"full": {"vae": runs, "iwae": runs}}, {"vae": "vae", "iwae": "iwae"}))
    output = Output(tmp_path / "reports")
    assert add_page(tmp_path / "results", output, plans) == []
    page = output.pages["reproduction.md"]
    assert "**1 of 3 quantities reproduced with the full recipe**; 1 missed, 1 not run." in page
    rows = re.findall(r"^\| \[(\w+)\].*?\*+([a-z ]+)\*+ +\| 40 ", page, re.MULTILINE)
    assert rows == [("good", "reproduced"), ("bad", "missed"), ("none", "not run")]
    assert page.count("Recipe: little training") == 3
    assert page.count("The reason for the miss is not known") == 1
    assert "`make reproduce TARGETS=none BUDGET=full`" in page


def test_the_count_tells_corrected_recipes_and_seeds_that_differ_by_more_than_the_interval(tmp_path):
    first = {name: value for name, value in TOY["quantities"][0].items() if not name.startswith("expected")}
    plans = []
    for place, (name, values, earlier) in enumerate(
        [("plain", (39.8, 40.4), None), ("corrected", (40.0, 40.0), 45.5), ("varied", (38.0, 42.0), None)]
    ):
        path = written(tmp_path, name, quantities=[first | {"first_result": earlier}], reduced=None, ablation=None)
        found = [
            record(seed=10 * place + seed, metrics={"log_likelihood": -value}) for seed, value in enumerate(values)
        ]
        store(tmp_path / "results", *found)
        runs = [Run(one.run_id, one.seed, 3) for one in found]
        plans.append(Plan(read_target(path), {"full": {"vae": runs, "iwae": runs}}, {"vae": "vae", "iwae": "iwae"}))
    output = Output(tmp_path / "reports")
    assert add_page(tmp_path / "results", output, plans) == []
    page = " ".join(output.pages["reproduction.md"].split())
    assert (
        "**3 of 3 quantities reproduced with the full recipe** (1 after a first recipe missed and was corrected, 1 "
        "with seeds that differ too much to tell (‡))." in page
    )
    assert "| 40.00 ± 2.83 (n = 2) ‡ |" in page
    assert "| full, 3 epochs, corrected recipe (first: 45.5) |" in page
    assert page.count("‡") == 3


def test_the_budget_of_a_difference_is_that_of_both_arms(tmp_path):
    gap = {name: value for name, value in TOY["quantities"][1].items() if not name.startswith("expected")}
    path = written(tmp_path, quantities=[gap], reduced=None, ablation=None)
    found = {
        arm: record(arm, metrics={"elbo": elbo, "elbo_se": 0.1}) for arm, elbo in (("vae", -50.0), ("iwae", -45.0))
    }
    store(tmp_path / "results", *found.values())
    runs = {arm: [Run(found[arm].run_id, 0, epochs)] for arm, epochs in (("vae", 3), ("iwae", 1_000))}
    output = Output(tmp_path / "reports")
    add_page(tmp_path / "results", output, [Plan(read_target(path), {"full": runs}, {"vae": "vae", "iwae": "iwae"})])
    assert "| full, 3 epochs and 1,000 epochs |" in " ".join(output.pages["reproduction.md"].split())


def test_one_seed_of_two_is_no_mean_and_the_reason_says_so(tmp_path):
    nll, _ = judge(plan_of(tmp_path), records_of(full_vae_0=(-40, -50)), {}, {})
    assert (nll.verdict, nll.reason) == ("not run", "1 of 4 runs have a record")


def test_why_a_target_was_not_run(tmp_path):
    plan = plan_of(tmp_path, needs="a GPU")
    assert judge(plan, {}, {}, {})[0].reason.startswith("it needs a GPU; make reproduce TARGETS=toy")
    assert judge(plan, {}, {}, {"digits": "gone"})[0].reason == "data missing: gone"
    found = records_of(full_vae_0=(-40, -50), full_vae_1=(-40, -50))
    del found["full-vae-0"].metrics["log_likelihood"]
    assert judge(plan, found, {}, {})[0].reason == "full-vae-0 has no log_likelihood"
    failed = dataclasses.replace(record(), run_id="full-vae-0", status="failed", metrics={},
                                 error={"type": "E", "message": "broke", "traceback": ""})  # fmt: skip
    assert judge(plan, {"full-vae-0": failed}, {}, {})[0].reason == "full-vae-0 failed: broke"
    lacking = dataclasses.replace(record(), run_id="full-vae-0", metrics={}, not_applicable={"log_likelihood": "none"})
    assert judge(plan, {"full-vae-0": lacking}, {}, {})[0].reason == "log_likelihood: none"


def test_the_page_says_how_far_a_run_that_stopped_early_was_trained_and_lists_every_seed_and_budget(tmp_path):
    path = written(tmp_path, quantities=TOY["quantities"][:1], ablation=None)
    found = {
        ("full", 0): (-40.0, 0.36, 1500), ("full", 1): (-40.5, 0.5, 2500), ("reduced", 0): (-45.0, 1.0, 26),
    }  # fmt: skip
    runs = {"full": {"vae": []}, "reduced": {"vae": []}}
    for (budget, seed), (likelihood, share, step) in found.items():
        one = record(seed=seed, profile=budget, metrics={"log_likelihood": likelihood})
        one = dataclasses.replace(one, details=one.details | {"selected_step": step})
        store(tmp_path / "results", one)
        history = tmp_path / "results" / "runs" / one.run_id / "history.csv"
        # 1,297 images are 13 batches of 100.
        history.write_text(f"epoch,progress,seconds,images_per_second\n1,0.1,2,648.5\n3,{share},1,1297.0001\n")
        early = budget == "full"
        runs[budget]["vae"].append(Run(one.run_id, seed, 8, 5000 if early else None, stops_early=early))
    output = Output(tmp_path / "reports")
    assert add_page(tmp_path / "results", output, [Plan(read_target(path), runs, {"vae": "vae"})]) == []
    page = output.pages["reproduction.md"]
    full, reduced = (line for line in page.splitlines() if re.match(r"\| vae +\| (full|reduced) ", line))
    assert full.split("|")[4].strip() == "1,800 to 2,500 of at most 5,000 steps; weights of step 1,500 to 2,500"
    assert reduced.split("|")[4].strip() == "8 epochs; weights of epoch 2"
    assert "full, at most 5,000 steps" in page
    assert "Ours with the reduced budget: 45.00. Ours per seed: 40.00, 40.50." in page
    assert "- reduced budget: one epoch" in page
    # Histories that do not say how far a run was trained.
    for progress in ("", "3,\n", "3,1e101\n", "3,-1\n"):
        for file in (tmp_path / "results").glob("runs/*/history.csv"):
            file.write_text(f"epoch,progress\n{progress}")
        output = Output(tmp_path / "reports")
        add_page(tmp_path / "results", output, [Plan(read_target(path), runs, {"vae": "vae"})])
        page = " ".join(output.pages["reproduction.md"].split())
        assert "| at most 5,000 steps; weights of step 1,500 to 2,500 |" in page
        assert "| 8 epochs; weights of step 26 |" in page


def test_failed_and_diverged_runs_count_as_neither_seeds_nor_times_of_a_target(tmp_path):
    path = written(tmp_path, ablation=None)
    timing = {"train_seconds": 60.0, "total_seconds": 120.0}
    error = {"type": "E", "message": "broke", "traceback": ""}
    done = record(seed=0, metrics={"log_likelihood": -40.0}, timing=timing)
    broken = [
        record(seed=seed, metrics={}, status=status, error=error, timing={"total_seconds": 1.0}, evaluated_images=0)
        for seed, status in ((1, "failed"), (2, "diverged"))
    ]
    store(tmp_path / "results", done, *broken)
    runs = {"full": {"vae": [Run(one.run_id, one.seed, 3) for one in (done, *broken)],
                     "iwae": [Run(broken[0].run_id, 1, 3)]}}  # fmt: skip
    output = Output(tmp_path / "reports")
    assert add_page(tmp_path / "results", output, [Plan(read_target(path), runs, {"vae": "vae", "iwae": "iwae"})]) == []
    page = output.pages["reproduction.md"]
    (line,) = (line for line in page.splitlines() if re.match(r"\| vae +\| full ", line))
    assert [cell.strip() for cell in line.split("|")[3:6]] == ["1 of 3", "3 epochs", "2 min"]
    assert "SEEDS=0 PROFILE=quick" in page
    assert f"{broken[0].run_id} failed: broke" in page.replace("\\", "")
    assert "have failed or diverged" in page


def test_a_recipe_changed_after_its_records_were_made_is_stale(tmp_path):
    old = records_of(old_vae_0=(-40, -50), old_vae_1=(-40, -50))
    made_for = {"full": {"vae": ["old-vae-0", "old-vae-1"]}}
    nll, gap = judge(plan_of(tmp_path), old, made_for, {})
    assert (nll.verdict, nll.mean) == ("stale", 40)
    assert gap.verdict == "not run"


def test_a_standard_error_without_seeds_is_over_test_images(tmp_path):
    plan = plan_of(tmp_path)
    one = {budget: {arm: runs[:1] for arm, runs in arms.items()} for budget, arms in plan.runs.items()}
    found = records_of(full_vae_0=(-40, -50), full_iwae_0=(-38, -47))
    nll, gap = judge(Plan(plan.target, one, plan.variants), found, {}, {})
    assert (nll.error, nll.over_seeds) == (0.3, False)
    assert gap.error == pytest.approx(0.3 * math.sqrt(2))
    assert verdicts.between([1.0, None]) == "at least 1"
    assert verdicts.between([None, 0.0], 2) == "below 0 by at least 2 standard errors"


def timed(config, total, train):
    one = record(variant=config.variant_name, dataset=config.dataset.name, profile=config.profile, seed=config.seed)
    timing = {"total_seconds": total, "train_seconds": train}
    return dataclasses.replace(one, config=config.resolved(), timing=timing)


def test_a_target_costs_what_records_of_its_recipe_or_of_the_same_model_took_else_what_its_file_says(tmp_path):
    arms = {"vae": TOY["arms"]["vae"]}
    changes = {"arms": arms, "quantities": [TOY["quantities"][0]], "full": {"seeds": [0, 1], "minutes": 3}}
    target = read_target(written(tmp_path, **changes))
    asked = costs.Asked(target, "full", recipes.cells(target, "full", {}))
    first, second = asked.cells
    ids = [first.run_id, second.run_id]
    # Only the estimate in the target's file is known: three minutes for both runs.
    assert costs.cost(asked, [], "CPU").seconds == dict.fromkeys(ids, 90)
    # With half as many epochs, the same model took 10 s to train and 5 s to evaluate.
    (shorter,) = compose_seeds("vae", "digits", "smoke", [7], [*arms["vae"]["options"], "training.epochs=1"])
    alike = timed(shorter, 15, 10)
    found = costs.cost(asked, [alike], "CPU")
    assert (found.seconds, found.known_from) == (dict.fromkeys(ids, 25), "records of the same model")
    # A record of the recipe itself takes precedence, whatever its seed.
    found = costs.cost(asked, [alike, timed(first, 40, 30)], "CPU")
    assert (found.seconds, found.known_from) == (dict.fromkeys(ids, 40), "records of the same recipe")
    assert (found.wall(ids, 1), found.wall(ids, 2), found.wall(ids[:1], 2), found.wall([], 2)) == (80, 40, 40, 0)
    wider = compose_seeds("vae", "digits", "smoke", [0], ["network.hidden=[9]", "training.epochs=2"])
    assert costs.cost(asked, [timed(wider[0], 900, 800)], "CPU").known_from == "the target's file"


def test_what_another_device_took_counts_where_nothing_else_is_known(tmp_path):
    changes = {"arms": {"vae": TOY["arms"]["vae"]}, "quantities": [TOY["quantities"][0]]}
    for minutes, expected in (
        ({"minutes": 2}, ([120], "the target's file")),
        ({}, ([4], "records of the same recipe, other hardware")),
    ):
        target = read_target(written(tmp_path, **changes, full={"seeds": [0]} | minutes))
        asked = costs.Asked(target, "full", recipes.cells(target, "full", {}))
        found = costs.cost(asked, [timed(asked.cells[0], 4, 3)], "GPU")
        assert (list(found.seconds.values()), found.known_from) == expected
        # Four seconds on other hardware do not make a target quick.
        records = [timed(asked.cells[0], 4, 3)]
        assert costs.is_quick(asked, records, torch.device("cpu"), 1) == bool(minutes)


def test_quick_stands_for_what_ends_within_ten_minutes_by_itself(tmp_path, monkeypatch, capsys):
    arms, quantities = {"vae": TOY["arms"]["vae"]}, [TOY["quantities"][0]]
    for name, minutes in (("brief", 9), ("lengthy", 11), ("untold", None)):
        full = {"seeds": [0]} | ({} if minutes is None else {"minutes": minutes})
        written(tmp_path / "conf", name, arms=arms, quantities=quantities, full=full, reduced=None)
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path / "conf"))
    only = read_targets((tmp_path / "conf" / "paper").glob("*.yaml"))
    monkeypatch.setattr(recipes, "all_targets", lambda: only)
    command = ["reproduce", "--dry", "--jobs", "1", "--results", str(tmp_path / "r")]
    assert main([*command, "--targets", "quick"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^brief +full +1 +1 +9 min +9 min +the target's file$", shown, re.MULTILINE)
    assert "lengthy" not in shown
    assert "untold" not in shown
    assert "1 run: 0 done, 1 to do, about 9 min with 1 at a time" in shown
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^untold +full +1 +1 +\? +\? +no record$", shown, re.MULTILINE)
    # The three targets share one run. Two of them state its duration, and the longer one counts.
    assert "1 run: 0 done, 1 to do, about 11 min with 1 at a time" in shown
    for path in (tmp_path / "conf" / "paper").glob("brief.yaml"):
        path.unlink()
    only.pop("brief")
    assert main([*command, "--targets", "quick"]) == 2
    assert "no target is known to take at most 10 minutes" in capsys.readouterr().err


def test_all_leaves_out_what_needs_something_unless_a_budget_is_named(tmp_path, monkeypatch, capsys):
    arms, quantities = {"vae": TOY["arms"]["vae"]}, [TOY["quantities"][0]]
    written(tmp_path, "plain", arms=arms, quantities=quantities)
    written(tmp_path, "special", arms=arms, quantities=quantities, needs="a GPU")
    only = read_targets((tmp_path / "paper").glob("*.yaml"))
    monkeypatch.setattr(recipes, "all_targets", lambda: only)
    command = ["reproduce", "--dry", "--jobs", "1", "--results", str(tmp_path / "r")]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "skipped: special needs a GPU" in shown.err
    assert re.findall(r"^(plain|special) +(\w+)", shown.out, re.MULTILINE) == [("plain", "reduced")]
    assert main([*command, "--budget", "full"]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^(plain|special) +(\w+)", shown, re.MULTILINE) == [("plain", "full"), ("special", "full")]


def test_a_target_of_ones_own_runs_reports_resumes_and_goes_stale(tmp_path, monkeypatch, capsys):
    written(tmp_path / "conf")
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path / "conf"))
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports"), "--jobs", "1"]
    command = ["reproduce", "--targets", "toy", *folders]
    assert main([*command, "--budget", "reduced"]) == 0
    assert "4 runs finished" in capsys.readouterr().out
    page = (tmp_path / "reports" / "reproduction.md").read_text()
    assert "reduced, 1 of 2 epochs (50%)" in page
    assert "reduced budget: one epoch" in page
    # The command on the page starts exactly the runs that the page shows.
    by_hand = re.findall(r"VARIANTS=(\w+) DATASETS=(\w+) SEEDS=(\S+) PROFILE=(\w+) OVERRIDES=\"(.*)\"", page)
    assert sorted(variant for variant, *_ in by_hand) == ["iwae", "vae"]
    for variant, dataset, seeds, profile, overrides in by_hand:
        assert len(overrides.split()) == len({option.partition("=")[0] for option in overrides.split()})
        cells = ["--variants", variant, "--datasets", dataset, "--seeds", seeds, "--profile", profile]
        results = ["--results", str(tmp_path / "results" / "reproduction")]
        assert main(["bench", *cells, *results, *overrides.split(), "--dry"]) == 0
        assert "2 runs: 2 done" in capsys.readouterr().out
    assert main([*command, "--budget", "ablation"]) == 0
    assert main([*command, "--budget", "reduced"]) == 0
    assert "0 runs finished, 4 already done" in capsys.readouterr().out
    page = (tmp_path / "reports" / "reproduction.md").read_text()
    assert "| wider " in page
    assert (tmp_path / "reports" / "figures" / "reproduction-toy.png").exists() is False  # one epoch makes no curve
    assert "(reproduction.md)" in (tmp_path / "reports" / "README.md").read_text()
    assert not (tmp_path / "reports" / "digits.md").exists()  # no board shows a target's records
    assert set(read_made_for(tmp_path / "results" / "reproduction")["toy"]) == {"reduced", "ablation"}
    # Publishing includes these records. Published runs are not repeated, and give the same page.
    assert main(["publish", "--results", str(tmp_path / "results")]) == 0
    made = tmp_path / "results" / "reproduction"
    shutil.rmtree(made / "runs")
    capsys.readouterr()
    assert main([*command, "--budget", "reduced"]) == 0
    assert "0 runs finished, 4 already done" in capsys.readouterr().out
    assert (tmp_path / "reports" / "reproduction.md").read_text() == page
    # `bench` can repeat published runs, and a run whose record cannot be read must be repeated.
    assert main(["bench", *cells, *results, *overrides.split(), "--dry"]) == 0
    assert "2 runs: 0 done, 2 to do" in capsys.readouterr().out
    spoilt = next((made / "reference").glob("*-iwae-*-s1-*"))
    shutil.copytree(spoilt, tmp_path / "kept")
    (spoilt / "record.json").write_text("{")
    assert main([*command, "--budget", "reduced", "--dry"]) == 0
    assert "4 runs: 3 done, 1 to do" in capsys.readouterr().out
    shutil.copytree(tmp_path / "kept", spoilt, dirs_exist_ok=True)
    # Four runs of the reduced budget and one of the ablation, whose baseline is the first seed of the reduced budget.
    assert len(read_records(tmp_path / "results" / "reproduction")[0]) == 5
    written(tmp_path / "conf", reduced={"seeds": [0, 1], "options": ["training.epochs=1", "network.hidden=[7]"]})
    assert main(["report", *folders[:4]]) == 0
    assert "**stale**" in (tmp_path / "reports" / "reproduction.md").read_text()


def test_a_record_is_verified_to_the_digit_and_a_forged_one_is_found_out(tmp_path, monkeypatch, capsys):
    results = tmp_path / "results"
    small = ["network.hidden=[8]", "training.epochs=1"]
    command = ["bench", "--variants", "vae", "--datasets", "digits", "--profile", "smoke", "--jobs", "1", "--no-report"]
    assert main([*command, "--seeds", "0,1", "--results", str(results), *small]) == 0
    first, _ = read_records(results)[0]
    assert main(["verify", first.run_id, "--results", str(results)]) == 0
    out = capsys.readouterr().out
    assert "0 differs" in out
    assert "0 within the range of seeds" in out
    assert "no digest" not in out
    # An edited file is refused for its digest. Written with a valid digest, it is found to differ.
    path = results / "runs" / first.run_id / "record.json"
    whole = path.read_text()
    path.write_text(whole.replace(f'"elbo": {first.metrics["elbo"]}', f'"elbo": {first.metrics["elbo"] + 100}'))
    assert main(["verify", first.run_id, "--results", str(results)]) == 2
    assert "its content does not match its digest" in capsys.readouterr().err
    path.write_text(whole)
    write_record(path.parent, dataclasses.replace(first, metrics=first.metrics | {"elbo": first.metrics["elbo"] + 100}))
    assert main(["verify", first.run_id, "--results", str(results)]) == 1
    assert "1 differs" in capsys.readouterr().out
    assert main(["verify", "nothing", "--results", str(results)]) == 2
    assert "unknown run id 'nothing'" in capsys.readouterr().err


def test_of_two_that_verify_a_run_at_once_the_second_leaves_the_files_of_the_first(tmp_path, capsys):
    config, folder = configuration(), tmp_path / "verification"
    record = run(tmp_path)
    shutil.copytree(tmp_path / "runs", folder / "runs")
    again = setting(folder).run_folder(config)
    kept = {path.name for path in again.iterdir()}
    command = ["verify", record.run_id, "--results", str(tmp_path)]
    for name in (".lock", "record.json"):
        # The second time, the first process has removed the earlier record and is training.
        with cell_lock(again):
            assert main(command) == 2
            assert {path.name for path in again.iterdir()} == kept | {".lock"}
        assert f"error: {record.run_id} is being run by process {os.getpid()} on " in capsys.readouterr().err
        (again / name).unlink(missing_ok=True)
        kept -= {name}


def test_what_seeds_span_excuses_a_difference_and_nothing_else_does():
    one, two = record(seed=0, metrics={"elbo": -100.0}), record(seed=1, metrics={"elbo": -101.0})
    again = dataclasses.replace(one, metrics={"elbo": -100.9})
    (with_seeds,) = compare(one, again, [one, two])
    assert (with_seeds.span, with_seeds.verdict) == (1.0, "within the range of seeds")
    (rounded,) = compare(one, dataclasses.replace(one, metrics={"elbo": -100.00001}), [one])
    assert rounded.verdict == "equal up to rounding"
    (moved,) = compare(one, dataclasses.replace(one, metrics={"elbo": -100.0003}), [one])
    assert moved.verdict == "differs"
    zero = dataclasses.replace(one, metrics={"elbo": 0.0})
    (near_zero,) = compare(zero, dataclasses.replace(one, metrics={"elbo": 8e-7}), [zero])
    assert near_zero.verdict == "equal up to rounding"
    (alone,) = compare(one, again, [one])
    assert (alone.span, alone.verdict) == (None, "differs")
    (far,) = compare(one, dataclasses.replace(one, metrics={"elbo": -101.1}), [one, two])
    assert far.verdict == "differs"
    (gone,) = compare(one, dataclasses.replace(one, metrics={}, not_applicable={"elbo": "no weights"}), [one])
    assert gone.verdict == "not available: no weights"


def test_distances_by_two_judges_are_not_compared():
    judged = {"details": {"limits_features": {"train": 1.67, "noise": 1740.8}}}
    one = record(metrics={"elbo": -100.0, "fid_features": 20.0, "precision": 0.7}, **judged)
    rounded = dataclasses.replace(one, details={"limits_features": {"train": 1.6700001, "noise": 1740.8001}})
    assert [c.verdict for c in compare(one, rounded, [one])] == ["equal"] * 3
    elsewhere = dataclasses.replace(one, details={"limits_features": {"train": 1.72, "noise": 1946.9}})
    verdicts_by = {c.metric: c.verdict for c in compare(one, elsewhere, [one])}
    assert verdicts_by == {
        "elbo": "equal", "fid_features": "not available: different classifier",
        "precision": "not available: different classifier",
    }  # fmt: skip
    shipped, other = ({"details": judged["details"] | {"judge_digest": digest}} for digest in ("a", "b"))
    named = dataclasses.replace(one, **shipped)
    assert [c.verdict for c in compare(named, named, [named])] == ["equal"] * 3
    assert {c.verdict for c in compare(named, dataclasses.replace(one, **other), [named])} == {
        "equal", "not available: different classifier"
    }  # fmt: skip
