"""What helps to read the boards: which variant for what, what the metrics mean, where defaults come from."""
