"""What a board shows of disentanglement in addition to the table of scores: their spread, and two pictures."""
