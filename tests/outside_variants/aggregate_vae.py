"""A VAE whose loss needs the number of training images."""

import math

from variants import Variant, register


@register("aggregate_vae")
class AggregateVAE(Variant):
    """VAE with a penalty on q(z):  loss = r + KL + [log q(z) - log p(z)],  q(z) from the batch, weighted by N"""

    batch_statistics = ("aggregate",)

    def regulariser(self, step):
        z = step.z[0]
        pairs = step.q.log_prob(z.unsqueeze(1))  # (draw, image): each draw under each posterior
        log_q = pairs.logsumexp(1) - math.log(len(z) * step.batch.training_images)
        return step.kl + step.log("aggregate", (log_q - self.prior().log_prob(z)).mean())
