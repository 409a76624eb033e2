"""Encode, decode, sample, interpolate and map: the consistency of the calls."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import variants
from benchmarks import (
    decode,
    denoise,
    encode,
    evaluate,
    fit,
    fit_mixture,
    image_grid,
    interpolate,
    latent_map,
    likelihoods,
    outlier_scores,
    reconstruct,
    represent,
    sample,
)
from benchmarks.data import observe_evaluation
from benchmarks.errors import UserError
from benchmarks.library.latent import model_pixels, observed
from benchmarks.training.loop import tensor_float_32

EVERY = ("vae", "ae", "iaf_vae", "gumbel_vae", "vq_vae", "joint_vae", "structured_vae", "wae_mmd")


@pytest.mark.parametrize("name", EVERY)
def test_a_decoded_code_is_the_reconstruction(name, trained, images):
    run = trained(name)
    assert torch.equal(decode(run, encode(run, images)), reconstruct(run, images))


def test_calls_compute_as_the_evaluation_does_whatever_a_gpu_is_allowed(run, images, monkeypatch):
    seen = []

    def noting(original):
        def call(*arguments, **options):
            seen.append((torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32))
            return original(*arguments, **options)

        return call

    for name in ("decode", "posterior"):
        monkeypatch.setattr(run.model, name, noting(getattr(run.model, name)))
    few = images[:2]
    with tensor_float_32(True):
        for call in (
            lambda: decode(run, torch.zeros(2, 2)), lambda: encode(run, few), lambda: sample(run, 2),
            lambda: interpolate(run, few[0], few[1]), lambda: latent_map(run, few), lambda: likelihoods(run, few),
            lambda: outlier_scores(run, few), lambda: denoise(run, few),
        ):  # fmt: skip
            seen.clear()
            call()
            assert seen
            assert set(seen) == {(False, False)}


def test_a_run_and_its_model_give_the_same_and_in_parts_or_whole(run, images):
    assert torch.equal(encode(run, images), encode(run.model, images))
    binary = images > 0.5
    assert torch.equal(torch.cat([represent(run, part) for part in np.split(binary, 4)]), represent(run, binary))


def test_binary_models_see_the_draw_of_the_boards_and_pixels_of_0_and_1_as_they_are(run, images):
    x, condition = observed(run, images)
    assert condition is None
    pixels = torch.tensor((images * 255).round()).to(torch.uint8)[:, None]
    assert torch.equal(x, observe_evaluation(pixels, run.config.dataset))
    assert torch.equal(observed(run, images > 0.5)[0], torch.tensor(images > 0.5)[:, None].float())


def test_grey_models_see_bytes_over_255(trained, images):
    x, _ = observed(trained("vae"), images)
    torch.testing.assert_close(x, torch.tensor((images * 255).round() / 255)[:, None].float())


def test_samples_follow_their_seed_and_without_one_the_callers_random_numbers(run):
    assert torch.equal(sample(run, 3, seed=1), sample(run, 3, seed=1))
    assert not torch.equal(sample(run, 3, seed=1), sample(run, 3, seed=2))
    first, second = sample(run, 3), sample(run, 3)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(first, sample(run, 3))
    torch.manual_seed(0)
    sample(run, 3, seed=1)
    assert torch.equal(first, sample(run, 3))


def test_a_conditional_model_is_given_classes_and_says_which(trained, images, labels):
    run = trained("cvae")
    assert sample(run, labels=labels[:7]).shape == (7, 1, 8, 8)
    assert encode(run, images, labels).shape == (200, 2)
    with pytest.raises(UserError, match=r"labels, 200 of 0 to 9, are needed"):
        encode(run, images)
    with pytest.raises(UserError, match=r"labels of images must be whole numbers from 0 to 9, got 10"):
        sample(run, labels=np.array([1, 10]))
    with pytest.raises(UserError, match=r"labels must be 2 classes from 0 to 9, got classes up to 10"):
        sample(run, labels=np.eye(11)[[1, 10]])
    with pytest.raises(UserError, match=r"labels must be 2 classes from 0 to 9, got shape \(2, 10\)"):
        sample(run, labels=np.ones((2, 10)))
    with pytest.raises(UserError, match="labels have no effect here: the model is given no condition"):
        encode(trained("vae"), images, labels)


def test_one_hot_rows_are_the_classes_of_a_conditional_model(trained, images, labels):
    run = trained("cvae")
    assert torch.equal(sample(run, labels=np.eye(10)[labels], seed=0), sample(run, labels=labels, seed=0))
    assert torch.equal(encode(run, images, torch.eye(10)[labels]), encode(run, images, labels))


def test_the_number_of_samples_is_that_of_the_labels_unless_it_contradicts_them(trained, images, labels):
    run = trained("cvae")
    assert sample(run, 3, labels=labels[:3]).shape == sample(run, labels=labels[:3]).shape == (3, 1, 8, 8)
    assert len(sample(trained("vae"))) == 64
    with pytest.raises(UserError, match="count is 3, but there are 2 labels: leave out count"):
        sample(run, 3, labels=labels[:2])


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "3", True, torch.zeros(2)])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("count", lambda run, x, n: sample(run, n)),
        ("count", lambda run, x, n: fit_mixture(run, x, components=1).sample(n)),
        ("count", lambda run, x, n: fit_mixture(run, x, components=1).codes(n)),
        ("components", lambda run, x, n: fit_mixture(run, x, components=n)),
        ("steps", lambda run, x, n: interpolate(run, x[:1], x[1:2], steps=n)),
        ("side", lambda run, x, n: latent_map(run, x).decoded(n)),
        ("columns", lambda run, x, n: image_grid(x[:4], columns=n)),
        ("samples", lambda run, x, n: likelihoods(run, x, samples=n)),
        ("samples", lambda run, x, n: outlier_scores(run, x, samples=n)),
    ],
)
def test_a_count_that_is_not_a_whole_number_is_named_in_one_line(trained, images, name, call, wrong):
    with pytest.raises(UserError, match=rf"^{name} must be a whole number from [12], got ") as refused:
        call(trained("vae"), images, wrong)
    assert "\n" not in str(refused.value)


def test_whole_numbers_of_numpy_and_torch_are_counts_and_seeds(run):
    for three in (np.int64(3), torch.tensor(3)):
        assert torch.equal(sample(run, three, seed=three), sample(run, 3, seed=3))


def test_a_line_between_two_codes_ends_at_their_reconstructions_and_is_straight(trained, images):
    run = trained("vae")
    found = interpolate(run, images[:3], images[3:6], steps=5)
    torch.testing.assert_close(found[:, 0], reconstruct(run, images[:3]))
    torch.testing.assert_close(found[:, -1], reconstruct(run, images[3:6]))
    middle = (encode(run, images[:3]) + encode(run, images[3:6])) / 2
    torch.testing.assert_close(found[:, 2], decode(run, middle))
    assert interpolate(run, images[0], images[1]).shape == (1, 8, 1, 8, 8)


def test_a_discrete_variable_keeps_the_value_of_the_start(trained, images):
    run = trained("joint_vae")
    codes = encode(run, images[:2])
    ends = interpolate(run, images[0], images[1], steps=2)[0]
    torch.testing.assert_close(ends[0], decode(run, codes[:1])[0])
    torch.testing.assert_close(ends[1], decode(run, torch.cat([codes[1:, :10], codes[:1, 10:]], 1))[0])


def test_a_map_of_two_dimensions_shows_these_and_of_more_the_plane_of_largest_spread(trained, images, labels):
    run = trained("vae")
    found = latent_map(run, images, labels)
    codes = encode(run, images)
    torch.testing.assert_close(found.positions, codes - codes.mean(0))
    assert found.labels.tolist() == labels.tolist()
    wide = trained("vae", latent_size=5)
    positions = latent_map(wide, images).positions.double()
    spread = torch.linalg.eigvalsh(torch.cov(encode(wide, images).double().T)).flip(0)[:2]
    torch.testing.assert_close(positions.var(0), spread, rtol=1e-4, atol=0)
    # The centre of a grid with an odd side is the mean code.
    middle = found.decoded(3).unflatten(0, (3, 3))[1, 1]
    torch.testing.assert_close(middle, decode(run, codes.mean(0, keepdim=True))[0])


def test_a_map_of_one_image_has_it_at_its_centre(trained, images):
    found = latent_map(trained("vae", latent_size=5), images[:1])
    assert torch.equal(found.positions, torch.zeros(1, 2))
    assert found.decoded(3).shape == (9, 1, 8, 8)
    found.plot(Figure().subplots())


def test_a_map_is_drawn_with_a_colour_a_class(trained, images, labels):
    figure = Figure()
    axes = latent_map(trained("vae"), images, labels).plot(figure.subplots())
    assert len(axes.collections[0].get_offsets()) == 200
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [str(digit) for digit in range(10)]
    assert latent_map(trained("vae"), images).plot(figure.subplots()).get_legend() is None


def test_a_mixture_samples_codes_with_the_mean_and_covariance_of_the_training_codes(trained, images):
    run = trained("ae")
    codes = encode(run, images)
    sampler = fit_mixture(run, images, components=1)
    drawn = sampler.codes(100_000, seed=0)
    torch.testing.assert_close(drawn.mean(0), codes.mean(0), rtol=0, atol=0.02 * float(codes.std()))
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(codes.T, correction=0), rtol=0.05, atol=0.02)
    assert torch.equal(sampler.sample(4, seed=3), decode(run, sampler.codes(4, seed=3)))
    assert fit_mixture(run, images).density.component_distribution.batch_shape == (10,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, x: sample(t("ae"), 3), r"no samples: an autoencoder has no prior.*; fit_mixture\(model, images\)"),
        (lambda t, x: interpolate(t("gumbel_vae"), x[:1], x[1:2]), "not continuous: discrete latent"),
        (lambda t, x: latent_map(t("vq_vae"), x), "not continuous: discrete latent"),
        (lambda t, x: fit_mixture(t("joint_vae"), x), "a part of this one is discrete"),
        (lambda t, x: fit_mixture(t("vae"), x[:3]), "a mixture of 10 Gaussians needs 10 images, got 3"),
        (lambda t, x: fit_mixture(t("vae"), x[:1], components=1), "a mixture of 1 Gaussian needs 2 images, got 1"),
        (lambda t, x: fit_mixture(t("cvae"), x), "conditional model"),
        (lambda t, x: interpolate(t("vae"), x[:2], x[:3]), "start has 2 images and end has 3"),
        (lambda t, x: interpolate(t("vae"), x[:2], x[:2], steps=1), "steps must be a whole number from 2, got 1"),
        (
            lambda t, x: decode(t("vae"), torch.zeros(3)),
            r"are float32 of shape \(3,\); numbers \(n, d\)",
        ),
        (lambda t, x: decode(t("vae"), torch.zeros(0, 2)), r"latent vectors are float32 of shape \(0, 2\)"),
        (lambda t, x: decode(t("vae"), torch.zeros(3, 2).to_sparse()), "latent vectors are a sparse tensor"),
        (lambda t, x: decode(t("vae"), None), "latent vectors are a NoneType"),
        (lambda t, x: sample(t("vae"), 2, seed=-1), "seed must be a whole number from 0, got -1"),
        (lambda t, x: fit_mixture(t("vae"), x, seed=2**32), "seed must be a whole number from 0 to 4294967295"),
        (lambda t, x: sample(t("cvae"), labels=np.zeros(0, int)), "the number of labels must be a whole number from 1"),
        (lambda t, x: sample(t("cvae"), labels=np.array(3)), r"labels of images have shape \(\)"),
        (lambda t, x: latent_map(t("vae"), x).decoded(2, reach="3"), "reach must be a number from 0, got '3'"),
        (lambda t, x: latent_map(t("vae"), x, np.full(200, np.inf)), "whole numbers from 0 to 24999, got inf"),
        (lambda t, x: decode(t("vae"), torch.zeros(3, 7)), "does not decode torch.float32 vectors of 7 numbers"),
        (lambda t, x: encode(t("vae"), x[:, :4]), r"images have shape \(200, 4, 8\); \(n, 1, 8, 8\) is needed"),
        (lambda t, x: encode(t("vae"), x[:0]), r"images has shape \(0, 8, 8\)"),
        (lambda t, x: encode("vae", x), "a model is expected, from load_run, fit or variants.build; got a str"),
        (lambda t, x: latent_map(t("vae"), x, np.zeros((200, 2))), "one label per image"),
        (
            lambda t, x: encode(variants.build("vae", (1, 8, 8)).double(), x),
            r"the model's encoder.* is torch.float64; the suite uses float32 models: model.float\(\)",
        ),
        (lambda t, x: image_grid(None), "images are a NoneType"),
        (
            lambda t, x: encode(t("vae"), torch.empty(3, 8, 8, device="meta")),
            "on the device 'meta', which has no",
        ),
        (lambda t, x: sample(t("vae"), images=x), "images have no effect here: the model is given no condition"),
        (
            lambda t, x: sample(variants.build("cvae", (1, 8, 8), condition_shape=(2, 8, 8)), images=x),
            "the model is given a part of the image, and only a run knows which",
        ),
        (lambda t, x: sample(t("cvae"), images=x), "images have no effect here: the model is given the class"),
        (lambda t, x: encode(t("cvae"), x, np.full(200, "a")), "whole numbers from 0 to 9, got 'a'"),
    ],
)
def test_what_a_model_cannot_do_is_one_line_with_the_reason(trained, images, call, message):
    with pytest.raises(UserError, match=message) as refused:
        call(trained, images)
    assert "\n" not in str(refused.value)


def test_a_model_that_is_given_a_part_of_the_image_refuses_labels(images, labels):
    options = {"network.hidden": [8], "dataset.condition": "quadrants-1"}
    run = fit("cvae", images[:40], epochs=1, progress=False, **options)
    for call in (encode, reconstruct, represent, likelihoods):
        with pytest.raises(UserError, match="labels have no effect here: the model is given a part of the image"):
            call(run, images, labels)
    with pytest.raises(UserError, match="count is 3, but there are 2 images: leave out count"):
        sample(run, 3, images=images[:2])
    # The labels of an evaluation are those that classifiers of the codes are trained on.
    assert evaluate(run, images, labels, importance_samples=2).metrics["log_likelihood"] < 0


def test_a_model_that_was_built_by_hand_is_used_likewise(images):
    model = variants.build("vae", (1, 8, 8), observation="gaussian")
    assert reconstruct(model, images).shape == (200, 1, 8, 8)
    assert sample(variants.build("cvae", (1, 8, 8), condition_shape=(3,)), labels=torch.tensor([2])).shape[0] == 1


def test_a_grid_of_images_is_a_picture_with_a_pixel_between_them():
    grid = image_grid(np.stack([np.zeros((2, 3)), np.ones((2, 3))]), columns=2)
    assert grid.shape == (4, 9)
    assert grid[1, 1] == 0
    assert grid[1, 5] == 255
    assert image_grid(torch.zeros(2, 3, 4, 4), columns=1).shape == (11, 6, 3)
    # A linear decoder returns pixels outside [0, 1].
    assert np.array_equal(image_grid(torch.tensor([[[-0.3, 0.5, 1.2]]])), image_grid(torch.tensor([[[0, 0.5, 1]]])))


@pytest.mark.parametrize("pad", [None, 12])
def test_images_are_given_one_by_one_or_together_in_every_form(pad, images):
    options = {"epochs": 1, "progress": False, "network.hidden": [8], "dataset.pad": pad}
    run = fit("vae", dataset="digits", profile="smoke", **options)
    both = images[:2]
    expected = interpolate(run, both[:1], both[1:])
    forms = [both, torch.tensor(both)[:, None]]
    if pad is not None:
        forms.append(np.pad(both, ((0, 0), (2, 2), (2, 2))))
    for first, second in forms:
        assert torch.equal(interpolate(run, first, second), expected)
    assert torch.equal(encode(run, both[..., None]), encode(run, both))
    # A brightest byte of 1, which would be a mask if it were converted twice.
    dark = np.full((1, 8, 8), 1 / 255)
    assert int(model_pixels(run, dark).max()) == 1
    with pytest.raises(UserError, match="images are a list; a tensor or a NumPy array is needed"):
        encode(run, both.tolist())


def test_every_class_of_a_map_has_a_colour_of_its_own_whatever_its_number(trained, images):
    shown = latent_map(trained("vae"), images[:60], np.array([0, 1, 100] * 20))
    axes = shown.plot(Figure().add_subplot())
    colours = {tuple(colour) for colour in axes.collections[0].get_facecolors()}
    assert len(colours) == 3
    assert [handle.get_text() for handle in axes.get_legend().get_texts()] == ["0", "1", "100"]
    for options in ({"color": "red"}, {"c": "red"}, {"linewidth": 1}, {"lw": 2}, {"cmap": "viridis"}):
        shown.plot(Figure().add_subplot(), **options)
    (red,) = {tuple(c) for c in shown.plot(Figure().add_subplot(), color="red").collections[0].get_facecolors()}
    assert red == (1, 0, 0, 1)


def test_codes_outside_the_codebook_are_refused(images):
    model = fit("vq_vae", images[:100], profile="smoke", epochs=1, progress=False)
    for code in (-1, 10**6):
        with pytest.raises(UserError, match="the model does not decode"):
            decode(model, encode(model, images[:2]) * 0 + code)
