"""Judges and teachers: shipped for some data sets, trained and cached for others, and never used if damaged."""

import dataclasses
import hashlib
import logging
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from benchmarks.__main__ import main
from benchmarks.data import data_root, load
from benchmarks.data.readers.idx_images import FASHION_MNIST_SHA256, MNIST_SHA256
from benchmarks.evaluation.features.spaces import judge_space
from benchmarks.evaluation.judges import network as networks
from benchmarks.evaluation.judges import shipped as shipping
from benchmarks.evaluation.judges.making import made
from benchmarks.evaluation.judges.network import Judge, LayerMaps, Teacher, accuracy, feature_network
from benchmarks.evaluation.judges.shipped import ROLES, SOURCES, shipped, shipped_path
from benchmarks.sealed import read_sealed, seal, write_sealed
from benchmarks.sweep import cell
from benchmarks.sweep.cell import build
from benchmarks.training.teacher import teacher

from ..cells import CPU, SMALL, configuration, digits, run

FILES = [(role, source) for role in ROLES for source in SOURCES]


def never(*arguments):
    raise AssertionError("called")


@pytest.fixture
def own(monkeypatch):
    """Labelled data for which no network is shipped, with networks that train in a moment."""
    monkeypatch.setattr(networks, "PASSES", 1)
    return dataclasses.replace(digits(), sha256="own")


def distance(space):
    generator = torch.Generator().manual_seed(0)
    return space.distance(space(torch.rand(200, 1, 8, 8, generator=generator)))


def flip(path, position, bit=1):
    data = bytearray(path.read_bytes())
    data[position] ^= bit
    path.write_bytes(data)


@pytest.mark.parametrize(("role", "source"), FILES)
def test_shipped_networks_are_small_whole_and_of_half_precision(role, source):
    path = shipped_path(role, source)
    assert path.stat().st_size <= 1_000_000
    content = read_sealed(path)
    assert {t.dtype for t in content.tensors.values() if t.is_floating_point()} == {torch.float16}
    assert content.facts["recipe"]["version"] == networks.VERSION
    if role == "judge":
        assert content.facts["accuracy"] >= {"mnist": 0.992, "fashion_mnist": 0.91, "digits": 0.98}[source]


def test_shipped_networks_are_those_of_the_data_that_the_suite_reads():
    def of_files(digests):
        return hashlib.sha256(b"".join(bytes.fromhex(digests[name]) for name in sorted(digests))).hexdigest()

    expected = {
        "mnist": of_files(MNIST_SHA256), "fashion_mnist": of_files(FASHION_MNIST_SHA256), "digits": digits().sha256
    }  # fmt: skip
    for role, source in FILES:
        name, content = shipped(role, expected[source])
        assert name == f"{role}-{source}"
        assert content.facts["data"] == expected[source]
    assert shipped("judge", "other data") is None


@pytest.mark.parametrize("role", ROLES)
def test_the_accuracy_of_a_shipped_network_of_digits_is_what_it_says(role, tmp_path):
    found = feature_network(digits(), role, tmp_path, CPU)
    # On another processor, one image of 300 may be classified differently.
    assert accuracy(found.network, digits(), CPU) == pytest.approx(found.accuracy, abs=1.01 / 300)


