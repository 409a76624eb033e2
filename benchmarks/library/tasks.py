"""Tasks measured as on the boards: classification from few labels, outliers, denoising and compression."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from benchmarks.data import cropped
from benchmarks.errors import UserError
from benchmarks.evaluation.evaluate import batched
from benchmarks.evaluation.likelihood import no_bound
from benchmarks.evaluation.tasks.compression import code_errors, dimensions, pca_errors
from benchmarks.evaluation.tasks.denoising import gaussian, psnr_gain, salt_and_pepper
from benchmarks.evaluation.tasks.few_labels import balanced_draws, few_labels_accuracy
from benchmarks.evaluation.tasks.outliers import auroc as area_under_the_curve
from benchmarks.evaluation.tasks.outliers import squared_errors
from benchmarks.library.checks import number, shown, whole_number
from benchmarks.library.images import Array, image_bytes, label_tensor, number_array, pixel_values, training_labels
from benchmarks.library.latent import continuous_codes, observed, padded_pixels, represent, unpadded_pixels
from benchmarks.library.measuring import likelihoods
from benchmarks.library.runs import Run, device_of, model_of
from benchmarks.library.settings import own_settings
from variants import Variant
from variants.options import unknown

NOISES = {"gaussian": gaussian, "salt_and_pepper": salt_and_pepper}
# The default number of neighbours is 1 below FEW labels, else 5. With 10 images per class, more neighbours would
# outvote the right ones.
FEW, NEIGHBOURS = 1000, {False: 1, True: 5}


@own_settings()
def few_label_accuracy(
    model: Run | Variant,
    images: Array,
    labels: Array,
    test_images: Array,
    test_labels: Array,
    count: int = 100,
    neighbours: int | None = None,
) -> dict[str, float]:
    """Test accuracies of classifiers that see only the codes and labels of ``count`` of the ``images``.

    They are means over ten draws with equally many images of every class. "linear" is a logistic regression, "nearest"
    the vote of the ``neighbours`` nearest codes (by default 1 below 1,000 labels, else 5). Raises :class:`UserError` if
    there are too few images of a class, or a single class, and unless both numbers are whole numbers from 1.

    Example:
        >>> found = few_label_accuracy(run, images[:150], labels[:150], images[150:], labels[150:], count=50)
        >>> sorted(found)
        ['linear', 'nearest']
    """
    _unconditional(model)
    count = whole_number("count", count)
    nearest = NEIGHBOURS[count >= FEW] if neighbours is None else whole_number("neighbours", neighbours, 1, count)
    codes, test_codes = represent(model, images), represent(model, test_images)
    classes, truth = training_labels(labels, len(codes)), label_tensor(test_labels, len(test_codes), "test_images")
    if classes.dim() != 1 or truth.dim() != 1:
        raise UserError("one class per image is needed, with shape (n,), but these are attributes")
    if int(truth.max()) > int(classes.max()):
        raise UserError(f"test_labels reach {int(truth.max())}, and labels {int(classes.max())}")
    if len(classes.unique()) < 2:
        raise UserError(f"every label is {int(classes[0])}: images of two classes or more are needed")
    try:
        draws = balanced_draws(classes, count)
    except ValueError as error:
        raise UserError(str(error)) from None
    linear, voted = few_labels_accuracy(codes, classes, test_codes, truth, draws, nearest)
    return {"linear": linear, "nearest": voted}


@own_settings()
def outlier_scores(
    model: Run | Variant, images: Array, *, samples: int = 100, seed: int | None = None
) -> dict[str, Tensor]:
    """Scores (n,) of how unusual each image is to the model, higher for an outlier.

    "mse" is the squared reconstruction error. "elbo" and "log_likelihood" are the negative ELBO and the negative log
    p(x), in nats, from ``samples`` draws; a model that has no bound has only "mse". The scores can disagree; `auroc`
    measures how well each of them tells two sets apart. Raises :class:`UserError` for a conditional model, and
    unless ``samples`` is a whole number from 1.

    Example:
        >>> scores = outlier_scores(run, images, samples=5)
        >>> sorted(scores)
        ['elbo', 'log_likelihood', 'mse']
    """
    _unconditional(model)
    samples = whole_number("samples", samples)
    x, _ = observed(model, images)
    found = {"mse": squared_errors(x, batched(model_of(model).reconstruct, x, None)).cpu()}
    if not no_bound(model_of(model)):
        bounds = likelihoods(model, images, samples=samples, seed=seed)
        found |= {name: -bounds[name] for name in ("elbo", "log_likelihood")}
    return found


@own_settings()
def auroc(inside: Array, outliers: Array) -> float:
    """Area under the ROC curve of outlier scores: 1 separates the sets, 0.5 is chance.

    It is the share of pairs of an image and an outlier, with scores ``inside`` (n,) and ``outliers`` (m,), in which the
    outlier has the higher score. Ties count one half. Raises :class:`UserError` for scores of another shape, for none,
    and for scores that are NaN.

    Example:
        >>> auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
        0.875
    """
    return area_under_the_curve(_scores(inside, "scores inside"), _scores(outliers, "scores of outliers"))


def _scores(values: Array, name: str) -> Tensor:
    array = number_array(values, name, 1)
    if np.isnan(array).any():
        raise UserError(f"{int(np.isnan(array).sum())} of {len(array)} {name} are NaN")
    return torch.from_numpy(array.astype(np.float64))


@own_settings()
def corrupt(images: Array, noise: str = "gaussian", strength: float = 0.2) -> Tensor:
    """Add noise to images and return them as (n, channels, height, width) in [0, 1].

    The noise is the same in every call. "gaussian" has the standard deviation ``strength``, and the result is clipped.
    "salt_and_pepper" makes a share ``strength`` of the pixels black or white. Raises :class:`UserError` for other noise
    and other strengths.

    Example:
        >>> corrupt(images, "salt_and_pepper", 0.1).shape
        torch.Size([200, 1, 8, 8])
    """
    if noise not in NOISES:
        raise UserError(unknown("noise", noise, NOISES))
    strength = number("strength", strength, 0, 1 if noise == "salt_and_pepper" else None)
    return NOISES[noise](image_bytes(images).float() / 255, strength)


@own_settings()
def denoise(model: Run | Variant, noisy: Array) -> Tensor:
    """Remove noise from images, as far as the model can, by encoding and decoding them (n, channels, height, width).

    The model sees the pixels without binarisation: grey pixels are not drawn binary for a model of binary pixels. The
    result has the size of ``noisy``, also if the model pads images with zeros.

    Example:
        >>> denoise(run, corrupt(images)).shape
        torch.Size([200, 1, 8, 8])
    """
    _unconditional(model)
    given = unpadded_pixels(model, noisy, "noisy images")
    pixels = padded_pixels(model, given, "noisy images").float() / 255
    denoised = batched(model_of(model).reconstruct, pixels.to(device_of(model)), None)
    return cropped(denoised, *given.shape[-2:]).cpu()


@own_settings()
def denoising_gain(clean: Array, noisy: Array, denoised: Array) -> float:
    """The PSNR of the denoised images minus that of the noisy ones, in dB, averaged over images.

    Both PSNRs are measured against the clean images, which are rounded to 8 bits. Floats in the other two are used as
    they are.

    Example:
        >>> noisy = corrupt(images)
        >>> denoising_gain(images, noisy, noisy)
        0.0
    """
    three = [image_bytes(clean).float() / 255, *(pixel_values(part) for part in (noisy, denoised))]
    if len({part.shape for part in three}) > 1:
        raise UserError(f"the shapes of the images differ: {', '.join(str(tuple(part.shape)) for part in three)}")
    return psnr_gain(*three)


@own_settings()
def compression(
    model: Run | Variant, images: Array, train_images: Array, counts: Collection[int] | None = None
) -> dict[str, dict[int, float]]:
    """Squared error per pixel channel of ``images`` that are described by k numbers each.

    "code" keeps the first k principal components of the codes and decodes them; "pca" keeps the first k principal
    components of the images themselves. Both are fitted on ``train_images``. The errors are by k, for each k of
    ``counts`` that is possible (default: 1, 2, 4, ... and the size of a code). Raises :class:`UserError` for a model
    whose codes are not continuous, and for ``counts`` that are not whole numbers from 1.

    Example:
        >>> compression(run, images[150:], images[:150])["code"].keys()
        dict_keys([1, 2])
    """
    if counts is not None and not (isinstance(counts, Collection) and len(counts)):
        raise UserError(f"counts must be a list of whole numbers, such as [1, 2, 4], got {shown(counts)}")
    wanted = None if counts is None else sorted(whole_number("counts", k) for k in counts)
    codes, fitted_on = (continuous_codes(model, part) for part in (images, train_images))
    x, probe = observed(model, images)[0].cpu(), observed(model, train_images)[0].cpu()
    chosen = dimensions(codes.shape[1]) if wanted is None else wanted
    variant, device = model_of(model), device_of(model)

    def decoded(z: Tensor) -> Tensor:
        return batched(variant.image, z.to(device), None).cpu()

    return {"code": code_errors(decoded, codes, x, fitted_on, chosen), "pca": pca_errors(x, probe, chosen)}


def _unconditional(model: Run | Variant) -> None:
    if model_of(model).conditional:
        raise UserError("this is for a model without a condition: a code of a conditional one says only the rest")
