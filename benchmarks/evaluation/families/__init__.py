"""Families of metrics, one per file: what each metric means and needs, and how it is computed.

A file registers its :class:`benchmarks.records.catalogue.Family` when it is imported. All files in this folder are
discovered automatically. Reports read labels from these files on machines without torch, so a file imports nothing
heavy at the top: torch, and the functions of the folder above that do the mathematics, are imported inside ``compute``.
"""
