"""Reports, generated from the records in a results folder alone. This package does not import torch."""

# Must be imported before any other module that imports matplotlib.
from .boundary import plotting  # noqa: F401
from .boundary.output import check_folder
from .pages import write_reports

__all__ = ["check_folder", "write_reports"]
