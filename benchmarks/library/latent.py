"""Use of a trained model: encode and decode images, sample, interpolate, and map the latent space.

Functions take a model as a :class:`Run` or a :class:`variants.Variant`. They return tensors on the CPU, except
`observed`. The model is given images as its observation model sees them, see `observed`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from benchmarks.config import LARGEST_WHOLE
from benchmarks.data import observe_condition, observe_evaluation, with_zeros
from benchmarks.data.conditions import shows_pixels
from benchmarks.errors import UserError
from benchmarks.evaluation import latent_pictures, pictures
from benchmarks.evaluation.evaluate import BATCH, batched
from benchmarks.evaluation.representation import fit_mixture as fitted_mixture
from benchmarks.library.checks import number, whole_number
from benchmarks.library.images import (
    Array,
    as_array,
    as_batch,
    code_tensor,
    image_bytes,
    label_tensor,
    of_shape,
    pixel_values,
)
from benchmarks.library.randomness import drawn_from
from benchmarks.library.runs import Run, device_of, model_of, observation_of
from benchmarks.library.settings import own_settings
from benchmarks.wording import counted
from variants import Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def observed(model: Run | Variant, images: Array, labels: Array | None = None) -> tuple[Tensor, Tensor | None]:
    """Images as the model sees them, on its device, and their condition for a conditional model.

    The images are float32 (n, channels, height, width) in [0, 1]. If the condition (n, ...) is the class, it is made
    from ``labels``. For a model of binary pixels, grey images are binarised as on the boards, with draws from a fixed
    seed; pixels of 0 and 1 stay unchanged. Raises :class:`UserError` for images or labels that do not fit the model.
    """
    x = observe_evaluation(model_pixels(model, images), observation_of(model)).to(device_of(model))
    return x, _condition(model, x, labels)


def model_pixels(model: Run | Variant, images: Array, name: str = "images") -> Tensor:
    """Images as bytes of the shape that the model takes, uint8 (n, channels, height, width), on the CPU.

    They are padded with zeros if those of the model's data set are (``dataset.pad``). Raises :class:`UserError` for
    another shape.
    """
    return padded_pixels(model, unpadded_pixels(model, images, name), name)


def padded_pixels(model: Run | Variant, pixels: Tensor, name: str = "images") -> Tensor:
    """What `unpadded_pixels` returned, in the shape that the model takes."""
    pad = observation_of(model).pad
    if pad is not None and max(pixels.shape[-2:]) <= pad:
        pixels = with_zeros(pixels, pad)
    return of_shape(pixels, model_of(model).image_shape, name)


def unpadded_pixels(model: Run | Variant, images: Array, name: str = "images") -> Tensor:
    """Images as bytes, uint8 (n, channels, height, width), on the CPU, in the size in which they were given.

    A model of padded images (``dataset.pad``) takes them in any size up to its own, other models in their own alone.
    Raises :class:`UserError` for another shape.
    """
    shape = model_of(model).image_shape
    if observation_of(model).pad is None:
        return image_bytes(images, shape, name)
    array = as_array(images, name)
    single = (shape[0], *array.shape[-2:]) if array.ndim > 1 else None
    return image_bytes(as_batch(array, single), name=name)


@own_settings()
def encode(model: Run | Variant, images: Array, labels: Array | None = None) -> Tensor:
    """Encode images to their latent vectors z (n, latent): the posterior's mean, or the mode of a discrete posterior.

    `decode` turns these vectors into the images that `reconstruct` returns. ``labels`` are for a model that is given
    the class.

    Example:
        >>> encode(run, images).shape
        torch.Size([200, 2])
    """
    variant = model_of(model)
    return _of_images(
        model, images, labels, lambda x, condition: variant.code(variant.posterior(x, condition=condition))
    )


@own_settings()
def represent(model: Run | Variant, images: Array, labels: Array | None = None) -> Tensor:
    """Features (n, features) of images for another model, such as a classifier: the posterior's mean.

    The boards' linear probe and nearest-neighbour classifier use these features. If the latent vector is discrete, they
    differ from what `encode` returns.

    Example:
        >>> represent(run, images).shape
        torch.Size([200, 2])
    """
    return _of_images(model, images, labels, model_of(model).represent)


@own_settings()
def decode(model: Run | Variant, z: Array, labels: Array | None = None) -> Tensor:
    """Decode latent vectors ``z`` (n, latent) to mean images (n, channels, height, width).

    Raises :class:`UserError` if there are no vectors, or if the model does not decode them.

    Example:
        >>> decode(run, encode(run, images)).shape
        torch.Size([200, 1, 8, 8])
    """
    variant = model_of(model)
    z = code_tensor(z, "latent vectors").to(device_of(model))
    if z.is_floating_point():
        z = z.float()
    try:
        return batched(variant.image, z, _class_condition(model, labels, len(z))).cpu()
    except (RuntimeError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the model does not decode {z.dtype} vectors of {z.shape[1]} numbers: {reason}") from error


@own_settings()
def reconstruct(model: Run | Variant, images: Array, labels: Array | None = None) -> Tensor:
    """Reconstruct images: encode them and decode the result to mean images (n, channels, height, width).

    The images are decoded from the posterior's mean, or the mode of a discrete posterior, never from a draw.

    Example:
        >>> reconstruct(run, images).shape
        torch.Size([200, 1, 8, 8])
    """
    return _of_images(model, images, labels, model_of(model).reconstruct)


@own_settings()
def sample(
    model: Run | Variant,
    count: int | None = None,
    *,
    labels: Array | None = None,
    images: Array | None = None,
    seed: int | None = None,
) -> Tensor:
    """Draw from the prior and decode to mean images (count, channels, height, width).

    A conditional model is given the class of each sample, ``labels``, or completes ``images``, of which it sees a part.
    ``count`` is the number of these by default, and 64 without them. ``seed`` fixes the draws. Raises
    :class:`UserError` for a model without a prior, from which `fit_mixture` samples, for another ``count`` than that of
    the labels or images, and unless ``count`` is a whole number from 1.

    Example:
        >>> sample(run, 16, seed=0).shape
        torch.Size([16, 1, 8, 8])
    """
    variant = model_of(model)
    if reason := variant.unavailable().get("prior"):
        raise UserError(f"there are no samples: {reason}; fit_mixture(model, images).sample(count) draws codes instead")
    count = None if count is None else whole_number("count", count)
    if images is not None:
        if takes_classes(model) or not variant.conditional:
            given = "the class" if variant.conditional else "no condition"
            raise UserError(f"images have no effect here: the model is given {given}")
        x, condition = observed(model, images, labels)
        size = len(x)
    else:
        size = count or 64
        if labels is not None:
            size = whole_number("the number of labels", len(np.atleast_1d(as_array(labels, "labels"))))
        condition = _class_condition(model, labels, size)
    if count not in (None, size):
        given = "labels" if images is None else "images"
        raise UserError(f"count is {count}, but there are {size} {given}: leave out count")
    with drawn_from(seed, device_of(model), "samples"):
        rows = torch.arange(size).split(BATCH)
        drawn = [variant.sample(len(part), condition=None if condition is None else condition[part]) for part in rows]
    return torch.cat(drawn).cpu()


@dataclass(frozen=True)
class MixtureSampler:
    """A mixture of Gaussians over a model's codes, which replaces its prior; made by `fit_mixture`."""

    model: Run | Variant
    density: MixtureSameFamily

    @own_settings()
    def codes(self, count: int = 64, seed: int | None = None) -> Tensor:
        """Draw latent vectors (count, latent).

        Raises :class:`UserError` unless ``count`` is a whole number from 1.
        """
        count = whole_number("count", count)
        with drawn_from(seed, torch.device("cpu"), "mixture"):
            return self.density.sample(torch.Size([count])).float()

    def sample(self, count: int = 64, seed: int | None = None) -> Tensor:
        """Draw latent vectors and decode them to mean images (count, channels, height, width).

        Raises :class:`UserError` unless ``count`` is a whole number from 1.
        """
        return decode(self.model, self.codes(count, seed))


