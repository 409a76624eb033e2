"""Marks of numbers that need care: bounds, and times that are hard to compare."""
