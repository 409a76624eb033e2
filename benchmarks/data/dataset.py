"""Loaded data sets, and the configuration that selects a data set and how its images are observed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.errors import UserError
from benchmarks.wording import counted
from variants.options import added, between, not_negative, one_of, positive, without_effect
from variants.parts.observations import OBSERVATION_MODELS, check_observation

BINARISATIONS = ("none", "dynamic", "fixed", "threshold")
CONDITIONS = ("none", "label", "quadrants-1", "quadrants-2", "quadrants-3")
# Source -> its source-specific options. A source without such an option rejects it, so that no option is silently
# ignored.
SOURCE_OPTIONS: dict[str, tuple[str, ...]] = {
    "mnist": ("image_size",),
    "fashion_mnist": ("image_size",),
    "digits": ("image_size",),
    "celeba": ("image_size", "crop"),
    "folder": ("path", "image_size", "channels", "validation_share", "test_share", "factors"),
    "array": ("path", "labels", "validation_share", "test_share", "factors"),
    "shapes": ("path", "image_size", "validation_share", "test_share"),
}
# Sources that read the user's own images, from dataset.path.
OWN_FILES = ("folder", "array")
# Source -> height and width of its images, for sources with a fixed image size.
SIDES = {"mnist": 28, "fashion_mnist": 28, "digits": 8}
# Options that affect how images are used (observed, shown, trained on), but not which images are loaded.
OBSERVED = (
    "title", "observation", "scale", "binarise", "show_originals", "condition", "outliers", "loss", "loss_weight",
    "output",
)  # fmt: skip
# Source -> number of channels, for sources where it is fixed.
CHANNELS = {"mnist": 1, "fashion_mnist": 1, "digits": 1, "celeba": 3, "shapes": 1}
# Source -> number of classes, for sources where it is known before loading.
CLASSES = {"mnist": 10, "fashion_mnist": 10, "digits": 10, "shapes": 3}
# Possible heights and widths of the images of source "shapes". The last one is also that of dSprites.
SHAPES_SIDES = (32, 64)
# Source -> the data set whose test images are the outliers if dataset.outliers is "default".
DEFAULT_OUTLIERS = {"mnist": "fashion_mnist", "fashion_mnist": "mnist", "celeba": "fashion_mnist", "digits": "mnist"}


@dataclass(frozen=True)
class Factor:
    """A factor of variation of the images.

    ``values`` are the values that the factor takes, in order. A factor with numeric values is ordered; a factor with
    text values is not.
    """

    name: str
    values: tuple[float, ...] | tuple[str, ...]

    @property
    def size(self) -> int:
        """Number of values that the factor takes."""
        return len(self.values)

    @property
    def is_ordered(self) -> bool:
        """Whether the values are numbers."""
        return not isinstance(self.values[0], str)


@dataclass(frozen=True)
class Factors:
    """The factors of variation of a set of images, and the value of each factor for each image.

    ``kinds`` are the factors. ``values``, int64 (n, kinds), are indices into the values of the factors.
    """

    kinds: tuple[Factor, ...]
    values: Tensor

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Split:
    """One split of a data set.

    ``images``: uint8 (n, channels, height, width), in memory or on a memory map. ``labels``: int64, classes (n,) or
    attributes (n, attributes) in {0, 1}; or None. ``factors``: int64 (n, factors), the index of each image's value of
    each factor of the data set; or None.
    """

    images: Tensor
    labels: Tensor | None
    factors: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def of(self, rows: slice | Tensor) -> Split:
        """The images at ``rows``, with their labels and factors. A slice gives views."""
        labels, factors = (None if known is None else known[rows] for known in (self.labels, self.factors))
        return Split(self.images[rows], labels, factors)


@dataclass(frozen=True)
class Dataset:
    """A loaded data set.

    ``title``: its name in reports. ``sha256``: the digest of the bytes that it was made from. ``classes``: the number
    of classes, or of attributes, in the labels (0 without labels). ``unpadded``: the data set before zero padding; None
    if it is not padded. ``left_out``: the test images of the classes that were left out, if any. ``factors``: the known
    factors of variation of the images.
    """

    name: str
    title: str
    train: Split
    validation: Split
    test: Split
    sha256: str
    classes: int = 0
    unpadded: Dataset | None = None
    left_out: Split | None = None
    factors: tuple[Factor, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of an image: (channels, height, width)."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def with_images(self, change: Callable[[Tensor], Tensor], how: str) -> Dataset:
        """The data set with the images of every split changed, and with a digest of its own: that of the old one and
        ``how`` the images were changed."""

        def changed(split: Split) -> Split:
            return dataclasses.replace(split, images=change(split.images))

        return dataclasses.replace(
            self,
            train=changed(self.train),
            validation=changed(self.validation),
            test=changed(self.test),
            left_out=None if self.left_out is None else changed(self.left_out),
            sha256=hashlib.sha256(f"{self.sha256} {how}".encode()).hexdigest(),
        )

    def factors_of(self, split: Split) -> Factors | None:
        """The factors of variation of one of the data set's splits; None if they are not known."""
        return None if split.factors is None else Factors(self.factors, split.factors)


