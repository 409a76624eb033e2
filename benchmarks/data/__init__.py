"""Data sets: one reader per source, and the download, verification and preprocessing of images."""

from .conditions import batches, condition_shape, hide_given, missing, observe_condition, scored
from .dataset import CONDITIONS, Dataset, DatasetConfig, Factor, Factors, Split
from .loading import DOWNLOADED, load
from .outliers import in_shape
from .padding import cropped, with_zeros
from .preprocess import observe_evaluation, observe_training, training_images
from .residency import place
from .sources import cache_root, data_root, feature_cache
from .values import check_training_images

__all__ = [
    "CONDITIONS",
    "DOWNLOADED",
    "Dataset",
    "DatasetConfig",
    "Factor",
    "Factors",
    "Split",
    "batches",
    "cache_root",
    "check_training_images",
    "condition_shape",
    "cropped",
    "data_root",
    "feature_cache",
    "hide_given",
    "in_shape",
    "load",
    "missing",
    "observe_condition",
    "observe_evaluation",
    "observe_training",
    "place",
    "scored",
    "training_images",
    "with_zeros",
]
