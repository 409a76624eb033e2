"""Training from Python uses the loop, options and checks of the benchmark."""

import numpy as np
import pytest
import torch

import variants
from benchmarks import encode, fit, load_run, save
from benchmarks.config import compose
from benchmarks.errors import UserError
from benchmarks.evaluation.judges import network
from benchmarks.records.record import HISTORY_FILE, RECORD_FILE
from benchmarks.sweep.cell import run_cell
from benchmarks.training.checkpoint import WEIGHTS_FILE, Checkpoints
from variants import registry

from ..cells import SMALL, configuration, digits, setting

TINY = {"epochs": 1, "network.hidden": [8], "latent_size": 2, "progress": False}


def equal(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_a_data_set_by_its_name_gives_the_weights_of_its_cell(tmp_path):
    run_cell(configuration("wae_mmd"), digits(), setting(tmp_path))
    run = fit("wae_mmd", dataset="digits", profile="smoke", overrides=SMALL, progress=False)
    assert run.config == configuration("wae_mmd")
    # Both fit the autoencoder's observation model after training.
    assert equal(run.model, load_run(run.config.run_id, tmp_path).model)


def test_options_are_keywords_by_their_own_or_their_full_names(images):
    options = {"beta": 2, "learning_rate": np.float64(0.25), "gradient_clip": None, "seed": 3}
    run = fit("beta_vae", images[:20], **options, **TINY)
    config = run.config
    assert (config.variant.beta, config.training.learning_rate, config.seed) == (2, 0.25, 3)
    assert (config.network.hidden, config.network.latent_size, config.training.epochs) == ([8], 2, 1)
    of_training = ["training.learning_rate=0.25", "training.epochs=1"]
    of_network = ["network.hidden=[8]", "network.latent_size=2"]
    same = compose("beta_vae", "digits", "quick", 3, ["variant.beta=2", *of_training, *of_network])
    assert (config.variant, config.training, config.network) == (same.variant, same.training, same.network)


def test_a_network_and_its_options_are_named_in_one_call(images):
    run = fit("vae", images[:20], network="conv", width=8, epochs=1, progress=False)
    assert (run.config.network_name, run.config.network.width) == ("conv", 8)


@pytest.mark.parametrize(
    ("change", "options", "expected"),
    [
        (lambda x: x, {}, ("discretised_logistic", "none")),
        (lambda x: (x * 255).astype(np.uint8), {}, ("discretised_logistic", "none")),
        (lambda x: x > 0.5, {}, ("bernoulli", "threshold")),
        (lambda x: torch.tensor(x > 0.5).float(), {}, ("bernoulli", "threshold")),
        (lambda x: x, {"observation": "bernoulli"}, ("bernoulli", "dynamic")),
        (lambda x: x, {"observation": "gaussian", "scale": 0.1}, ("gaussian", "none")),
        (lambda x: x, {"observation": "bernoulli", "binarise": "fixed"}, ("bernoulli", "fixed")),
    ],
)
def test_pixels_of_0_and_1_are_binary_and_others_grey_unless_said_otherwise(images, change, options, expected):
    dataset = fit("vae", change(images[:20]), **TINY, **options).config.dataset
    assert (dataset.observation, dataset.binarise) == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: fit("vae"), r"give either images or the name of a dataset"),
        (lambda x: fit("vae", x, dataset="digits"), r"give either images or the name of a dataset"),
        (lambda x: fit("vaee", x), r"unknown variant 'vaee'; did you mean 'vae'\?"),
        (lambda x: fit("vae", dataset="digit"), r"unknown data set 'digit'; did you mean 'digits'\?"),
        (lambda x: fit("vae", x, profile="fast"), r"unknown profile 'fast'"),
        (lambda x: fit("vae", x, network="mpl"), r"unknown network 'mpl'; did you mean 'mlp'\?"),
        (lambda x: fit("vae", x, epoch=3), r"unknown option of vae 'epoch'; did you mean 'epochs'\?"),
        (lambda x: fit("vae", x, beta=3), r"unknown option of vae 'beta'; did you mean 'beta[12]'\?"),
        (lambda x: fit("vae", x, epochs=0), r"training.epochs must be above 0, got 0"),
        (lambda x: fit("vae", x, epochs="many"), r"training.epochs"),
        (lambda x: fit("vae", x, epochs=object()), r"option training.epochs must be a number, a text, a list or None"),
        (lambda x: fit("iaf_vae", x, hidden=3), r"option 'hidden' is one of variant and network: write"),
        (lambda x: fit("vae", x, image_size=8), r"dataset.image_size has no effect on images in memory"),
        (lambda x: fit("vae", x, overrides=["dataset.left_out=3"]), r"dataset.left_out has no effect on images in mem"),
        (lambda x: fit("vae", x, overrides=["dataset.no_split=true"]), r"dataset.no_split has no effect on images in"),
        (lambda x: fit("vae", x * 0), r"every pixel in images is 0"),
        (lambda x: fit("vae", x, measure_at=[1]), r"measure_at measures test images"),
        (lambda x: fit("dfc_vae", x), r"features of a classifier .*: given_images has no labels"),
        (lambda x: fit("dfc_vae", x, x[:, 0, 0].astype(int)), r"has a single class"),
        (lambda x: fit("cvae", x, np.arange(20) % 3, validation=(x, np.arange(20) % 4)), r"from 0 to 2, .*up to 3"),
        (lambda x: fit("cvae", x, np.arange(20) % 3, validation=(x, np.eye(20, dtype=int))), r"got classes up to 19"),
        (lambda x: fit("cvae", x, np.arange(20) % 3, validation=(x, np.ones((20, 2)))), r"got shape \(20, 2\)"),
        (lambda x: fit("vae", x, validation=(x, np.full(20, 10**12))), r"labels of validation images must be"),
        (lambda x: fit("cvae", x, np.full(20, 10**12)), r"go up to 1000000000000, but there are 20 im"),
        (lambda x: fit("vae", x, overrides="variant.x=1"), r"a list of texts, such as \['training.epochs=3'\]"),
        (lambda x: fit("vae", x, overrides=[3]), r"overrides must be a list of texts, .* got \[3\]"),
        (lambda x: fit("vae", x, overrides=3), r"overrides must be a list of texts, .* got 3"),
        (lambda x: fit("vae", x, observation="bernouli"), r"observation model 'bernouli'; did you mean 'bernoulli'"),
        (lambda x: fit("vae", x, observation="gaussian", binarise="dynamic"), r"binarise=dynamic needs .*bernoulli"),
        (lambda x: fit("vae", x, select="validation"), r"needs images to score: fit\(\.\.\., validation=images\)"),
        (lambda x: fit("vae", x, validation=x[:, :4]), r"validation images have shape .*\(n, 1, 8, 8\) is needed"),
        (lambda x: fit("vae", dataset="digits", validation=x), r"has labels and validation images of its own"),
        (lambda x: fit("vae", x, x), r"labels of images have shape \(20, 8, 8\); \(20,\) or"),
        (lambda x: fit("vae", x[0, 0]), r"images has shape \(8,\)|images have shape"),
        (lambda x: fit("vae", x.tolist()), r"images are a list; a tensor or a NumPy array is needed"),
        (lambda x: fit("vae", x * 2 - 1), r"takes \[-1, 1\] to bytes"),
        (lambda x: fit("vae", x * np.nan), r"NaN or infinite"),
        (lambda x: fit("cvae", x), r"set dataset.condition=label"),
        (lambda x: fit("cvae", x, np.arange(20) % 3, validation=x), r"validation must be a pair of images and labels"),
        (lambda x: fit("vae", x, condition="label"), r"dataset.condition=label has no effect on vae"),
        (lambda x: fit("vae", x, device="tpu"), r"device must be auto, cpu or cuda, got 'tpu'"),
        (lambda x: fit("vae", x, device="meta"), "device must be auto, cpu or cuda, got 'meta' .the suite runs on no"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_in_one_line(images, call, message):
    with pytest.raises(UserError, match=message) as refused:
        call(images[:20])
    assert "\n" not in str(refused.value)


def test_validation_images_are_scored_after_every_epoch_and_select_the_best(images, labels):
    run = fit("vae", images[:40], validation=images[40:60], **TINY | {"epochs": 3, "select": "validation"})
    assert all(np.isfinite(row["validation_elbo"]) for row in run.history)
    given = fit("cvae", images[:40], labels[:40], validation=(images[40:60], labels[40:60]), **TINY)
    assert "validation_elbo" in given.history[0]
    assert "validation_elbo" not in fit("vae", images[:40], **TINY).history[0]


def test_options_of_how_images_are_observed_may_be_overrides(images):
    config = fit("vae", images[:20], overrides=["dataset.observation=gaussian", "dataset.scale=0.1"], **TINY).config
    assert (config.dataset.observation, config.dataset.scale) == ("gaussian", 0.1)


def test_a_loss_of_features_is_trained_on_images_in_memory(images, labels, monkeypatch):
    monkeypatch.setattr(network, "PASSES", 1)
    assert np.isfinite(fit("dfc_vae", images, labels, **TINY).history[0]["loss"])


def test_a_folder_that_takes_no_model_is_refused_before_training(images, tmp_path, monkeypatch):
    done, file = tmp_path / "done", tmp_path / "file"
    done.mkdir()
    for path in (done / RECORD_FILE, done / HISTORY_FILE, file):
        path.write_text("kept")
    monkeypatch.setattr("benchmarks.library.fitting.learn", None)
    for folder, message in (
        (done, "holds the record of a run"),
        (file, "is a file: choose a folder"),
        (file / "below", "cannot be written: Not a directory"),
        (tmp_path / ("a" * 300), "cannot be written: File name too long"),
        (3, "folder must be a path, got 3"),
    ):
        with pytest.raises(UserError, match=message):
            fit("vae", images[:20], folder=folder, **TINY)
    assert {path.name: path.read_text() for path in done.iterdir()} == {RECORD_FILE: "kept", HISTORY_FILE: "kept"}


def test_another_call_leaves_the_checkpoints_of_an_interrupted_one(images, tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")
    options = TINY | {"epochs": 3, "validation": images[40:60], "folder": tmp_path}
    saved = Checkpoints.save

    def interrupted(self, model, optimisers, best, done):
        saved(self, model, optimisers, best, done)
        if done.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit("vae", images[:40], **options)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "checkpoint-000002.safetensors" in before
    for variant, other, reason in (
        ("vae", {"validation": images[60:80]}, "the data changed"),
        ("vae", {"epochs": 4}, "the configuration changed"),
        ("ae", {}, "the configuration and the code changed"),
    ):
        with pytest.raises(UserError, match=rf"checkpoint-00000\d\.safetensors is not of this run \({reason} since"):
            fit(variant, images[:40], **options | other)
    with pytest.raises(UserError, match="is not of this run: choose another folder, or delete this one"):
        save(fit("vae", images[:40], **TINY), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    starts = []
    restore = Checkpoints.restore
    monkeypatch.setattr(Checkpoints, "restore", lambda *given: starts.append(restore(*given)) or starts[-1])
    fit("vae", images[:40], **options)
    assert starts[0].resumed == [2]


def test_the_model_of_another_call_is_not_replaced_and_that_of_the_same_call_is(images, tmp_path, monkeypatch):
    first = fit("vae", images[:20], folder=tmp_path, **TINY)
    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.library.fitting.learn", None)
        for rows, other in ((images[20:40], {}), (images[:20], {"seed": 1}), (images[:20], {"variant": "ae"})):
            with pytest.raises(UserError, match=r"weights\.safetensors is not of this run: choose another folder"):
                fit(images=rows, folder=tmp_path, **TINY | other)
    assert equal(load_run(tmp_path).model, first.model)
    assert equal(fit("vae", images[:20], folder=tmp_path, **TINY).model, first.model)


def test_files_that_the_suite_did_not_write_are_not_replaced(images, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.library.fitting.learn", None)
    for name in (HISTORY_FILE, WEIGHTS_FILE):
        path = tmp_path / name / name
        path.parent.mkdir()
        path.write_text("kept")
        with pytest.raises(UserError, match=f"{name} is not of this run.*: choose another folder") as refused:
            fit("vae", images[:20], folder=path.parent, **TINY)
        assert "\n" not in str(refused.value)
        assert path.read_text() == "kept"


def test_training_does_not_move_the_random_numbers_of_the_caller(images):
    torch.manual_seed(5)
    fit("vae", images[:20], **TINY)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))


def test_an_interrupted_call_goes_on_from_its_folder_to_the_same_weights(images, tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", "0")
    options = TINY | {"epochs": 3}
    whole = fit("vae", images, **options)
    saved = Checkpoints.save

    def interrupted(self, model, optimisers, best, done):
        saved(self, model, optimisers, best, done)
        if done.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit("vae", images, folder=tmp_path, **options)
    epochs = []

    def counted(self, model, optimisers, best, done):
        epochs.append(done.epoch)
        saved(self, model, optimisers, best, done)

    monkeypatch.setattr(Checkpoints, "save", counted)
    again = fit("vae", images, folder=tmp_path, **options)
    assert epochs == [3]
    assert equal(again.model, whole.model)
    assert sorted(path.name for path in tmp_path.iterdir()) == [HISTORY_FILE, WEIGHTS_FILE]
    assert equal(load_run(tmp_path).model, whole.model)


def test_a_variant_that_is_registered_later_is_known_too(images, monkeypatch):
    fit("vae", images[:20], **TINY)
    monkeypatch.setattr(registry, "_variants", dict(registry._variants))

    @variants.register("written_here")
    class WrittenHere(variants.Variant):
        """A class in a notebook."""

    run = fit("written_here", images[:20], **TINY)
    assert encode(run, images[:3]).shape == (3, 2)


def test_a_loss_that_reads_labels_is_validated_and_measured_with_them(monkeypatch, caplog):
    monkeypatch.setattr(registry, "_variants", dict(registry._variants))

    @variants.register("reads_labels")
    class ReadsLabels(variants.Variant):
        """A loss with a term of the labels."""

        def loss(self, batch, progress):
            found = super().loss(batch, progress)
            return found._replace(value=found.value + batch.labels.double().mean())

    options = TINY | {"select": "validation", "select_by": "objective", "measure_at": [1]}
    run = fit("reads_labels", dataset="digits", profile="smoke", **options)
    assert np.isfinite(run.history[0]["validation_negative_objective"])
    assert "failed" not in caplog.text