@own_settings()
def fit_mixture(model: Run | Variant, images: Array, components: int = 10, seed: int = 0) -> MixtureSampler:
    """Fit a mixture of Gaussians with full covariances to the codes of training ``images``.

    The result samples from this mixture instead of the prior. It is the mixture sampler of the boards, and the way to
    sample from a model that has no prior. Raises :class:`UserError` for discrete codes, conditional models, fewer
    images than ``components`` or than 2, and unless ``components`` is a whole number from 1.

    References:
        Ghosh et al., *From Variational to Deterministic Autoencoders*, ICLR 2020, section 4.
        https://arxiv.org/abs/1903.12436

    Example:
        >>> fit_mixture(run, images).sample(16, seed=0).shape
        torch.Size([16, 1, 8, 8])
    """
    components, seed = whole_number("components", components), whole_number("seed", seed, 0, LARGEST_WHOLE)
    codes = continuous_codes(model, images)
    if len(codes) < (least := max(2, components)):
        raise UserError(f"a mixture of {counted(components, 'Gaussian')} needs {least} images, got {len(codes)}")
    found = fitted_mixture(codes, components, seed)
    weights, means = torch.from_numpy(found.weights_), torch.from_numpy(found.means_)
    each = MultivariateNormal(means, torch.from_numpy(found.covariances_))
    return MixtureSampler(model, MixtureSameFamily(Categorical(weights), each))


