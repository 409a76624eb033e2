"""Reports: a pure function of the records below a results folder. Nothing here imports torch."""

from .pages import write_reports

__all__ = ["write_reports"]