@dataclass
class DatasetConfig:
    """The data of a board: which images are loaded, and how models observe them.

    ``name`` is the name of the board. ``source`` selects the loader. ``observation`` is the observation model of every
    variant. ``scale`` fixes its standard deviation or width, in units of [0, 1] (None: learned, or fitted after
    training).

    ``binarise`` "dynamic" draws a pixel as 1 with probability byte / 255: anew for every training batch, and once from
    a fixed seed for validation and test. "fixed" draws training images once, too. "threshold" does not draw: a pixel is
    1 if its byte is 128 or more. ``train_on_validation`` adds the validation images to the training images (60,000
    instead of 50,000 for MNIST); validation then measures on training images.

    ``no_split``: all images are used for training, validation and test, as is usual in work on clustering. The
    resulting numbers are not those of held-out images.

    ``image_size``: images are resized to squares with this side in pixels, by antialiased bilinear interpolation. None
    keeps their size, which must then be the same for all images (CelebA: None is 64). ``crop``: the side of the centre
    crop before the resize, in pixels of CelebA's aligned 178x218 image.

    Your own images: ``path`` is a folder of image files, or an ``.npz``, ``.npy`` or IDX file, absolute or below the
    data root; with source "shapes" it is the file of dSprites. ``show_originals`` False keeps the data set's own images
    out of every picture, for images that may not be published. ``labels``: the file with an array's labels, or the name
    of the labels in an ``.npz``. ``channels``: 1 reads a folder's images as grey, 3 as RGB. ``validation_share`` and
    ``test_share`` are the shares of a fixed shuffle that become these splits. ``factors``: the factors of variation of
    the images, for disentanglement metrics. For a folder it is a CSV file, absolute or below the data root, with a
    column "file" (paths below the folder) and a column for each factor. For an ``.npz`` it is the name of an array
    (n, factors), by default "factors" if there is an array of that name.

    ``condition`` is the input of conditional models: "label" is the image's class. The other values give a part of the
    image's pixels, and the model predicts the rest: "quadrants-1" gives the bottom left quadrant, "quadrants-2" the
    left half, "quadrants-3" all but the bottom right quadrant. Quadrants need images with even sides.

    ``loss`` "cross_entropy" or "squared_error" replaces the likelihood of grey pixels in the training of every variant
    that trains the likelihood. It is summed over pixels and multiplied by ``loss_weight``. It is an objective, not a
    likelihood: the ELBO and log p(x) are those of ``observation``, with its scale fitted after training. ``output``
    "linear" uses the decoder's output as pixels, "sigmoid" its sigmoid.

    ``pad``: images are padded with zeros, evenly on all sides, to this height and width in pixels. The padding counts
    like any other pixels: models see it, and likelihoods, errors and bits per dimension include it. The data set's own
    classifier judges the images without it.

    ``outliers`` names the data set whose test images are to be distinguished from those of this one. "default" is
    Fashion-MNIST for MNIST and CelebA, MNIST for Fashion-MNIST and digits, and no data set for other sources; "none" is
    no data set. ``left_out`` is a class whose images are left out of training, validation and test; its test images are
    outliers, too. ``normal_classes`` leaves out all classes except these, as in one-class anomaly detection.
    """

    name: str = ""
    source: str = ""
    title: str = ""
    observation: str = "bernoulli"
    scale: float | None = None
    binarise: str = "none"
    train_on_validation: bool = False
    image_size: int | None = None
    crop: int | None = None
    path: str | None = None
    labels: str | None = None
    channels: int | None = None
    validation_share: float = 0.1
    test_share: float = 0.1
    show_originals: bool = True
    condition: str = added("none")
    loss: str = added("likelihood")
    loss_weight: float = added(1.0)
    output: str = added("sigmoid")
    pad: int | None = added(None)
    outliers: str = added("default")
    left_out: int | None = added(None)
    normal_classes: list[int] | None = added(None)
    no_split: bool = added(False)
    factors: str | None = added(None)

    def __post_init__(self) -> None:
        check_observation(self.observation, self.scale, self.loss, self.loss_weight, self.output)
        one_of("dataset.condition", self.condition, CONDITIONS)
        one_of("dataset.binarise", self.binarise, BINARISATIONS)
        if OBSERVATION_MODELS[self.observation].binary and self.binarise == "none":
            raise ValueError(
                f"dataset.observation={self.observation} needs binary pixels: a Bernoulli likelihood is "
                "undefined for grey pixels; set dataset.binarise=dynamic or another observation model"
            )
        if self.binarise != "none" and not OBSERVATION_MODELS[self.observation].binary:
            raise ValueError(f"dataset.binarise={self.binarise} needs dataset.observation=bernoulli")
        if self.source:
            self._check_source_options()
        if self.no_split and self.train_on_validation:
            raise ValueError("dataset.train_on_validation has no effect with dataset.no_split=true")
        if self.image_size is not None:
            between("dataset.image_size", self.image_size, 4, 1024)
        if self.crop is not None:
            between("dataset.crop", self.crop, 8, 178)
        if self.pad is not None:
            between("dataset.pad", self.pad, self.image_size or SIDES.get(self.source, 4), 1024)
        if self.condition.startswith("quadrants") and (self.side or 0) % 2:
            which = "image_size" if self.pad is None else "pad"
            raise ValueError(f"dataset.condition={self.condition} needs an even {which}, got {self.side}")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"dataset.channels must be 1 (grey) or 3 (RGB), got {self.channels}")
        if self.left_out is not None:
            self._check_class("left_out", self.left_out)
        if self.normal_classes is not None:
            self._check_normal_classes(self.normal_classes)
        if self.condition != "none":
            why = "images given a condition are not told from outliers"
            without_effect("dataset.outliers", self.outliers, "default", why)
        positive("dataset.validation_share", self.validation_share)
        positive("dataset.test_share", self.test_share)
        if self.validation_share + self.test_share >= 1:
            raise ValueError("dataset.validation_share and dataset.test_share leave no training images")

    @property
    def side(self) -> int | None:
        """Height and width of the images in pixels; None if the configuration does not determine it."""
        return self.pad or self.image_size or SIDES.get(self.source)

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """(channels, height, width) of the images; None if the configuration does not determine it."""
        channels = self.channels or CHANNELS.get(self.source)
        return None if channels is None or self.side is None else (channels, self.side, self.side)

    @property
    def images(self) -> str:
        """A text that is equal for configurations that load the same images, however these are observed."""
        options = {option.name: getattr(self, option.name) for option in dataclasses.fields(self)}
        return repr({name: value for name, value in options.items() if name not in OBSERVED})

    @property
    def outlier_name(self) -> str | None:
        """The name of the data set whose test images are outliers; None if there is none."""
        if self.outliers == "default":
            return DEFAULT_OUTLIERS.get(self.source)
        return None if self.outliers == "none" else self.outliers

    def _check_class(self, option: str, of: int) -> None:
        not_negative(f"dataset.{option}", of)
        if self.source == "celeba":
            raise ValueError(f"dataset.{option}={of} needs classes, but celeba has attributes")
        if of >= (classes := CLASSES.get(self.source, of + 1)):
            raise ValueError(
                f"dataset.{option}={of} is not a class of {self.source}: its classes are 0 to {classes - 1}"
            )

    def _check_normal_classes(self, normal: list[int]) -> None:
        if self.left_out is not None:
            raise ValueError(
                "dataset.left_out has no effect beside dataset.normal_classes, which leaves out the others"
            )
        for of in normal:
            self._check_class("normal_classes", of)
        if normal != sorted(set(normal)) or not normal:
            raise ValueError(f"dataset.normal_classes must be one or more classes in rising order, got {normal}")
        if len(normal) == CLASSES.get(self.source):
            raise ValueError(
                f"dataset.normal_classes={normal} leaves out nothing: these are all classes of {self.source}"
            )

    def _check_source_options(self) -> None:
        one_of("dataset.source", self.source, SOURCE_OPTIONS)
        if self.source in OWN_FILES and not self.path:
            raise ValueError(f"dataset.source={self.source} needs dataset.path, where the images are")
        if self.source == "shapes":
            self._check_shapes()
        defaults = {option.name: option.default for option in dataclasses.fields(self)}
        for option in sorted({name for names in SOURCE_OPTIONS.values() for name in names}):
            given = getattr(self, option)
            if given != defaults[option] and option not in SOURCE_OPTIONS[self.source]:
                owners = [source for source, names in SOURCE_OPTIONS.items() if option in names]
                raise ValueError(
                    f"dataset.{option}={given} has no effect with source {self.source!r}, only with {', '.join(owners)}"
                )

    def _check_shapes(self) -> None:
        if self.path is not None and self.image_size != SHAPES_SIDES[-1]:
            raise ValueError(
                f"dataset.path is for dSprites, whose images have {SHAPES_SIDES[-1]} pixels a side: set "
                f"dataset.image_size={SHAPES_SIDES[-1]}, got {self.image_size}"
            )
        if self.image_size not in SHAPES_SIDES:
            sides = " or ".join(map(str, SHAPES_SIDES))
            raise ValueError(f"dataset.image_size must be {sides} with source 'shapes', got {self.image_size}")