@own_settings()
def interpolate(model: Run | Variant, start: Array, end: Array, steps: int = 8) -> Tensor:
    """Decode points on the straight line between the codes of two images, or of each pair of ``start`` and ``end``.

    Returns mean images (pairs, steps, channels, height, width). The first and last image of a line are reconstructions,
    except that a discrete variable next to the continuous ones always keeps the value of the start. Raises
    :class:`UserError` for a model without continuous latent variables, and unless ``steps`` is a whole number from 2.

    Example:
        >>> interpolate(run, images[:3], images[3:6], steps=5).shape
        torch.Size([3, 5, 1, 8, 8])
    """
    steps = whole_number("steps", steps, 2)
    first, last = _continuous(model, start), _continuous(model, end)
    if len(first.codes) != len(last.codes):
        raise UserError(f"start has {len(first.codes)} images and end has {len(last.codes)}: pairs are needed")
    ends = torch.stack([first.means, last.means], dim=1).flatten(0, 1)
    z = latent_pictures.interpolations(ends, steps)
    rest = first.codes[:, first.means.shape[1] :].repeat_interleave(steps, 0)
    return decode(model, torch.cat([z, rest], dim=1)).unflatten(0, (len(first.codes), steps))


@dataclass(frozen=True)
class LatentMap:
    """The positions of images in a two-dimensional view of the latent space; made by `latent_map`.

    ``positions`` (n, 2). ``labels`` (n,) or None. ``plane``: the origin and the two axes of the view in the latent
    space, with the standard deviation of the codes along each axis. ``rest``: the discrete part of the first image's
    code, which all decoded images share.
    """

    model: Run | Variant
    positions: Tensor
    labels: Tensor | None
    plane: latent_pictures.Plane
    rest: Tensor

    @own_settings()
    def decoded(self, side: int = 12, reach: float = latent_pictures.REACH) -> Tensor:
        """Decode a grid of ``side`` by ``side`` points in the view, to images (side * side, channels, height, width).

        The grid reaches ``reach`` standard deviations to each side of the centre. The images are in the order of rows:
        the first axis goes from left to right, the second from bottom to top. `image_grid` makes one picture of them.
        Raises :class:`UserError` unless ``side`` is a whole number from 1 and ``reach`` is a number from 0.
        """
        side, reach = whole_number("side", side), number("reach", reach)
        z = latent_pictures.plane_points(self.plane, torch.linspace(-reach, reach, side))
        return decode(self.model, torch.cat([z, self.rest.expand(len(z), -1)], dim=1))

    def plot(self, axes: Axes | None = None, **options: Any) -> Axes:
        """Draw the positions on matplotlib ``axes`` (default: the current axes) and return the axes.

        Each class has a colour, unless ``options``, which are those of ``Axes.scatter``, give a colour.
        """
        import matplotlib.pyplot as plt

        axes = plt.gca() if axes is None else axes
        if not options.keys() & {"linewidths", "linewidth", "lw"}:
            options["linewidths"] = 0
        options = {"s": 6, **options}
        if self.labels is None or options.keys() & {"c", "color"}:
            axes.scatter(*self.positions.T.numpy(), **options)
        else:
            classes, which = self.labels.unique(return_inverse=True)
            palette = "tab10" if len(classes) <= 10 else "tab20" if len(classes) <= 20 else "turbo"
            colours = plt.get_cmap(options.pop("cmap", palette), None if palette != "turbo" else len(classes))
            axes.scatter(*self.positions.T.numpy(), **options | {"c": colours(which.numpy())})
            if len(classes) <= 20:
                named = enumerate(map(str, classes.tolist()))
                handles = [axes.scatter([], [], color=colours(index), label=name) for index, name in named]
                axes.legend(handles=handles, title="class", fontsize="small", loc="best")
        axes.set_xlabel("first latent axis")
        axes.set_ylabel("second latent axis")
        return axes


