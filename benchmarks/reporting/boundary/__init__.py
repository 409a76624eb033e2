"""Modules that handle what reports do not control: files in run folders, matplotlib settings, the output folder."""
