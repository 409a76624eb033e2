"""Networks written layer by layer, and initial weights, against the numbers of the scripts that they reproduce."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import variants
from benchmarks.config import compose
from benchmarks.errors import UserError
from variants.parts.initialisation import INITIALISATIONS, initialise
from variants.parts.layers import build_layers, read_layers
from variants.parts.networks import MLP, Conv, Layers, Linear

from .models import batch, binary_images, small


def parameters(module):
    return [p.numel() for p in module.parameters()]


def learned(module):
    """The number of parameters of each layer that has parameters."""
    return [sum(parameters(m)) for m in module.modules() if not list(m.children()) and parameters(m)]


def layers(*lines, shape, **words):
    return build_layers(read_layers("lines", lines, tuple(words)), shape, words)


# Architectures of published scripts, layer by layer. Numbers of parameters are those that the source prints or implies.


def test_the_generative_deep_learning_autoencoder_has_the_parameters_that_keras_prints():
    network = Layers(
        latent_size=2,
        encoder_layers=[
            "conv 32 3 stride 2 same relu", "conv 64 3 stride 2 same relu", "conv 128 3 stride 2 same relu"
        ],
        decoder_layers=[
            "linear 2048", "reshape 128 4 4", "transposed 128 3 stride 2 same relu",
            "transposed 64 3 stride 2 same relu", "transposed 32 3 stride 2 same relu", "conv channels 3 same",
        ],
        initialisation="xavier",
    )  # fmt: skip
    encoder, decoder = network.encoder((1, 32, 32), 2), network.decoder(2, (1, 32, 32))
    assert learned(encoder) == [320, 18_496, 73_856, 4_098]
    assert learned(decoder) == [6_144, 147_584, 73_792, 18_464, 289]
    assert decoder(encoder(torch.rand(3, 1, 32, 32))).shape == (3, 1, 32, 32)


def test_the_keras_blog_s_convolutional_autoencoder_has_a_code_of_4x4x8_and_4385_parameters():
    network = Layers(
        latent_size=128,
        encoder_layers=[
            "conv 16 3 same relu", "maxpool 2 same", "conv 8 3 same relu", "maxpool 2 same", "conv 8 3 same relu",
            "maxpool 2 same", "flatten",
        ],
        decoder_layers=[
            "reshape 8 4 4", "conv 8 3 same relu", "upsample 2", "conv 8 3 same relu", "upsample 2", "conv 16 3 relu",
            "upsample 2", "conv channels 3 same",
        ],
    )  # fmt: skip
    encoder, decoder = network.encoder((1, 28, 28), 128), network.decoder(128, (1, 28, 28))
    assert sum(parameters(encoder)) + sum(parameters(decoder)) == 4_385
    assert encoder(torch.rand(2, 1, 28, 28)).shape == (2, 128)
    assert decoder(torch.rand(2, 128)).shape == (2, 1, 28, 28)


def test_the_keras_vq_vae_has_the_parameters_that_keras_prints_and_a_grid_of_7x7():
    network = Layers(
        encoder_layers=["conv 32 3 stride 2 same relu", "conv 64 3 stride 2 same relu", "conv outputs 1 same"],
        decoder_layers=[
            "transposed 64 3 stride 2 same relu", "transposed 32 3 stride 2 same relu", "transposed channels 3 same"
        ],
        initialisation="xavier",
        inputs="centred",
    )  # fmt: skip
    assert network.grid((1, 28, 28)) == (7, 7)
    encoder, decoder = network.grid_encoder((1, 28, 28), 16), network.grid_decoder(16, (1, 28, 28))
    assert (sum(parameters(encoder)), sum(parameters(decoder))) == (19_856, 28_033)
    assert encoder(torch.rand(2, 1, 28, 28)).shape == (2, 16, 7, 7)
    assert decoder(torch.rand(2, 16, 7, 7)).shape == (2, 1, 28, 28)


def test_a_grid_s_outputs_need_not_be_named():
    named = Layers(
        encoder_layers=["conv 4 3 stride 2 same", "conv outputs 1"], decoder_layers=["transposed 1 2 stride 2"]
    )
    unnamed = Layers(encoder_layers=["conv 4 3 stride 2 same"], decoder_layers=["transposed 1 2 stride 2"])
    first, second = (network.grid_encoder((1, 8, 8), 5) for network in (named, unnamed))
    assert parameters(first) == parameters(second)


TFP = Layers(
    latent_size=16,
    encoder_layers=[
        "conv 32 5 same leaky_relu 0.2", "conv 32 5 stride 2 same leaky_relu 0.2", "conv 64 5 same leaky_relu 0.2",
        "conv 64 5 stride 2 same leaky_relu 0.2", "conv 64 7 leaky_relu 0.2",
    ],
    decoder_layers=[
        "reshape 16 1 1", "transposed 64 7 leaky_relu 0.2", "transposed 64 5 same leaky_relu 0.2",
        "transposed 64 5 stride 2 same leaky_relu 0.2", "transposed 32 5 same leaky_relu 0.2",
        "transposed 32 5 stride 2 same leaky_relu 0.2", "transposed 32 5 same leaky_relu 0.2", "conv channels 5 same",
    ],
    initialisation="he_uniform",
    inputs="signed",
)  # fmt: skip


def test_the_tensorflow_probability_convolutions_go_to_one_pixel_and_back():
    encoder, decoder = TFP.encoder((1, 28, 28), 152), TFP.decoder(16, (1, 28, 28))
    assert learned(encoder) == [832, 25_632, 51_264, 102_464, 200_768, 64 * 152 + 152]
    assert learned(decoder) == [50_240, 102_464, 102_464, 51_232, 25_632, 25_632, 801]
    assert decoder(encoder(torch.rand(2, 1, 28, 28))[:, :16]).shape == (2, 1, 28, 28)


def test_the_deep_svdd_autoencoders_have_no_biases_and_nothing_to_learn_in_their_normalisations():
    mnist = Layers(
        latent_size=32,
        encoder_layers=[
            "conv 8 5 pad 2 nobias", "batchnorm plain eps 1e-4 leaky_relu 0.01", "maxpool 2",
            "conv 4 5 pad 2 nobias", "batchnorm plain eps 1e-4 leaky_relu 0.01", "maxpool 2", "linear outputs nobias",
        ],
        decoder_layers=[
            "reshape 2 4 4", "leaky_relu 0.01", "upsample 2",
            "transposed 4 5 pad 2 nobias", "batchnorm plain eps 1e-4 leaky_relu 0.01", "upsample 2",
            "transposed 8 5 pad 3 nobias", "batchnorm plain eps 1e-4 leaky_relu 0.01", "upsample 2",
            "transposed channels 5 pad 2 nobias",
        ],
    )  # fmt: skip
    fashion = Layers(
        latent_size=64,
        encoder_layers=[
            "conv 16 5 pad 2 nobias", "batchnorm plain eps 1e-4 leaky_relu 0.01", "maxpool 2",
            "conv 32 5 pad 2 nobias", "batchnorm plain eps 1e-4 leaky_relu 0.01", "maxpool 2",
            "linear 128 nobias", "batchnorm plain eps 1e-4 leaky_relu 0.01", "linear outputs nobias",
        ],
        decoder_layers=[
            "linear 128 nobias", "batchnorm plain eps 1e-4", "reshape 8 4 4", "leaky_relu 0.01", "upsample 2",
            "transposed 32 5 pad 2 nobias", "batchnorm plain eps 1e-4 leaky_relu 0.01", "upsample 2",
            "transposed 16 5 pad 3 nobias", "batchnorm plain eps 1e-4 leaky_relu 0.01", "upsample 2",
            "transposed channels 5 pad 2 nobias",
        ],
    )  # fmt: skip
    expected = {
        32: ([200, 800, 196 * 32], [200, 800, 200]),
        64: ([400, 12_800, 1568 * 128, 8192], [8192, 6400, 12_800, 400]),
    }
    for network in (mnist, fashion):
        size = network.latent_size
        encoder, decoder = network.encoder((1, 28, 28), size), network.decoder(size, (1, 28, 28))
        assert (learned(encoder), learned(decoder)) == expected[size]
        norms = [m for m in [*encoder.modules(), *decoder.modules()] if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        assert {(m.eps, m.affine) for m in norms} == {(1e-4, False)}
        assert decoder(encoder(torch.rand(2, 1, 28, 28))).shape == (2, 1, 28, 28)


def test_the_joint_vae_s_convolutions_have_its_parameters():
    network = Layers(
        encoder_layers=[
            "conv 32 4 stride 2 pad 1 relu", "conv 64 4 stride 2 pad 1 relu", "conv 64 4 stride 2 pad 1 relu",
            "linear 256 relu",
        ],
        decoder_layers=[
            "linear 256 relu", "linear 1024 relu", "reshape 64 4 4", "transposed 32 4 stride 2 pad 1 relu",
            "transposed 32 4 stride 2 pad 1 relu", "transposed channels 4 stride 2 pad 1",
        ],
    )  # fmt: skip
    encoder, decoder = network.encoder((1, 32, 32), 30), network.decoder(20, (1, 32, 32))
    assert learned(encoder) == [544, 32_832, 65_600, 262_400, 30 * 257]
    assert learned(decoder) == [5_376, 263_168, 32_800, 16_416, 513]


# What a line means


@pytest.mark.parametrize(
    ("side", "kernel", "stride"), [(28, 3, 2), (7, 3, 2), (8, 4, 2), (9, 5, 3), (6, 2, 3), (5, 1, 2)]
)
def test_a_same_convolution_pads_as_tensorflow_does(side, kernel, stride):
    """The rule written out: ceil(n / stride) windows, of which the first begins at -before, one stride apart."""
    (*body,), shape = layers(f"conv 2 {kernel} stride {stride} same nobias", shape=(1, side, side))
    count = math.ceil(side / stride)
    before = max((count - 1) * stride + kernel - side, 0) // 2
    x = torch.rand(1, 1, side, side)
    found = nn.Sequential(*body)(x)
    assert found.shape[1:] == shape == (2, count, count)
    weight = body[-1].weight
    for i, j in ((0, 0), (count - 1, 0), (count - 1, count - 1), (count // 2, count - 1)):
        total = torch.zeros(2)
        for a in range(kernel):
            for b in range(kernel):
                row, column = i * stride - before + a, j * stride - before + b
                if 0 <= row < side and 0 <= column < side:
                    total = total + weight[:, 0, a, b] * x[0, 0, row, column]
        assert torch.allclose(found[0, :, i, j], total, atol=1e-5)


@pytest.mark.parametrize(
    ("side", "kernel", "stride"), [(14, 3, 2), (7, 5, 1), (7, 5, 2), (5, 4, 2), (4, 2, 3), (6, 2, 2)]
)
def test_a_same_transposed_convolution_is_the_gradient_of_the_same_convolution(side, kernel, stride):
    conv, _ = layers(f"conv 3 {kernel} stride {stride} same nobias", shape=(2, side * stride, side * stride))
    transposed, shape = layers(f"transposed 2 {kernel} stride {stride} same nobias", shape=(3, side, side))
    assert shape == (2, side * stride, side * stride)
    transposed[0].weight = conv[-1].weight
    x = torch.rand(1, *shape, requires_grad=True)
    upstream = torch.rand(1, 3, side, side)
    (gradient,) = torch.autograd.grad(nn.Sequential(*conv)(x), x, upstream)
    assert torch.allclose(nn.Sequential(*transposed)(upstream), gradient, atol=1e-5)


def test_pad_kernel_and_stride_are_torchs():
    x = torch.rand(1, 2, 9, 9)
    (conv,), shape = layers("conv 3 4 stride 2 pad 1", shape=(2, 9, 9))
    assert torch.equal(conv(x), F.conv2d(x, conv.weight, conv.bias, stride=2, padding=1))
    assert conv(x).shape[1:] == shape
    (conv,), shape = layers("transposed 3 4 stride 2 pad 1", shape=(2, 9, 9))
    assert torch.equal(conv(x), F.conv_transpose2d(x, conv.weight, conv.bias, stride=2, padding=1))
    assert conv(x).shape[1:] == shape


def test_pooling_takes_maxima_of_windows_that_reach_over_the_edge_only_where_asked():
    x = -torch.rand(1, 1, 7, 7)
    plain, shape = layers("maxpool 2", shape=(1, 7, 7))
    assert nn.Sequential(*plain)(x).shape[1:] == shape == (1, 3, 3)
    same, shape = layers("maxpool 2 same", shape=(1, 7, 7))
    pooled = nn.Sequential(*same)(x)
    assert pooled.shape[1:] == shape == (1, 4, 4)
    assert torch.equal(pooled, F.max_pool2d(x, 2, ceil_mode=True))
    assert layers("maxpool 3 same", shape=(1, 7, 7))[1] == (1, 3, 3)


def test_upsampling_repeats_pixels():
    (up,), shape = layers("upsample 2", shape=(1, 2, 2))
    x = torch.rand(1, 1, 2, 2)
    assert shape == (1, 4, 4)
    assert torch.equal(up(x), x.repeat_interleave(2, -1).repeat_interleave(2, -2))


def test_activations_stand_alone_or_at_the_end_of_a_line_and_may_have_a_slope():
    modules, _ = layers("linear 3 leaky_relu 0.3", "tanh", "linear 2", shape=(4,))
    assert [type(m) for m in modules] == [nn.Linear, nn.LeakyReLU, nn.Tanh, nn.Linear]
    assert modules[1].negative_slope == 0.3
    mlp = MLP(hidden=[5], activation="leaky_relu 0.2").encoder((1, 2, 2), 3)
    assert mlp[2].negative_slope == 0.2


def test_an_encoder_or_decoder_that_does_not_name_its_size_gets_a_last_linear_layer():
    named = Layers(
        encoder_layers=["linear 5 relu", "linear outputs"], decoder_layers=["linear 5 relu", "linear pixels"]
    )
    unnamed = Layers(encoder_layers=["linear 5 relu"], decoder_layers=["linear 5 relu"])
    for network in (named, unnamed):
        assert learned(network.encoder((1, 4, 4), 6)) == [85, 36]
        assert learned(network.decoder(3, (1, 4, 4))) == [20, 96]


# Widths, biases and initial weights


def test_a_decoder_may_have_widths_of_its_own_and_no_layer_a_bias():
    network = MLP(hidden=[500, 500, 2000], decoder_hidden=[3, 4], bias=False)
    assert [m.out_features for m in network.encoder((1, 4, 4), 10) if isinstance(m, nn.Linear)] == [500, 500, 2000, 10]
    decoder = network.decoder(10, (1, 4, 4))
    assert [m.out_features for m in decoder if isinstance(m, nn.Linear)] == [3, 4, 16]
    assert all(m.bias is None for m in decoder if isinstance(m, nn.Linear))


LARGE = {
    "linear": ("linear 300", (200,)),
    "conv": ("conv 60 5", (40, 9, 9)),
    "transposed": ("transposed 60 5", (40, 9, 9)),
}
FANS = {"linear": (200, 300), "conv": (40 * 25, 60 * 25), "transposed": (60 * 25, 40 * 25)}


@pytest.mark.parametrize("kind", LARGE)
@pytest.mark.parametrize("name", [name for name in INITIALISATIONS if name != "torch"])
def test_weights_begin_with_the_published_limits_and_variances_and_biases_with_zero(name, kind):
    line, shape = LARGE[kind]
    (layer,), _ = layers(line, shape=shape)
    initialise(layer, name)
    fan_in, fan_out = FANS[kind]
    variance = {
        "xavier": 2 / (fan_in + fan_out), "xavier_normal": 2 / (fan_in + fan_out), "he_uniform": 2 / fan_in,
        "he_normal": 2 / fan_in, "fan_in": 1 / (3 * fan_in),
    }[name]  # fmt: skip
    weight = layer.weight.detach()
    # The tolerance is five standard errors of the variance of n normal draws. Those of uniform draws are smaller.
    assert weight.var().item() == pytest.approx(variance, rel=5 * (2 / weight.numel()) ** 0.5)
    limit = (3 * variance) ** 0.5
    if "normal" in name:
        assert weight.abs().max() > limit
    else:
        assert 0.99 * limit < weight.abs().max() <= limit
    assert (layer.bias == 0).all()


def test_encoder_and_decoder_may_begin_with_limits_of_their_own():
    options = {"initialisation": "uniform -0.05 0.05", "decoder_initialisation": "uniform -0.025 0.025"}
    for network in (MLP(hidden=[500], **options), Layers(**options)):
        encoder, decoder = network.encoder((1, 28, 28), 50), network.decoder(50, (1, 28, 28))
        for body, limit in ((encoder, 0.05), (decoder, 0.025)):
            weights = torch.cat([m.weight.flatten() for m in body if isinstance(m, nn.Linear)])
            assert 0.999 * limit < weights.max() <= limit
            assert -limit <= weights.min() < -0.999 * limit
            assert all((m.bias == 0).all() for m in body if isinstance(m, nn.Linear))


@pytest.mark.parametrize(
    "encoder_layers", [["linear 400"], ["linear 400", "linear outputs"], ["linear 400", "linear outputs tanh"]]
)
def test_the_encoders_last_layer_alone_may_begin_in_another_way(encoder_layers):
    options = {"initialisation": "uniform -0.05 0.05", "encoder_last_initialisation": "uniform -0.2 0.2"}
    network = Layers(encoder_layers=encoder_layers, **options)
    for body, limits in (
        (network.encoder((1, 28, 28), 50), (0.05, 0.2)),
        (network.decoder(50, (1, 28, 28)), (0.05, 0.05)),
    ):
        linear = [m for m in body if isinstance(m, nn.Linear)]
        for layer, limit in zip(linear, limits, strict=True):
            assert 0.99 * limit < layer.weight.abs().max() <= limit
            assert (layer.bias == 0).all()


def test_the_last_layer_of_a_grid_encoder_may_begin_in_another_way():
    network = Layers(encoder_layers=["conv 8 3 same"], decoder_layers=["conv channels 3 same"],
                     initialisation="uniform -0.05 0.05", encoder_last_initialisation="uniform 1 2")  # fmt: skip
    first, last = (m for m in network.grid_encoder((1, 8, 8), 4) if isinstance(m, nn.Conv2d))
    assert first.weight.max() <= 0.05
    assert last.weight.min() >= 1


def test_options_at_their_defaults_draw_the_weights_that_they_drew_before():
    torch.manual_seed(3)
    body = MLP(hidden=[4]).encoder((1, 2, 2), 3)
    torch.manual_seed(3)
    for layer in (m for m in body if isinstance(m, nn.Linear)):
        expected = nn.Linear(layer.in_features, layer.out_features)
        nn.init.xavier_uniform_(expected.weight)
        assert torch.equal(layer.weight, expected.weight)


# What an encoder sees


@pytest.mark.parametrize("network", [Linear, MLP, Conv, Layers])
@pytest.mark.parametrize(("inputs", "slope", "offset"), [("signed", 2, -1), ("centred", 1, -0.5)])
def test_inputs_are_rescaled_for_the_encoder_alone(network, inputs, slope, offset):
    torch.manual_seed(1)
    plain = small("vae", (1, 8, 8), network=network(latent_size=3)).eval()
    torch.manual_seed(1)
    scaled = small("vae", (1, 8, 8), network=network(latent_size=3, inputs=inputs)).eval()
    x = binary_images(4, (1, 8, 8))
    assert torch.allclose(scaled.posterior(x).loc, plain.posterior(slope * x + offset).loc, atol=1e-6)
    # The likelihood is that of the original pixels.
    z = torch.randn(4, 3)
    assert torch.equal(scaled.likelihood(z).log_prob(x), plain.likelihood(z).log_prob(x))


def test_a_grid_s_encoder_sees_rescaled_inputs_too():
    x = torch.rand(2, 1, 8, 8)
    for network in (MLP, Conv):
        torch.manual_seed(1)
        plain = network(grid_size=2) if network is MLP else network()
        scaled = type(plain)(**vars(plain) | {"inputs": "signed"})
        torch.manual_seed(1)
        first = plain.grid_encoder((1, 8, 8), 3).eval()
        torch.manual_seed(1)
        second = scaled.grid_encoder((1, 8, 8), 3).eval()
        assert torch.allclose(second(x), first(2 * x - 1), atol=1e-5)


# Refusals


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cnv 32 3", r"encoder_layers\[0\] 'cnv 32 3': layer 'cnv'; did you mean 'conv'"),
        ("conv 32", r"must be written 'conv CHANNELS KERNEL \[stride S\] \[pad P\] \[same\] \[nobias\]'"),
        ("conv 32 3 strid 2", "unknown .*option 'strid'; did you mean 'stride'"),
        ("conv 32 3 stride 0", "must be written"),
        ("conv 32 3 stride 1.5", "must be written"),
        ("conv 32 3 stride", "must be written"),
        ("conv 32 3 pad 1 same", "pad and same exclude one another"),
        ("conv -1 3", "channels must be a whole number above 0, or outputs, got '-1'"),
        ("conv pixels 3", "channels must be a whole number above 0, or outputs, got 'pixels'"),
        ("linear 3 rel", "did you mean 'relu'"),
        ("relu 0.2", "unknown .* 'relu 0.2'"),
        ("leaky_relu 2", "a slope between 0 and 1"),
        ("batchnorm eps 0", "must be written"),
        ("reshape outputs 4 4", "channels must be a whole number above 0, got 'outputs'"),
        ("", "unknown .*layer ''"),
    ],
)
def test_a_line_that_cannot_be_read_is_refused_by_number_with_what_is_allowed(line, message):
    with pytest.raises(ValueError, match=message):
        Layers(encoder_layers=[line])


def test_an_unknown_initialisation_of_the_last_layer_is_refused():
    with pytest.raises(ValueError, match=r"network\.encoder_last_initialisation 'xavir'; did you mean 'xavier'"):
        Layers(encoder_last_initialisation="xavir")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"encoder_layers": ["linear 5", "conv 3 3"]},
            r"encoder_layers\[1\] 'conv 3 3': it needs feature maps, but its input is 5 ",
        ),
        ({"encoder_layers": ["conv 3 9"]}, "its input is 8x8, smaller than its kernel"),
        ({"encoder_layers": ["maxpool 9"]}, "its input is 8x8, smaller than its kernel"),
        ({"encoder_layers": ["reshape 2 4 4"]}, "it takes 32 numbers, but its input has 64"),
        ({"decoder_layers": ["linear 32", "reshape 2 4 4", "upsample 3"]}, "end in 2x12x12, but images are 1x8x8"),
        ({"decoder_layers": ["linear pixels", "linear 3"]}, "end in 3 numbers, but images are 1x8x8"),
        ({"decoder_layers": ["transposed 3 1 pad 3"]}, "it needs feature maps"),
        ({"decoder_layers": ["linear 4", "reshape 1 2 2", "transposed 3 1 pad 3"]}, "nothing would be left"),
    ],
)
def test_lines_that_do_not_fit_the_images_are_refused_when_the_configuration_is_composed(options, message):
    network = Layers(**options)
    with pytest.raises(ValueError, match=message):
        network.check_images((1, 8, 8))
    ((name, lines),) = options.items()
    with pytest.raises(UserError, match=message):
        compose("vae", "digits", "smoke", 0, ["network=layers", f"network.{name}=[{','.join(map(repr, lines))}]"])


def test_a_code_of_another_size_than_the_variant_needs_is_refused():
    with pytest.raises(ValueError, match="end in 128 numbers, but 6 are needed"):
        Layers(encoder_layers=["conv 2 3 same", "flatten"]).encoder((1, 8, 8), 6)
    with pytest.raises(ValueError, match="network layers has no grid of codes"):
        Layers().grid((1, 8, 8))
    with pytest.raises(ValueError, match="end in 2 channels, but 6 are needed"):
        Layers(encoder_layers=["conv outputs 3 same", "conv 2 3 same"]).grid_encoder((1, 8, 8), 6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initialisation": "xavir"}, "did you mean 'xavier'"),
        ({"initialisation": "uniform 0.1 0.1"}, "must be written 'uniform LOW HIGH' with LOW below HIGH"),
        ({"initialisation": "uniform 0.1"}, "must be written 'uniform LOW HIGH'"),
        ({"decoder_initialisation": "uniform -inf 1"}, r"network\.decoder_initialisation must be written"),
        ({"decoder_hidden": [0]}, r"network\.decoder_hidden must be above 0"),
        ({"inputs": "sined"}, r"unknown network\.inputs 'sined'; did you mean 'signed'"),
        ({"activation": "leaky_relu x"}, r"network\.activation must be written 'leaky_relu SLOPE'"),
    ],
)
def test_impossible_options_of_the_mlp_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MLP(**options)


def test_lines_reach_a_variant_from_the_command_line_as_they_are_written():
    lines = ["conv 4 3 stride 2 same leaky_relu 0.2", "batchnorm plain eps 1e-4", "linear 9 tanh"]
    config = compose(
        "vae", "digits", "smoke", 0,
        ["network=layers", "network.latent_size=3", f"network.encoder_layers=[{', '.join(lines)}]",
         "network.initialisation=uniform -0.05 0.05", "network.inputs=centred"],
    )  # fmt: skip
    assert config.network.encoder_layers == lines
    assert config.network.initialisation == "uniform -0.05 0.05"
    model = variants.build("vae", (1, 8, 8), config.network)
    value = model.loss(batch(binary_images(4, (1, 8, 8))), torch.tensor(0.5)).value
    assert value.isfinite()
