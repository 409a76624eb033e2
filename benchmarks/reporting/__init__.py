"""Reports: a pure function of the records below a results folder. Nothing here imports torch."""

# Before anything else that imports matplotlib.
from .boundary import plotting  # noqa: F401
from .boundary.output import check_folder
from .pages import write_reports

__all__ = ["check_folder", "write_reports"]
