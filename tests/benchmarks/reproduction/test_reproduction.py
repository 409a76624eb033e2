"""Paper targets: what is refused, what is run, and verdicts with known answers."""

import dataclasses
import math
import re
import shutil
import statistics

import pytest
import yaml

from benchmarks.__main__ import main
from benchmarks.config import conf_folder
from benchmarks.errors import UserError
from benchmarks.records.made_for import read_made_for
from benchmarks.records.record import read_records, write_record
from benchmarks.reporting import verdicts
from benchmarks.reporting.verdicts import judge, verdict_of
from benchmarks.reproduction import recipes as reproduce
from benchmarks.reproduction.targets import Plan, Run, read_target, read_targets
from benchmarks.reproduction.verify import compare

from ..reporting.test_reports import record

TOY = {
    "title": "A toy", "paper": "Nobody, Nowhere", "link": "https://example.org", "table": "Table 0", "seen": "nowhere",
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
        (without("accept", "quantities"), r"quantities\[0\].accept is not given"),
        (without("because", "quantities"), r"quantities\[0\].because is not given"),
        (without("expected", "quantities"), r"quantities\[0\].expected is not given, though there is a reduced budget"),
        ({"quantities": [{**TOY["quantities"][0], "accept": [2.0, 1.0]}]}, "low below high"),
        ({"quantities": [{**TOY["quantities"][0], "accept": [None, None]}]}, "one of them null at most"),
        ({"quantities": [{**TOY["quantities"][0], "arm": "vea"}]}, "arm 'vea' is not one of iwae, vae"),
        ({"full": {"seeds": []}}, "full.seeds must not be empty"),
        ({"arms": {"vae": {}}}, "arms.vae needs either a variant or another target"),
        ({"spelling": 1}, "spelling"),
    ],
)
def test_a_target_that_lacks_something_or_contradicts_itself_is_refused_by_name(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as refused:
        read_target(written(tmp_path, **changes))
    assert "'toy'" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_target_without_source_or_that_is_no_yaml_is_refused_by_name(tmp_path):
    fields = {name: value for name, value in TOY.items() if name != "link"}
    path = tmp_path / "sourceless.yaml"
    path.write_text(yaml.safe_dump(fields))
    with pytest.raises(UserError, match=r"'sourceless'.*link is not given"):
        read_target(path)
    path.write_text("title: [")
    with pytest.raises(UserError, match="'sourceless'") as refused:
        read_target(path)
    assert "\n" not in str(refused.value)


def test_an_arm_of_a_target_that_does_not_exist_is_refused(tmp_path):
    written(tmp_path, arms={"vae": {"of": "nothing"}, "iwae": TOY["arms"]["iwae"]})
    with pytest.raises(UserError, match=r"arms\.vae\.of: 'nothing' is not one of toy"):
        read_targets((tmp_path / "paper").glob("*.yaml"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
    """Of every target of the suite: Hydra composes some 50 configurations for them."""
    return reproduce.plans()


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
            # A change that changes nothing would be compared with itself.
            assert runs[0].run_id != plan.runs["ablation"][reproduce.UNCHANGED][0].run_id


def test_the_gap_is_between_the_very_cells_of_its_two_targets(plans):
    runs = {plan.target.id: plan.runs for plan in plans}
    for budget in ("full", "reduced"):
        assert runs["burda-gap-5"][budget]["vae"] == runs["burda-vae-5"][budget]["vae"]
        assert runs["burda-gap-5"][budget]["iwae"] == runs["burda-iwae-5"][budget]["iwae"]


def plan_of(tmp_path, **changes):
    target = read_target(written(tmp_path, **changes))
    runs = {
        budget: {arm: [Run(f"{budget}-{arm}-{seed}", seed, epochs) for seed in (0, 1)] for arm in ("vae", "iwae")}
        for budget, epochs in (("full", 100), ("reduced", 10))
    }
    return Plan(target, runs)


def records_of(**values):
    """Run id (with _ for -) -> (log-likelihood, ELBO)."""
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
    # 3 and 2.8 nats: two standard errors of 0.1 above zero.
    assert (gap.verdict, gap.mean, gap.error) == ("reproduced", pytest.approx(2.9), pytest.approx(0.1))
    assert verdict_of([nll, gap]) == "reproduced"
    outside = records_of(full_vae_0=(-42, -50), full_vae_1=(-41, -51), full_iwae_0=(-38, -47), full_iwae_1=(-38, -48.2))
    nll, gap = judge(plan, outside, {}, {})
    assert nll.verdict == "not reproduced"
    assert verdict_of([nll, gap]) == "not reproduced"


def test_an_order_that_seeds_leave_open_is_not_reproduced(tmp_path):
    noisy = records_of(full_vae_0=(-40, -50), full_vae_1=(-40, -50), full_iwae_0=(-38, -44), full_iwae_1=(-38, -49.9))
    _, gap = judge(plan_of(tmp_path), noisy, {}, {})
    assert gap.mean > 0
    assert gap.verdict == "not reproduced"


def test_a_reduced_budget_is_never_called_reproduced(tmp_path):
    plan = plan_of(tmp_path)
    found = records_of(reduced_vae_0=(-40, -50), reduced_vae_1=(-40, -50))
    nll, gap = judge(plan, found, {}, {})
    assert (nll.verdict, nll.budget) == ("consistent", "reduced")
    assert (gap.verdict, gap.mean) == ("not run", None)
    found = records_of(reduced_vae_0=(-70, -80), reduced_vae_1=(-70, -80))
    assert judge(plan, found, {}, {})[0].verdict == "not reproduced"


def test_one_seed_of_two_is_no_mean_and_the_reason_says_so(tmp_path):
    nll, _ = judge(plan_of(tmp_path), records_of(full_vae_0=(-40, -50)), {}, {})
    assert (nll.verdict, nll.reason) == ("not run", "1 of 4 cells have a record")


def test_why_a_target_was_not_run(tmp_path):
    plan = plan_of(tmp_path, needs="a GPU")
    assert judge(plan, {}, {}, {})[0].reason.startswith("a GPU; make reproduce TARGETS=toy")
    assert judge(plan, {}, {}, {"digits": "gone"})[0].reason == "data missing: gone"
    failed = dataclasses.replace(record(), run_id="full-vae-0", status="failed", metrics={},
                                 error={"type": "E", "message": "broke", "traceback": ""})  # fmt: skip
    assert judge(plan, {"full-vae-0": failed}, {}, {})[0].reason == "full-vae-0 failed: broke"
    lacking = dataclasses.replace(record(), run_id="full-vae-0", metrics={}, not_applicable={"log_likelihood": "none"})
    assert judge(plan, {"full-vae-0": lacking}, {}, {})[0].reason == "log_likelihood: none"


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
    nll, gap = judge(Plan(plan.target, one), found, {}, {})
    assert (nll.error, nll.over_seeds) == (0.3, False)
    assert gap.error == pytest.approx(0.3 * math.sqrt(2))
    assert verdicts.between([1.0, None]) == "at least 1"


def test_a_target_of_ones_own_runs_reports_resumes_and_goes_stale(tmp_path, monkeypatch, capsys):
    written(tmp_path / "conf")
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path / "conf"))
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports"), "--jobs", "1"]
    command = ["reproduce", "--targets", "toy", *folders]
    assert main([*command, "--budget", "reduced"]) == 0
    assert "4 cells run" in capsys.readouterr().out
    page = (tmp_path / "reports" / "reproduction.md").read_text()
    assert "reduced, 1 of 2 epochs (50%)" in page
    assert "reduced budget: one epoch" in page
    # The command that the page gives makes the very runs that it shows.
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
    assert "0 cells run, 4 already there" in capsys.readouterr().out
    page = (tmp_path / "reports" / "reproduction.md").read_text()
    assert "| wider " in page
    assert (tmp_path / "reports" / "figures" / "reproduction-toy.png").exists() is False  # one epoch is no curve
    assert "(reproduction.md)" in (tmp_path / "reports" / "README.md").read_text()
    assert not (tmp_path / "reports" / "digits.md").exists()  # no board shows a target's records
    assert set(read_made_for(tmp_path / "results" / "reproduction")["toy"]) == {"reduced", "ablation"}
    # Publishing takes them along, and then they are run no more: the same page comes out of the published ones alone.
    assert main(["publish", "--results", str(tmp_path / "results")]) == 0
    made = tmp_path / "results" / "reproduction"
    shutil.rmtree(made / "runs")
    capsys.readouterr()
    assert main([*command, "--budget", "reduced"]) == 0
    assert "0 cells run, 4 already there" in capsys.readouterr().out
    assert (tmp_path / "reports" / "reproduction.md").read_text() == page
    # By hand they can be run again, and one that cannot be read has to be.
    assert main(["bench", *cells, *results, *overrides.split(), "--dry"]) == 0
    assert "2 runs: 0 done, 2 to do" in capsys.readouterr().out
    spoilt = next((made / "reference").glob("*-iwae-*-s1-*"))
    shutil.copytree(spoilt, tmp_path / "kept")
    (spoilt / "record.json").write_text("{")
    assert main([*command, "--budget", "reduced", "--dry"]) == 0
    assert "4 runs: 3 done, 1 to do" in capsys.readouterr().out
    shutil.copytree(tmp_path / "kept", spoilt, dirs_exist_ok=True)
    # Four and the ablation's change; what it is compared with is the reduced budget's own first seed.
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
    assert "0 within the seeds" in out
    # By hand it is refused for its digest; written as a record, its content is found out.
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


def test_what_seeds_span_excuses_a_difference_and_nothing_else_does():
    one, two = record(seed=0, metrics={"elbo": -100.0}), record(seed=1, metrics={"elbo": -101.0})
    again = dataclasses.replace(one, metrics={"elbo": -100.9})
    (with_seeds,) = compare(one, again, [one, two])
    assert (with_seeds.span, with_seeds.verdict) == (1.0, "within the seeds")
    (rounded,) = compare(one, dataclasses.replace(one, metrics={"elbo": -100.00001}), [one])
    assert rounded.verdict == "equal but for rounding"
    (alone,) = compare(one, again, [one])
    assert (alone.span, alone.verdict) == (None, "differs")
    (far,) = compare(one, dataclasses.replace(one, metrics={"elbo": -101.1}), [one, two])
    assert far.verdict == "differs"
    (gone,) = compare(one, dataclasses.replace(one, metrics={}, not_applicable={"elbo": "no weights"}), [one])
    assert gone.verdict == "not here: no weights"


def test_distances_by_two_judges_are_not_compared():
    judged = {"details": {"limits_features": {"train": 1.67, "noise": 1740.8}}}
    one = record(metrics={"elbo": -100.0, "fid_features": 20.0, "precision": 0.7}, **judged)
    rounded = dataclasses.replace(one, details={"limits_features": {"train": 1.6700001, "noise": 1740.8001}})
    assert [c.verdict for c in compare(one, rounded, [one])] == ["equal"] * 3
    elsewhere = dataclasses.replace(one, details={"limits_features": {"train": 1.72, "noise": 1946.9}})
    verdicts_by = {c.metric: c.verdict for c in compare(one, elsewhere, [one])}
    assert verdicts_by == {
        "elbo": "equal", "fid_features": "not here: another judge", "precision": "not here: another judge"
    }  # fmt: skip
    shipped, other = ({"details": judged["details"] | {"judge_digest": digest}} for digest in ("a", "b"))
    named = dataclasses.replace(one, **shipped)
    assert [c.verdict for c in compare(named, named, [named])] == ["equal"] * 3
    assert {c.verdict for c in compare(named, dataclasses.replace(one, **other), [named])} == {
        "equal", "not here: another judge"
    }  # fmt: skip