def partition(images: Split, sizes: tuple[int, ...]) -> list[Split]:
    """Split ``images`` into consecutive parts of the given sizes, as views."""
    ends = torch.tensor(sizes).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    return [images.of(slice(a, b)) for a, b in zip(starts, ends, strict=True)]


def train_and_validation(images: Split, train_size: int, train_on_validation: bool) -> tuple[Split, Split]:
    """The training and validation splits of ``images``, which has the training images first.

    With ``train_on_validation`` the training split is all of ``images``.
    """
    train, validation = partition(images, (train_size, len(images) - train_size))
    return (images if train_on_validation else train), validation


def shares(count: int, config: DatasetConfig) -> tuple[Tensor, tuple[int, int, int]]:
    """A fixed shuffle (count,) of images without an official split, and the sizes of the splits.

    The sizes are those of training, validation and test. Raises :class:`UserError` if a split would be empty.
    """
    validation, test = round(config.validation_share * count), round(config.test_share * count)
    sizes = (count - validation - test, validation, test)
    if min(sizes) < 1:
        split = "training {}, validation {}, test {}".format(*sizes)
        raise UserError(f"{counted(count, 'image')} cannot be split: {split}")
    return torch.randperm(count, generator=torch.Generator().manual_seed(0)), sizes


def splits_of(
    config: DatasetConfig,
    images: Split,
    sizes: tuple[int, ...],
    sha256: str,
    classes: int,
    factors: tuple[Factor, ...] = (),
) -> Dataset:
    """The data set of ``images``, which are in the order training, validation, test."""
    learning, test = partition(images, (sizes[0] + sizes[1], sizes[2]))
    train, validation = train_and_validation(learning, sizes[0], config.train_on_validation)
    return Dataset(config.name, config.title, train, validation, test, sha256, classes, factors=factors)
