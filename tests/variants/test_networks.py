"""Network bodies: input and output shapes, sizes that do not fit, and agreement with the configuration."""

import pytest
import torch
from torch import nn

import variants
from variants.parts.networks import MLP, NETWORKS, Conv, Linear

from .models import batch, binary_images, small

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 64, 64), (3, 32, 48)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_encoders_and_decoders_have_the_shapes_they_were_asked_for(name, shape):
    network = NETWORKS[name]()
    assert network.encoder(shape, 7)(torch.rand(2, *shape)).shape == (2, 7)
    assert network.decoder(5, shape)(torch.rand(2, 5)).shape == (2, *shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("network", [MLP(), Conv(width=4), Conv(width=4, grid_stages=1)])
def test_a_grid_of_codes_goes_there_and_back(network, shape):
    maps = network.grid_encoder(shape, 6)(torch.rand(2, *shape))
    assert maps.shape == (2, 6, *network.grid(shape))
    assert network.grid_decoder(6, shape)(maps).shape == (2, *shape)


def convolutions(body, kind):
    return [module for module in body.modules() if type(module) is kind]


@pytest.mark.parametrize(("shape", "stages", "grid"), [((1, 28, 28), 2, (7, 7)), ((3, 64, 64), 4, (8, 8))])
def test_stages_follow_from_the_size_of_the_images(shape, stages, grid):
    network = Conv(width=4)
    widths = [layer.out_channels for layer in convolutions(network.encoder(shape, 7), nn.Conv2d)]
    assert widths == [4 * 2**stage for stage in range(stages)]
    ups = [layer.out_channels for layer in convolutions(network.decoder(5, shape), nn.ConvTranspose2d)]
    assert ups == [*reversed(widths[:-1]), shape[0]]
    assert network.grid(shape) == grid


def test_a_grid_code_sees_its_own_part_of_the_image_only():
    # Each position of a spatial code belongs to a place in the image: distant pixels have no influence on it.
    encoder = Conv(width=4).grid_encoder((1, 64, 64), 3).eval()
    x = torch.rand(1, 1, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(x)[0, :, 0, 0].sum(), x)
    assert gradient[..., :8, :8].abs().sum() > 0
    assert gradient[..., 32:, :].abs().sum() == 0
    assert gradient[..., :, 32:].abs().sum() == 0


def test_a_residual_block_adds_to_what_it_is_given():
    plain, residual = Conv(width=4, normalisation="none"), Conv(width=4, residual=2, normalisation="none")
    body = residual.encoder((1, 8, 8), 3)
    blocks = [module for module in body.modules() if type(module).__name__ == "ResidualBlock"]
    assert len(blocks) == 2
    x = torch.rand(2, 4, 5, 5)
    assert torch.allclose(blocks[0](x) - x, blocks[0].body(x), atol=1e-6)
    count = [sum(p.numel() for p in network.encoder((1, 8, 8), 3).parameters()) for network in (plain, residual)]
    assert count[1] - count[0] == 2 * (4 * 4 * 9 + 4 + 4 * 4 + 4)


@pytest.mark.parametrize(("normalisation", "layer"), [("batch", nn.BatchNorm2d), ("group", nn.GroupNorm)])
def test_normalisation_follows_every_convolution_but_the_last(normalisation, layer):
    network = Conv(width=8, normalisation=normalisation)
    assert len(convolutions(network.encoder((3, 64, 64), 3), layer)) == 4
    assert len(convolutions(network.decoder(3, (3, 64, 64)), layer)) == 3


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (Conv(), (1, 27, 28), "cannot take images of 27x28"),
        (Conv(), (1, 4, 4), "can be halved 0 times"),
        (Conv(stages=3), (1, 28, 28), "with 3 stages cannot take images of 28x28"),
    ],
)
def test_an_image_size_that_does_not_halve_is_refused(network, shape, message):
    with pytest.raises(ValueError, match=message):
        network.encoder(shape, 3)
    with pytest.raises(ValueError, match=message):
        network.decoder(3, shape)
    with pytest.raises(ValueError, match=message):
        network.grid(shape)


def test_a_linear_network_has_no_grid():
    with pytest.raises(ValueError, match="network linear has no grid of codes"):
        Linear().grid((1, 28, 28))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, r"network\.width must be above 0"),
        ({"stages": 0}, r"network\.stages must be above 0"),
        ({"residual": -1}, r"network\.residual must be 0 or above"),
        ({"normalisation": "bach"}, "did you mean 'batch'"),
        ({"activation": "swish"}, r"unknown network\.activation 'swish'"),
        ({"latent_size": 0}, r"network\.latent_size must be above 0"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Conv(**options)


FITS = [(name, network) for name in variants.names() for network in sorted(NETWORKS)]


@pytest.mark.parametrize(("name", "network"), FITS)
def test_every_variant_trains_with_every_network_or_is_refused_with_the_reason(name, network):
    shape = (1, 8, 8)
    if name == "vq_vae" and network in ("linear", "layers"):
        with pytest.raises(ValueError, match=f"network {network} has no grid of codes"):
            small(name, shape, network=NETWORKS[network]())
        return
    model, x = small(name, shape, network=NETWORKS[network](latent_size=3)), binary_images(4, shape)
    groups = model.parameter_groups()
    for group, value in model.loss(batch(x), torch.tensor(0.5)).by_group.items():
        gradients = torch.autograd.grad(value, groups[group].parameters, allow_unused=True, retain_graph=True)
        assert value.isfinite()
        assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)
    model.eval()
    condition = batch(x).condition if model.conditional else None
    assert model.reconstruct(x, condition=condition).shape == x.shape
    if "prior" not in model.unavailable():
        assert model.sample(4, condition=condition).shape == (4, *shape)
