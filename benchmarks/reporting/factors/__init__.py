"""What a board shows of disentanglement beside the table of scores: where scores spread, and two pictures."""
