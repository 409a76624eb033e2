"""Data sets: one file per source, where bytes come from, how they are verified and observed."""

from .conditions import batches, condition_shape, hide_given, missing, observe_condition, scored
from .dataset import CONDITIONS, Dataset, DatasetConfig, Split
from .loading import load
from .padding import cropped
from .preprocess import observe_evaluation, observe_training, training_images
from .residency import place
from .sources import cache_root, data_root
from .values import check_training_images

__all__ = [
    "CONDITIONS",
    "Dataset",
    "DatasetConfig",
    "Split",
    "batches",
    "cache_root",
    "check_training_images",
    "condition_shape",
    "cropped",
    "data_root",
    "hide_given",
    "load",
    "missing",
    "observe_condition",
    "observe_evaluation",
    "observe_training",
    "place",
    "scored",
    "training_images",
]
