"""An autoencoder that restores pixels it was not shown."""

import torch

from variants import Autoencoder, register


@register("dropping_ae")
class DroppingAutoencoder(Autoencoder):
    """Autoencoder that sees 70% of the pixels:  loss = |x - G(Q(T(x)))|^2"""

    def corrupt(self, x):
        return x * (torch.rand_like(x) < 0.7)
