"""Pages that help to read the boards: which variant for what, and what the metrics mean."""
