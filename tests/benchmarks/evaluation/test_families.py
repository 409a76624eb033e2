"""A metric is one entry in one file, which is enough to find, compute, record and show it."""

from dataclasses import replace

import pytest
import torch

import variants
from benchmarks.config import EvaluationConfig
from benchmarks.errors import UserError
from benchmarks.evaluation.evaluate import Context, EvaluationData, evaluate
from benchmarks.evaluation.features.frechet import statistics
from benchmarks.evaluation.features.spaces import FeatureSpace
from benchmarks.records import catalogue
from benchmarks.records.catalogue import CATALOGUE, Family, Metric, families, register
from benchmarks.reporting import write_reports
from variants.parts.networks import MLP

from ..cells import digits, run

OWN = """
from benchmarks.records.catalogue import Family, Metric, register


def compute(context, result):
    result.add("brightness", float(context.samples.mean()))


register(Family(
    name="light", title="Light", order=90, compute=compute, sentence="Of {generated_images} samples.",
    headline=("brightness",),
    metrics={"brightness": Metric("brightness", "share", "higher", "mean pixel of a sample", 3,
                                  needs=("generated_images",))},
))
"""


@pytest.fixture
def registry(monkeypatch):
    """A copy of the registry, to which a test may add families; returns ``monkeypatch``."""
    families()
    monkeypatch.setattr(catalogue, "_families", dict(catalogue._families))
    monkeypatch.setattr(catalogue, "_discovered", set(catalogue._discovered))
    return monkeypatch


def family(name="mine", metrics=("my_metric",), compute=lambda context, result: None, **options):
    described = {
        metric: Metric(metric, "share", meaning="a test's", **{"better": None, **options}) for metric in metrics
    }
    return Family(name=name, title=name, order=99, metrics=described, compute=compute)


def test_a_users_metric_in_one_file_outside_is_computed_recorded_and_on_the_board(registry, tmp_path):
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "light.py").write_text(OWN)
    before = evaluate(*measured(), seed=0).metrics
    registry.setenv("VAE_METRICS_PATH", str(folder))
    after = evaluate(*measured(), seed=0).metrics
    assert 0 < after.pop("brightness") < 1
    # The new family does not change the random numbers of the others.
    assert after == before
    record = run(tmp_path / "results")
    assert 0 < record.metrics["brightness"] < 1
    write_reports(tmp_path / "results", tmp_path / "reports")
    page = (tmp_path / "reports" / "digits.md").read_text().partition("### Light")[2]
    generated = record.config["evaluation"]["generated_images"]
    assert page.lstrip().startswith(f"Of {generated} samples.")
    assert "brightness ↑" in page
    glossary, guide = (
        " ".join((tmp_path / "reports" / f"{name}.md").read_text().split()) for name in ("glossary", "guide")
    )
    assert "| brightness | share | higher | mean pixel of a sample |" in glossary
    assert "## Light" in guide


def test_a_users_folder_that_is_missing_or_broken_is_one_line(registry, tmp_path):
    registry.setenv("VAE_METRICS_PATH", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"VAE_METRICS_PATH names .* not a folder"):
        families()
    (tmp_path / "bad.py").write_text("import nowhere\nfrom benchmarks.records.catalogue import register\n")
    registry.setenv("VAE_METRICS_PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"bad\.py cannot be imported: ModuleNotFoundError"):
        families()


def test_a_name_that_is_taken_is_refused(registry):
    with pytest.raises(ValueError, match="family 'likelihood' is already registered"):
        register(family("likelihood"))
    with pytest.raises(ValueError, match="metric 'elbo' of family 'mine' is already one of family 'likelihood'"):
        register(family(metrics=("elbo",)))


@pytest.mark.parametrize("sentence", ["Of the set {1, 2", "Of {} images.", "Of {images.shape} images.", "100 }"])
def test_a_sentence_that_no_board_could_complete_is_refused_before_it_costs_one(registry, sentence):
    with pytest.raises(ValueError, match=r"family 'mine': .* cannot be completed"):
        register(replace(family(), sentence=sentence))
    register(replace(family(), sentence="Of {generated_images} images of the set {{1, 2}}."))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (
            {"better": "highr"},
            r"metric 'my_metric' of family 'mine': better must be 'higher', 'lower' or None, got 'highr'",
        ),
        ({"decimals": "2"}, "decimals must be a whole number from 0, got '2'"),
        ({"standard_error": "my_metrc"}, "unknown metric in standard_error .* did you mean 'my_metric'"),
    ],
)
def test_a_value_of_a_metric_with_which_no_report_could_be_written_is_refused(registry, options, error):
    with pytest.raises(ValueError, match=error):
        register(family(**options))


