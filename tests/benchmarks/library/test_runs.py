"""A trained model is loaded from the disk unchanged, with the record of its run."""

import json
import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import encode, evaluate, fit, load_run, sample, sample_quality, save
from benchmarks.errors import UserError
from benchmarks.library.runs import loaded_data
from benchmarks.records.record import IMAGE_SHAPE, RECORD_FILE, read_record, write_record
from benchmarks.sealed import read_sealed, seal, write_sealed
from benchmarks.sweep.cell import run_cell
from benchmarks.training.checkpoint import WEIGHTS_FILE

from ..cells import configuration, digits, setting


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder with one run of the benchmark."""
    folder = tmp_path_factory.mktemp("results")
    run_cell(configuration(), digits(), setting(folder))
    return folder


@pytest.fixture(autouse=True)
def no_data(monkeypatch):
    """No other data set is available, as during the run in ``results``, so there are no outliers."""
    monkeypatch.setenv("VAE_DATA_ROOT", "unused")


@pytest.fixture(scope="module")
def run_id():
    return configuration().run_id


def test_a_run_of_the_benchmark_is_loaded_with_its_record_and_measured_to_the_numbers_of_it(results, run_id):
    run = load_run(run_id, results, device="cpu")
    assert run.record == read_record(results / "runs" / run_id / RECORD_FILE)
    assert run.config == configuration()
    assert [row["epoch"] for row in run.history] == [1, 2, 3]
    found = evaluate(run)
    assert found.metrics == run.record.metrics
    assert found.not_applicable == run.record.not_applicable


def test_a_run_is_found_by_its_id_its_folder_and_its_files(results, run_id):
    folder = results / "runs" / run_id
    places = (folder, str(folder), folder / WEIGHTS_FILE, folder / RECORD_FILE, run_id)
    codes = [encode(load_run(place, results), torch.zeros(1, 8, 8)) for place in places]
    assert all(torch.equal(codes[0], other) for other in codes)


def test_the_record_of_an_earlier_version_has_its_image_shape_from_the_configuration(results, run_id, tmp_path):
    folder = tmp_path / "runs" / run_id
    shutil.copytree(results / "runs" / run_id, folder)
    record = read_record(folder / RECORD_FILE)
    assert record.details.pop(IMAGE_SHAPE) == [1, 8, 8]
    write_record(folder, record)
    assert load_run(folder).model.image_shape == (1, 8, 8)


def test_the_record_of_an_earlier_version_on_own_images_has_its_image_shape_from_them(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA_ROOT", str(tmp_path))
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path))
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "flowers.yaml").write_text(
        "name: flowers\nsource: folder\npath: flowers\nobservation: discretised_logistic\n"
    )
    (tmp_path / "flowers").mkdir()
    for i in range(20):
        pixels = np.random.RandomState(i).randint(0, 256, (6, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "flowers" / f"{i}.png")
    from benchmarks.config import compose
    from benchmarks.data import load

    config = compose("ae", "flowers", "smoke", 0, ["network.hidden=[4]", "training.epochs=1"])
    record = run_cell(config, load(config.dataset, tmp_path), setting(tmp_path))
    assert record.details.pop(IMAGE_SHAPE) == [3, 6, 10]
    write_record(tmp_path / "runs" / config.run_id, record)
    assert load_run(config.run_id, tmp_path).model.image_shape == (3, 6, 10)


@pytest.mark.parametrize("shape", [[1, 8], [1, 8, 10**9], "1x8x8", [1, 8, True], [0, 8, 8]])
def test_a_record_with_another_image_shape_is_refused(results, run_id, tmp_path, shape):
    path = tmp_path / run_id / RECORD_FILE
    path.parent.mkdir()
    data = json.loads((results / "runs" / run_id / RECORD_FILE).read_text())
    data["details"][IMAGE_SHAPE], data["digest"] = shape, None
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="image_shape"):
        read_record(path)


@pytest.mark.parametrize("variant", ["vae", "vq_vae", "cvae", "ae", "flow_vae"])
def test_a_model_of_fit_comes_back_equal(variant, trained, images, labels, tmp_path):
    run = trained(variant)
    again = load_run(save(run, tmp_path / "deep" / "folder"), device="cpu")
    given = labels if run.model.conditional else None
    assert torch.equal(encode(again, images, given), encode(run, images, given))
    assert (again.config, again.history, again.record) == (run.config, run.history, None)
    assert not again.model.training


def test_a_loaded_run_can_be_saved_elsewhere_and_keeps_its_record(results, run_id, tmp_path):
    run = load_run(run_id, results)
    again = load_run(save(run, tmp_path / "mine"))
    assert again.record == run.record
    assert evaluate(again).metrics == run.record.metrics


def test_saving_a_run_again_replaces_its_model_and_nothing_else(trained, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run = trained("vae")
    save(run, tmp_path)
    changed = deepcopy(run.model)
    torch.nn.init.zeros_(next(changed.parameters()))
    save(replace(run, model=changed), tmp_path)
    again = load_run(tmp_path)
    assert not next(again.model.parameters()).any()
    assert again.data_sha256 == run.data.sha256
    save(again, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", WEIGHTS_FILE]


def test_a_saved_model_is_not_evaluated_on_other_data_than_it_was_trained_on(tmp_path):
    run = fit("vae", dataset="digits", profile="smoke", epochs=1, progress=False, **{"network.hidden": [8]})
    again = load_run(save(run, tmp_path))
    assert loaded_data(again).sha256 == run.data_sha256
    with pytest.raises(UserError, match="was trained on other data than those here"):
        evaluate(replace(again, data_sha256="0" * 64))


def test_the_model_of_another_run_is_not_replaced(images, trained, tmp_path):
    path = save(trained("vae"), tmp_path) / WEIGHTS_FILE
    before = path.read_bytes()
    same_options = fit("vae", images[:150], epochs=2, latent_size=2, progress=False, **{"network.hidden": [16]})
    for other in (trained("ae"), same_options):
        with pytest.raises(UserError, match=f"{path} is not of this run: choose another folder, or delete this one"):
            save(other, tmp_path)
    path.write_bytes(b"another format")
    with pytest.raises(UserError, match=f"{path} is not of this run"):
        save(trained("vae"), tmp_path)
    path.write_bytes(before)
    assert load_run(tmp_path).config == trained("vae").config


def test_a_file_that_does_not_name_its_data_is_that_of_the_run_with_its_history(trained, tmp_path):
    run = trained("vae")
    path = save(run, tmp_path) / WEIGHTS_FILE
    content = read_sealed(path)
    facts = {key: value for key, value in content.facts.items() if key != "data_sha256"}
    write_sealed(path, seal(content.tensors, facts))
    again = load_run(tmp_path)
    assert again.data_sha256 is None
    with pytest.raises(UserError, match="is not of this run"):
        save(replace(run, history=run.history[:1]), tmp_path)
    save(again, tmp_path)
    save(run, tmp_path)
    assert load_run(tmp_path).data_sha256 == run.data.sha256


def test_the_run_of_a_benchmark_is_not_overwritten(results, run_id, trained):
    with pytest.raises(UserError, match="holds the record of a run"):
        save(trained("vae"), results / "runs" / run_id)


def test_what_cannot_be_loaded_is_one_line_that_names_it(results, run_id, tmp_path, trained):
    with pytest.raises(UserError, match=f"no run '{run_id[:-1]}'.*; did you mean '{run_id}'"):
        load_run(run_id[:-1], results)
    with pytest.raises(UserError, match=r"has no weights\.safetensors"):
        load_run(tmp_path)
    reference = tmp_path / "reference" / run_id
    reference.mkdir(parents=True)
    shutil.copy(results / "runs" / run_id / RECORD_FILE, reference)
    with pytest.raises(UserError, match=f"has a record and no weights.*make verify RUN={run_id}"):
        load_run(run_id, tmp_path)
    # Weights that a verification has trained are found.
    shutil.copytree(results / "runs" / run_id, tmp_path / "verification" / "runs" / run_id)
    assert load_run(run_id, tmp_path).record.run_id == run_id
    with pytest.raises(UserError, match="device must be auto, cpu or cuda, got 'gpu'"):
        load_run(run_id, results, device="gpu")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(results / "runs" / run_id, unfinished)
    (unfinished / RECORD_FILE).unlink()
    with pytest.raises(UserError, match="its run has not ended"):
        load_run(unfinished)
    with pytest.raises(UserError, match="save expects what fit or load_run returned, got a VAE"):
        save(trained("vae").model, tmp_path)


@pytest.mark.parametrize("changed", ["configuration", "data"])
def test_weights_of_another_run_of_the_benchmark_are_refused(results, run_id, tmp_path, changed):
    folder = tmp_path / run_id
    shutil.copytree(results / "runs" / run_id, folder)
    if changed == "configuration":
        other = configuration(seed=1)
        run_cell(other, digits(), setting(tmp_path))
    else:
        other = configuration()
        run_cell(other, replace(digits(), sha256="f" * 64), setting(tmp_path))
    shutil.copy(tmp_path / "runs" / other.run_id / WEIGHTS_FILE, folder)
    with pytest.raises(UserError, match=f"is not of the run of {RECORD_FILE}: its {changed} differs"):
        load_run(folder)


def test_weights_without_an_identity_are_loaded(results, run_id, tmp_path):
    shutil.copytree(results / "runs" / run_id, tmp_path / run_id)
    path = tmp_path / run_id / WEIGHTS_FILE
    content = read_sealed(path)
    write_sealed(path, seal(content.tensors, {key: value for key, value in content.facts.items() if key != "identity"}))
    assert load_run(tmp_path / run_id).record.run_id == run_id


@pytest.mark.parametrize("folder", [None, 3, "", "a\0b"])
def test_what_is_no_path_is_named(trained, folder):
    for call in (lambda: save(trained("vae"), folder), lambda: load_run(folder)):
        with pytest.raises(UserError, match=r"^(folder|run) must be a path"):
            call()


def test_a_name_that_is_too_long_is_refused_in_one_line(trained, tmp_path):
    name = "a" * 300
    with pytest.raises(UserError, match="cannot be written: File name too long"):
        save(trained("vae"), tmp_path / name)
    with pytest.raises(UserError, match=f"no run '{name}'"):
        load_run(name, tmp_path)


def test_damaged_weights_are_named_and_left_where_they_are(trained, tmp_path):
    path = save(trained("vae"), tmp_path) / WEIGHTS_FILE
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{path} is damaged"):
        load_run(tmp_path)
    assert path.exists()


def test_weights_of_another_architecture_are_refused(trained, tmp_path):
    run = trained("vae")
    other = replace(run, config=replace(run.config, network=replace(run.config.network, latent_size=5)))
    with pytest.raises(UserError, match="cannot be made by this version of the suite: its tensors do not match"):
        load_run(save(other, tmp_path))


def test_a_model_on_pixels_and_one_given_a_class_sample_after_loading(images, labels, trained, tmp_path):
    parts = fit(
        "cvae", images[:40], epochs=1, progress=False, **{"network.hidden": [8], "dataset.condition": "quadrants-1"}
    )
    for run, given in ((trained("cvae"), {"labels": labels[:3]}), (parts, {"images": images[:3]})):
        again = load_run(save(run, tmp_path / run.config.dataset.condition))
        assert torch.equal(sample(run, seed=1, **given), sample(again, seed=1, **given))


def test_loading_and_judging_draw_no_numbers_of_the_callers(run, images, tmp_path):
    folder = save(run, tmp_path / "model")
    for call in (lambda: load_run(folder), lambda: sample_quality(images[:20], images, judge="digits")):
        torch.manual_seed(7)
        expected = torch.rand(2)
        torch.manual_seed(7)
        call()
        assert torch.equal(torch.rand(2), expected)