@pytest.mark.parametrize("source", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("role", ROLES)
def test_the_accuracy_of_a_shipped_network_is_what_it_says_on_a_part_of_the_test_images(role, source, tmp_path):
    raw = data_root() / {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[source] / "raw"
    if not (raw / "t10k-images-idx3-ubyte").exists():
        pytest.skip(f"no {source} here")
    data = load(dataclasses.replace(configuration().dataset, name=source, source=source), data_root())
    found = feature_network(data, role, tmp_path, CPU)
    count = 1000
    test = dataclasses.replace(data.test, images=data.test.images[:count], labels=data.test.labels[:count])
    measured = accuracy(found.network, dataclasses.replace(data, test=test), CPU)
    deviation = math.sqrt(found.accuracy * (1 - found.accuracy) / count)
    assert abs(measured - found.accuracy) < 4 * deviation


def test_first_use_trains_nothing_and_however_the_data_are_observed_the_judge_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(networks, "train", never)
    found = set()
    for overrides in ((), ("dataset.binarise=threshold",), ("dataset.train_on_validation=true",)):
        data = load(configuration("vae", 0, *overrides).dataset, tmp_path)
        found |= {feature_network(data, "judge", tmp_path, CPU).digest}
    assert found == {read_sealed(shipped_path("judge", "digits")).digest}
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("role", ROLES)
def test_a_network_is_shipped_in_the_precision_in_which_its_accuracy_was_measured(role, own):
    content = made(own, role)
    network = networks.untrained(own, role)
    network.load_state_dict(dict(content.tensors))
    graphs = []
    network.register_forward_hook(lambda layer, inputs, output: graphs.append(output.requires_grad))
    assert accuracy(network, own, CPU) == content.facts["accuracy"]
    assert set(graphs) == {False}
    assert content.facts["data"] == "own"
    assert made(own, role).digest == content.digest


def test_a_trained_model_gets_the_same_fid_on_any_number_of_threads_and_with_a_fresh_cache(tmp_path):
    record = run(tmp_path)
    variant = build(configuration(), (1, 8, 8))
    variant.load_state_dict(load_file(tmp_path / "runs" / record.run_id / "weights.safetensors"))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            data = cell.evaluation_data(configuration(), digits(), tmp_path / f"cache-{threads}", CPU)
            found.append(cell.evaluate(variant.eval(), data, configuration().evaluation, 0).metrics["fid_features"])
    finally:
        torch.set_num_threads(before)
    assert found == [pytest.approx(record.metrics["fid_features"], rel=1e-3)] * 2


def test_the_judge_is_never_the_teacher(tmp_path, own):
    for data in (digits(), own):
        judge, pupil = (feature_network(data, role, tmp_path, CPU) for role in ("judge", "teacher"))
        assert isinstance(judge.network, Judge)
        assert isinstance(pupil.network, Teacher)
        assert judge.key != pupil.key
        taught, description = teacher(data, tmp_path, CPU)
        assert isinstance(taught, LayerMaps)
        assert pupil.key in description
        assert not {p.data_ptr() for p in taught.parameters()} & {p.data_ptr() for p in judge.network.parameters()}


def test_networks_that_are_not_shipped_are_trained_once(tmp_path, monkeypatch, own):
    first = feature_network(own, "teacher", tmp_path, CPU)
    monkeypatch.setattr(networks, "train", never)
    again = feature_network(own, "teacher", tmp_path, CPU)
    assert (again.accuracy, again.digest) == (first.accuracy, first.digest)
    assert all(torch.equal(value, again.network.state_dict()[key]) for key, value in first.network.state_dict().items())


def test_the_reference_features_are_computed_once(tmp_path, monkeypatch):
    first = judge_space(digits(), tmp_path, CPU, 60)
    monkeypatch.setattr(Judge, "features", never)
    again = judge_space(digits(), tmp_path, CPU, 60)
    assert torch.equal(first.reference, again.reference)
    assert again.facts == first.facts


def test_a_judge_that_was_trained_to_other_weights_does_not_meet_the_features_of_the_one_before(tmp_path, own):
    before = judge_space(own, tmp_path, CPU, 100)
    (path,) = tmp_path.glob("judge-*.safetensors")
    content = read_sealed(path)
    weight = {"body.0.weight": 1.5 * content.tensors["body.0.weight"]}
    write_sealed(path, seal({**content.tensors, **weight}, content.facts))
    after = judge_space(own, tmp_path, CPU, 100)
    assert not torch.allclose(after.reference, before.reference)
    assert torch.equal(after.reference, after(own.test.images.float() / 255))
    assert after.facts["limits_features"] != before.facts["limits_features"]
    assert after.facts["judge_digest"] != before.facts["judge_digest"]


KINDS = {
    "judge": "judge-*.safetensors", "teacher": "teacher-*.safetensors", "reference features": "features-*.safetensors",
    "limits": "features-*-limits-*.json",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_one_flipped_bit_in_a_cached_file_is_named_and_mended_and_moves_no_distance(kind, tmp_path, own, caplog):
    caplog.set_level(logging.INFO)
    if kind == "teacher":
        teacher(own, tmp_path, CPU)
    first = judge_space(own, tmp_path, CPU, 100)
    expected = distance(first)
    (path,) = tmp_path.glob(KINDS[kind])
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little") if path.suffix == ".safetensors" else 0
    body = [header, (header + len(whole)) // 2, len(whole) - 1]
    for position in sorted({2, header // 2, *body}):
        flip(path, position, bit=4)
        caplog.clear()
        if kind == "teacher":
            teacher(own, tmp_path, CPU)
        again = judge_space(own, tmp_path, CPU, 100)
        assert f"{path} is damaged" in caplog.text, position
        assert path.read_bytes() == whole, position
        assert distance(again) == pytest.approx(expected, rel=1e-6)
        assert again.facts == first.facts


def test_the_distance_of_training_images_is_that_of_the_images_that_are_trained_on(tmp_path):
    """The digest of a data set does not say which of its images are used for training."""
    config = configuration("vae", 0, "dataset.train_on_validation=true").dataset
    with_validation = load(config, tmp_path)
    assert with_validation.sha256 == digits().sha256
    alone = judge_space(with_validation, tmp_path / "alone", CPU, 100).facts["limits_features"]
    other = judge_space(digits(), tmp_path, CPU, 100).facts["limits_features"]
    after = judge_space(with_validation, tmp_path, CPU, 100).facts["limits_features"]
    assert after == alone != other


def test_limits_of_another_form_are_made_again(tmp_path, caplog):
    first = judge_space(digits(), tmp_path, CPU, 100)
    (path,) = tmp_path.glob("*.json")
    for content in (b"null", b'{"train": null}', b'{"train": 1.0, "noise": 2.0}', b"[]", b""):
        path.write_bytes(content)
        caplog.clear()
        assert judge_space(digits(), tmp_path, CPU, 100).facts == first.facts
        assert f"{path} is damaged" in caplog.text


def test_a_cache_that_cannot_be_written_costs_time_and_changes_nothing(tmp_path, own, caplog):
    expected = distance(judge_space(own, tmp_path / "cache", CPU, 100))
    (tmp_path / "file").touch()
    assert distance(judge_space(own, tmp_path / "file" / "cache", CPU, 100)) == pytest.approx(expected, rel=1e-6)
    assert "cannot be written" in caplog.text


@pytest.fixture(params=["a flipped bit of a weight", "a flipped bit of a fact", "missing"])
def damaged(request, tmp_path, monkeypatch):
    """The path of the judge of digits, damaged or missing in a copy of the shipped files."""
    weights = shutil.copytree(shipping.WEIGHTS, tmp_path / "weights")
    monkeypatch.setattr(shipping, "WEIGHTS", weights)
    path = shipped_path("judge", "digits")
    if request.param == "missing":
        path.unlink()
    else:
        flip(path, -1000 if "weight" in request.param else path.read_bytes().index(b"accuracy") + 14)
    return path


def test_a_damaged_shipped_judge_is_refused_in_one_line_before_anything_is_trained(
    damaged, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(cell, "train", never)
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    sweep = ["bench", "--datasets", "digits", "--profile", "smoke", "--variants", "vae", "--jobs", "1"]
    assert main([*sweep, *folders, *SMALL]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(damaged) in line
    assert "reinstall" in line
    assert "make judges DATASETS=digits" in line
    # A job that a launcher started elsewhere reports the same error.
    record = run(tmp_path)
    assert record.status == "failed"
    assert record.error["message"] == line.removeprefix("error: ")


def test_a_shipped_judge_that_is_damaged_during_training_costs_what_it_measures_and_is_named(damaged, tmp_path):
    found = cell.evaluation_data(configuration(), digits(), tmp_path, CPU)
    assert damaged.name in found.spaces["features"]


def test_the_judges_command_refuses_a_data_set_that_it_does_not_ship(capsys):
    assert main(["judges", "--datasets", "celeba"]) == 2
    assert "allowed: all, digits, fashion_mnist, mnist" in capsys.readouterr().err


def test_the_judges_command_writes_the_files_of_a_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(networks, "PASSES", 1)
    monkeypatch.setattr(shipping, "WEIGHTS", tmp_path)
    assert main(["judges", "--datasets", "digits"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"judge-digits.safetensors", "teacher-digits.safetensors"}
    assert read_sealed(shipped_path("judge", "digits")).facts["data"] == digits().sha256
    assert str(shipped_path("teacher", "digits")) in capsys.readouterr().out


def test_the_record_says_which_network_taught_and_which_judged(tmp_path):
    record = run(tmp_path, "dfc_vae")
    assert record.status == "ok", record.error
    assert record.details["teacher"].startswith("a second classifier of this data set")
    assert "teacher-digits" in record.details["teacher"]
    assert record.details["judge"] == "judge-digits"
    assert record.details["judge_digest"] == read_sealed(shipped_path("judge", "digits")).digest
    limits = record.details["limits_features"]
    assert limits.keys() == {"train", "noise", "pca_32_reconstruction"}
    assert limits["train"] < limits["noise"]