@pytest.mark.parametrize("order", ["90", None, float("nan")])
def test_an_order_that_cannot_be_compared_is_refused(registry, order):
    with pytest.raises(ValueError, match="family 'mine': order must be a number, got"):
        register(replace(family(), order=order))


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("plotted_against=('elob',)", "metric in plotted_against of metric 'brightness' 'elob'; did you mean 'elbo'"),
        ("also_in={'likelihod': 0}", "family in also_in of metric 'brightness' 'likelihod'; did you mean 'likelihood'"),
    ],
)
def test_a_users_metric_that_refers_to_what_does_not_exist_is_one_line(registry, tmp_path, setting, error):
    (tmp_path / "light.py").write_text(OWN.replace('"mean pixel of a sample", 3,', f'"mean pixel", 3, {setting},'))
    registry.setenv("VAE_METRICS_PATH", str(tmp_path))
    with pytest.raises(UserError, match=error):
        families()


def test_a_single_test_image_has_no_variance_and_no_covariance_with_the_reason():
    space = FeatureSpace("features", lambda x: x.flatten(1), torch.rand(9, 64), statistics(torch.rand(9, 64)), {})
    found = evaluate(*measured(images=1, spaces={"features": space}), seed=0)
    assert found.not_applicable["active_units"] == "one image has no variance"
    assert found.not_applicable["reconstruction_fid_features"] == "one image has no covariance"
    assert found.failed == {}


def test_a_headline_is_a_metric_of_its_family(registry):
    with pytest.raises(ValueError, match="unknown metric in headline of family 'mine' 'elbo'"):
        register(replace(family(), headline=("elbo",)))


SPACES = {"features": "no labels", "inception": "no weights"}
CONFIG = EvaluationConfig(importance_samples=2, generated_images=8, information_images=12)


def measured(name="vae", images=20, spaces=SPACES, config=CONFIG, **options):
    """The first arguments of evaluate(), with a small untrained variant and binary digits."""
    torch.manual_seed(0)
    data = digits()
    x = (data.test.images[:images].float() / 255).round()
    variant = variants.build(name, (1, 8, 8), MLP(latent_size=4, hidden=[16]), **options)
    return variant, EvaluationData(x, data.test.labels[:images], x, data.test.labels[:images], spaces), config


def test_what_a_family_enters_and_does_not_declare_is_left_out_and_named(registry):
    register(family(compute=lambda context, result: result.add("other", 1.0)))
    found = evaluate(*measured(), seed=0)
    assert "other" not in found.names
    reason = "failed: ValueError: family 'mine' entered other, which it does not declare"
    assert found.not_applicable["my_metric"] == reason
    assert found.failed["metrics of mine"]["reason"] == reason


def test_a_family_that_raises_keeps_what_it_had_entered_and_changes_no_other(registry):
    before = evaluate(*measured(), seed=0)

    def compute(context, result):
        torch.rand(3)
        result.add("first", 1.0)
        raise ArithmeticError("on  two\nlines")

    register(family(metrics=("first", "second"), compute=compute))
    found = evaluate(*measured(), seed=0)
    assert found.metrics == before.metrics | {"first": 1.0}
    assert found.not_applicable == before.not_applicable | {"second": "failed: ArithmeticError: on two lines"}
    assert list(found.failed) == ["metrics of mine"]
    assert "compute" in found.failed["metrics of mine"]["traceback"]


