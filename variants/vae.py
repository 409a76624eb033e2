"""The plain variational autoencoder."""

from .base import Variant
from .registry import register


@register("vae")
class VAE(Variant):
    """Variational autoencoder, trained with the negative ELBO.

        loss = r + KL

    ``samples`` above 1 averages the ELBO over more than one draw of z (the k > 1 rows of Burda et al. 2016, Table 1).

    References:
        Kingma & Welling, *Auto-Encoding Variational Bayes*, ICLR 2014, eq. 7. https://arxiv.org/abs/1312.6114
        Rezende, Mohamed & Wierstra, *Stochastic Backpropagation*, ICML 2014. https://arxiv.org/abs/1401.4082
    """

    family = "bounds"
    forms = ({"samples": 3}, {"analytic_kl": False}, {"kl_warmup": 0.5})
