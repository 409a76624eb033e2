"""Data sets: one file per source, where bytes come from, how they are verified and observed."""

from .dataset import Dataset, DatasetConfig, Split
from .loading import load
from .preprocess import observe_evaluation, observe_training, training_images
from .residency import place
from .sources import cache_root, data_root

__all__ = [
    "Dataset",
    "DatasetConfig",
    "Split",
    "cache_root",
    "data_root",
    "load",
    "observe_evaluation",
    "observe_training",
    "place",
    "training_images",
]