def test_memory_that_does_not_suffice_is_for_who_can_ask_for_less_and_then_a_failure_as_any(registry):
    def compute(context, result):
        raise torch.OutOfMemoryError("no memory left")

    register(family(compute=compute))
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(*measured(), seed=0)
    found = evaluate(*measured(), seed=0, short_of_memory=True)
    assert found.not_applicable["my_metric"] == "failed: OutOfMemoryError: no memory left"
    assert "elbo" in found.metrics


def test_images_of_one_class_have_no_classifier_with_the_reason():
    variant, data, config = measured()
    one = replace(data, labels=torch.zeros(20, dtype=torch.long), probe_labels=torch.zeros(20, dtype=torch.long))
    found = evaluate(variant, one, config, seed=0)
    assert "all of one class" in found.not_applicable["linear_probe_accuracy"]
    assert found.failed == {}


def test_a_metric_without_what_it_needs_has_the_reason_and_its_family_is_not_computed(registry):
    def never(context, result):
        raise AssertionError("computed")

    register(family(compute=never, needs=("continuous_latent", "inception")))
    assert evaluate(*measured(), seed=0).not_applicable["my_metric"] == "no weights"
    reason = variants.lookup("gumbel_vae").unavailable(None)["continuous_latent"]
    assert evaluate(*measured("gumbel_vae"), seed=0).not_applicable["my_metric"] == reason


def test_what_families_share_is_computed_once_and_leaves_the_stream_of_who_asks_alone():
    judged = []
    variant, data, config = measured(spaces={"features": lambda images: judged.append(len(images)) or images})
    context = Context(variant, data, config, 0)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    assert len(context.samples) == 8
    assert torch.equal(torch.rand(2), expected)
    for _ in range(2):
        assert torch.equal(context.generated_features("features"), context.samples)
        assert torch.equal(context.reconstructed_features("features"), context.reconstructions)
    assert judged == [8, 20]


def test_information_is_from_all_test_images_where_pairs_are_one_product_else_from_the_limit():
    for name, count in (("vae", 20), ("joint_vae", 20), ("iaf_vae", 12)):
        found = evaluate(*measured(name), seed=0)
        assert found.details["information_images"] == count, name
        assert "mutual_information" in found.metrics
    assert "information_images" not in evaluate(*measured("wae_mmd"), seed=0).details


def test_the_record_says_how_many_images_bound_the_information(tmp_path):
    record = run(tmp_path, "vae", 0, "evaluation.images=33")
    assert record.details["information_images"] == 33


def test_only_8_bit_images_have_bits_and_a_model_without_density_the_reason():
    bits = {name for name, metric in CATALOGUE.items() if metric.eight_bit}
    for name in ("vae", "wae_mmd"):
        assert not bits & evaluate(*measured(name), seed=0).names
        found = evaluate(*measured(name, observation="discretised_logistic"), seed=0)
        unconditional = {bit for bit in bits if "condition" not in CATALOGUE[bit].needs}
        assert unconditional <= (found.metrics if name == "vae" else found.not_applicable).keys()
        assert bits - unconditional <= found.not_applicable.keys()


def test_the_catalogue_refers_to_metrics_that_exist():
    names = {family.name for family in families()}
    for name, metric in CATALOGUE.items():
        for other in (metric.standard_error, metric.in_other_unit):
            assert other is None or other in CATALOGUE, name
        assert metric.also_in.keys() <= names, name
    for entry in families():
        assert set(entry.headline) <= set(entry.metrics), entry.name
    assert len(CATALOGUE) == len(list(CATALOGUE)) == len(set(CATALOGUE))


def test_every_metric_of_the_catalogue_is_computed_or_refused_with_a_reason():
    found = evaluate(*measured(), seed=0)
    assert found.names == {name for name, metric in CATALOGUE.items() if not metric.eight_bit}
