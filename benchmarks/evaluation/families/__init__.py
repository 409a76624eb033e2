"""One file a family of metrics: what each metric means and needs, and how it is computed.

A file registers its :class:`benchmarks.records.catalogue.Family` when it is imported; being in this folder is enough to
be found. Reports read labels from these files on machines without torch, so that a file imports nothing heavy at its
top: torch and the mathematics, pure functions in the folder above, are imported inside ``compute``.
"""