@own_settings()
def latent_map(model: Run | Variant, images: Array, labels: Array | None = None) -> LatentMap:
    """Map the codes of ``images`` to two dimensions.

    For a model with two latent dimensions, the map shows these. For more, it shows the plane in which the codes vary
    most. The class ``labels`` give colours. Raises :class:`UserError` for a model without continuous latent variables,
    and for a conditional model.

    Example:
        >>> latent_map(run, images, labels).positions.shape
        torch.Size([200, 2])
    """
    found = _continuous(model, images)
    classes = None if labels is None else label_tensor(labels, len(found.codes))
    if classes is not None and classes.dim() != 1:
        raise UserError(f"a map shows one label per image, got labels of shape {tuple(classes.shape)}")
    plane = latent_pictures.principal_plane(found.means)
    rest = found.codes[:1, found.means.shape[1] :]
    return LatentMap(model, plane.coordinates(found.means), classes, plane, rest)


@own_settings()
def image_grid(images: Array, columns: int | None = None) -> np.ndarray:
    """Arrange images in one picture for ``plt.imshow``, row by row with one pixel between them.

    Returns uint8 (height, width) for grey images, in which 255 is white, or (height, width, 3) for RGB images. Pixels
    outside [0, 1], which a decoder with a linear output returns, are clamped. Raises :class:`UserError` unless
    ``columns`` is a whole number from 1.

    Example:
        >>> image_grid(images[:6], columns=3).shape
        (19, 28)
    """
    pixels = pixel_values(images)
    columns = pictures.columns_for(pixels) if columns is None else whole_number("columns", columns)
    sheet = pictures.grid(pixels, columns)
    return sheet.squeeze(-1).numpy()


def continuous_codes(model: Run | Variant, images: Array) -> Tensor:
    """Codes (n, latent) of a model without discrete latent variables and without a condition.

    Raises :class:`UserError` for other models.
    """
    found = _continuous(model, images)
    if found.codes.shape != found.means.shape:
        raise UserError("a continuous latent vector is needed, and a part of this one is discrete")
    return found.codes


@dataclass(frozen=True)
class _Codes:
    """Codes of images, on the CPU.

    ``codes`` are (n, latent). ``means`` (n, d) are their continuous part, which comes first.
    """

    codes: Tensor
    means: Tensor


def _continuous(model: Run | Variant, images: Array) -> _Codes:
    """The codes of images.

    Raises :class:`UserError` for a model without continuous latent variables, and for a conditional model.
    """
    variant = model_of(model)
    if reason := variant.unavailable().get("continuous_latent"):
        raise UserError(f"the latent vector is not continuous: {reason}")
    if variant.conditional:
        raise UserError("the latent vector of a conditional model says only what its condition does not")
    x, _ = observed(model, images)
    codes = batched(lambda x, condition: variant.code(variant.posterior(x)), x, None).cpu()
    return _Codes(codes, codes[:, : variant.latent_means(x[:1]).shape[1]])


def _of_images(model: Run | Variant, images: Array, labels: Array | None, function: Callable[..., Tensor]) -> Tensor:
    x, condition = observed(model, images, labels)
    return batched(function, x, condition).cpu()


def takes_classes(model: Run | Variant) -> bool:
    """Whether the condition of the model is the class of an image."""
    variant = model_of(model)
    return variant.conditional and variant.condition_shape is not None and len(variant.condition_shape) == 1


def _condition(model: Run | Variant, x: Tensor, labels: Array | None) -> Tensor | None:
    """The condition of a conditional model for images ``x``: class or pixels; None for other models."""
    dataset = observation_of(model)
    if shows_pixels(dataset.condition):
        if labels is not None:
            raise UserError("labels have no effect here: the model is given a part of the image")
        return observe_condition(x, None, dataset, model_of(model).condition_shape)
    return _class_condition(model, labels, len(x))


def _class_condition(model: Run | Variant, labels: Array | None, count: int) -> Tensor | None:
    """Class labels as a conditional model takes them, one-hot (count, classes); None for other models."""
    variant = model_of(model)
    shape = variant.condition_shape
    if not variant.conditional or shape is None:
        if labels is not None:
            raise UserError("labels have no effect here: the model is given no condition")
        return None
    if len(shape) != 1:
        if not isinstance(model, Run):
            raise UserError("the model is given a part of the image, and only a run knows which: use fit or load_run")
        raise UserError("the model is given a part of the image: give it the images")
    if labels is None:
        raise UserError(
            f"the model is given the class of each image: labels, {count} of 0 to {shape[0] - 1}, are needed"
        )
    classes = label_tensor(labels, count, classes=shape[0])
    if classes.dim() != 1 or int(classes.max()) >= shape[0]:
        found = f"shape {tuple(classes.shape)}" if classes.dim() != 1 else f"classes up to {int(classes.max())}"
        raise UserError(f"labels must be {count} classes from 0 to {shape[0] - 1}, got {found}")
    return F.one_hot(classes, shape[0]).float().to(device_of(model))
