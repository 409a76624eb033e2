"""Metrics: one file per family, functions of tensors. The catalogue says what each number means."""
