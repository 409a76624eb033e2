"""An adversarial autoencoder: a critic distinguishes codes from draws of the prior."""

import torch.nn.functional as F
from torch import nn

from variants import Autoencoder, Loss, ParameterGroup, register


@register("adversarial_ae")
class AdversarialAutoencoder(Autoencoder):
    """Adversarial autoencoder:  loss = |x - G(z)|^2 - log D(z),  critic loss = -log D(p) - log(1 - D(z))"""

    batch_statistics = ("fooling", "critic")

    def build(self, network):
        super().build(network)
        self.critic = nn.Sequential(nn.Linear(self.latent_size, 16), nn.ReLU(), nn.Linear(16, 1))

    def loss(self, batch, progress):
        step = self.forward_pass(batch, progress)
        r = step.log("reconstruction", self.reconstruction(step).mean(0))
        z, drawn = step.z[0], self.prior().sample((len(batch.images),))
        fooling = step.log("fooling", F.softplus(-self.critic(z)).mean())
        told_apart = F.softplus(self.critic(z.detach())).mean() + F.softplus(-self.critic(drawn)).mean()
        return Loss({"model": r.mean() + fooling, "critic": step.log("critic", told_apart)}, step.terms)

    def parameter_groups(self):
        return self.model_and(critic=ParameterGroup(list(self.critic.parameters()), {"learning_rate": 1e-4}))

    def unavailable(self):
        return {"posterior_density": "deterministic encoder: q(z|x) is a point mass and has no density"}
