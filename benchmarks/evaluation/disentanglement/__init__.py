"""How well the dimensions of a code stand for the factors of variation of the images, one file a kind of score."""
