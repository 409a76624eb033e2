"""Scores of how well the dimensions of a code match the factors of variation, one file per kind of score."""
