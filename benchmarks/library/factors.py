"""Known factors of variation of images, and how well the dimensions of a code represent them."""

from __future__ import annotations

from benchmarks.config import LARGEST_WHOLE, dataset_of
from benchmarks.data import Factors, data_root, load
from benchmarks.data.readers.factors import as_factors
from benchmarks.errors import UserError
from benchmarks.evaluation.disentanglement.scores import RANDOM_SPLITS, Disentanglement, scores
from benchmarks.library.checks import whole_number
from benchmarks.library.images import SPLITS, Array, as_array, code_tensor
from benchmarks.library.settings import own_settings
from variants.options import unknown


@own_settings()
def load_factors(dataset: str = "shapes", split: str = "test") -> Factors:
    """Load the factors of variation of a data set by its name.

    ``kinds`` are the factors, each with a name and its values. ``values`` (n, kinds) are the indices of the values that
    each image has, in the order of `load_images`. Raises :class:`UserError` for a data set whose factors are not known.

    Example:
        >>> found = load_factors("shapes", "test")
        >>> [(kind.name, kind.size) for kind in found.kinds]
        [('shape', 3), ('scale', 5), ('orientation', 15), ('x', 14), ('y', 14)]
    """
    if split not in SPLITS:
        raise UserError(unknown("split", split, SPLITS))
    data = load(dataset_of(dataset), data_root())
    found = data.factors_of(getattr(data, split))
    if found is None:
        raise UserError(f"the factors of variation of {dataset} are not known: set dataset.factors for your own images")
    return found


@own_settings()
def disentanglement(
    codes: Array, factors: Factors | Array, *, splits: int = RANDOM_SPLITS, seed: int = 0
) -> Disentanglement:
    """Score any codes (n, d), such as those of `represent`, against the factors of variation of their images.

    The scores are MIG, DCI, SAP, the beta-VAE and FactorVAE scores and modularity, with their ``means`` and ``spreads``
    over random splits.

    ``factors`` are those of `load_factors`, or an array (n,) or (n, factors) of numbers or texts, with at least ten
    images per value of a factor on average. Numbers are values of an ordered factor, which DCI and SAP fit by
    regression: give classes as texts. Raises :class:`UserError` for input that cannot be scored.

    Example:
        >>> found = disentanglement(represent(run, images), labels.astype(str), splits=2)
        >>> sorted(found.means)[:4]
        ['beta_vae_score', 'dci_completeness', 'dci_disentanglement', 'dci_informativeness']
    """
    points = code_tensor(codes)
    if not points.is_floating_point():
        raise UserError(f"codes are {points.dtype}; floats are needed: codes.float()")
    splits, seed = whole_number("splits", splits), whole_number("seed", seed, 0, LARGEST_WHOLE)
    try:
        return scores(points, known_factors(factors, len(points)), splits, seed)
    except ValueError as error:
        raise UserError(str(error)) from None


def known_factors(factors: Factors | Array, count: int) -> Factors:
    """The factors of ``count`` images; an array is converted. Raises :class:`UserError` if they do not fit."""
    if not isinstance(factors, Factors):
        array = as_array(factors, "factors")
        _check_count(array.shape[0] if array.ndim else 0, count)
        values, kinds = as_factors(array, count, None, "the images", read_numbers=False)
        return Factors(kinds, values)
    _check_count(len(factors), count)
    return factors


def _check_count(found: int, count: int) -> None:
    if found != count:
        raise UserError(f"there are {count} images and the factors of {found}")
