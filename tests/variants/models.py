"""Small models for the tests of variants."""

import torch
from torch import nn

import variants
from variants import Batch
from variants.parts.networks import MLP
from variants.parts.observations import observation_model

SHAPE = (1, 4, 4)
CLASSES = 3


class Layers(nn.Module):
    """A network with two layers of features, in place of a trained feature network."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3)

    def forward(self, x):
        return [x, self.convolution(x).sigmoid()]


def smallest_shape(cls):
    """The shape of images for tests of a variant: :data:`SHAPE`, or larger if the variant needs larger images."""
    side = max(SHAPE[-1], cls.smallest_side)
    return (1, side, side)


def small(name, shape=None, dtype=torch.float32, network=None, observation="bernoulli", **options):
    """A variant with few parameters, ready to train, from its registered name or a class, registered or not."""
    cls = variants.lookup(name) if isinstance(name, str) else name
    shape = shape or smallest_shape(cls)
    network = network or MLP(latent_size=3, hidden=[8], activation="tanh", grid_size=2)
    observation = observation_model(observation, shape, trained=cls.trains_observation)
    condition = (CLASSES,) if cls.conditional else None
    model = cls(cls.Config(**cls.small | options), shape, network, observation, condition)
    if model.needs_teacher:
        model.use_teacher(Layers().to(dtype))
    return model.to(dtype)


def batch(images, training_images=100):
    """A training batch of ``images`` whose labels run through the classes; the condition is the one-hot label."""
    labels = torch.arange(len(images)) % CLASSES
    return Batch(images, nn.functional.one_hot(labels, CLASSES).to(images.dtype), labels, training_images)


def binary_images(count, shape=SHAPE, dtype=torch.float32):
    return (torch.rand(count, *shape) < 0.4).to(dtype)
