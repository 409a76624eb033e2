"""Networks written as a list of lines, one layer per line: "conv 32 3 stride 2 same relu".

    linear N [nobias]                                        fully connected; feature maps are flattened first
    conv CHANNELS KERNEL [stride S] [pad P | same] [nobias]
    transposed CHANNELS KERNEL [stride S] [pad P | same] [nobias]
    maxpool KERNEL [same]                                    the stride is the kernel size
    upsample FACTOR                                          every pixel becomes FACTOR x FACTOR equal pixels
    batchnorm [plain] [eps E]                                "plain" has no learned slope and offset
    reshape CHANNELS HEIGHT WIDTH
    flatten

A line may also be an activation alone, and every line may end with an activation ("leaky_relu 0.2" gives its slope). N
and CHANNELS are numbers, or words for sizes that the variant or the data set determines: ``outputs`` in an encoder, the
``channels`` and ``pixels`` of the image in a decoder. ``pad P`` adds P zeros on every side; in a transposed convolution
it removes P rows and columns from every side of the output. ``same`` is TensorFlow's rule: n pixels become ceil(n / S),
or n S in a transposed convolution; if the padding is odd, the right and the bottom get one more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from ..options import one_of, unknown

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "softplus": nn.Softplus,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
}


@dataclass(frozen=True)
class Kind:
    """The syntax of a layer: required ``arguments`` in this order, then ``options``, which take a number, and
    ``flags``."""

    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def usage(self, name: str) -> str:
        extra = [*(f"[{option} {option[0].upper()}]" for option in self.options), *(f"[{flag}]" for flag in self.flags)]
        return " ".join([name, *(argument.upper() for argument in self.arguments), *extra])


KINDS: dict[str, Kind] = {
    "linear": Kind(("units",), flags=("nobias",)),
    "conv": Kind(("channels", "kernel"), ("stride", "pad"), ("same", "nobias")),
    "transposed": Kind(("channels", "kernel"), ("stride", "pad"), ("same", "nobias")),
    "maxpool": Kind(("kernel",), flags=("same",)),
    "upsample": Kind(("factor",)),
    "batchnorm": Kind((), ("eps",), ("plain",)),
    "reshape": Kind(("channels", "height", "width")),
    "flatten": Kind(),
}
# Layers whose width may be one of the words ``outputs``, ``channels`` and ``pixels``.
LEARNED = ("linear", "conv", "transposed")
# A vector (units,), or feature maps (channels, height, width).
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A parsed line. ``where`` is its name in error messages."""

    where: str
    kind: str = ""
    arguments: dict[str, int | str] = field(default_factory=dict)
    options: dict[str, float] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    activation: str = ""

    def error(self, problem: str) -> ValueError:
        return ValueError(f"{self.where}: {problem}")


def activation(line: str) -> nn.Module:
    """A new activation by its name in :data:`ACTIVATIONS`; "leaky_relu" may be followed by its slope below 0."""
    name, *slope = line.split()
    return nn.LeakyReLU(float(slope[0])) if slope else ACTIVATIONS[name]()


def check_activation(where: str, line: str) -> None:
    """Raise ``ValueError`` unless :func:`activation` accepts ``line``."""
    name, *slope = line.split() or [""]
    if slope and name == "leaky_relu":
        if len(slope) > 1 or not 0 < _number(slope[0]) < 1:
            raise ValueError(f"{where} must be written 'leaky_relu SLOPE' with a slope between 0 and 1, got {line!r}")
        return
    one_of(where, line, ACTIVATIONS)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_layers(where: str, lines: Sequence[str], words: Sequence[str]) -> list[Layer]:
    """Parse ``lines``, in which ``words`` may replace widths. Raises ``ValueError`` that names the invalid line."""
    return [_read(f"{where}[{number}] {line!r}", line, words) for number, line in enumerate(lines)]


def _read(where: str, line: str, words: Sequence[str]) -> Layer:
    name, *rest = line.split() or [""]
    if name in ACTIVATIONS:
        check_activation(where, line)
        return Layer(where, activation=" ".join([name, *rest]))
    if name not in KINDS:
        raise unknown(f"{where}: layer", name, [*KINDS, *ACTIVATIONS])
    kind = KINDS[name]
    usage = f"{where} must be written {kind.usage(name)!r}, and an activation where one follows"
    if len(rest) < len(kind.arguments):
        raise ValueError(usage)
    arguments: dict[str, int | str] = {}
    for argument in kind.arguments:
        text = rest.pop(0)
        is_width = name in LEARNED and argument != "kernel"
        if is_width and text in words:
            arguments[argument] = text
        elif text.isascii() and text.isdigit() and int(text) > 0:
            arguments[argument] = int(text)
        else:
            allowed = f", or {' or '.join(words)}" if is_width else ""
            raise ValueError(f"{where}: {argument} must be a whole number above 0{allowed}, got {text!r}")
    options: dict[str, float] = {}
    flags = set()
    while rest and rest[0] not in ACTIVATIONS:
        word = rest.pop(0)
        if word in kind.flags:
            flags.add(word)
        elif word in kind.options:
            options[word] = _number(rest.pop(0)) if rest else math.nan
            if not _allowed(word, options[word]):
                raise ValueError(usage)
        else:
            raise unknown(f"{where}: option", word, [*kind.options, *kind.flags, *ACTIVATIONS])
    if "same" in flags and "pad" in options:
        raise ValueError(f"{where}: pad and same exclude one another")
    if rest:
        check_activation(where, " ".join(rest))
    return Layer(where, name, arguments, options, frozenset(flags), " ".join(rest))


def _allowed(option: str, value: float) -> bool:
    if option == "eps":
        return 0 < value < math.inf
    return value >= (0 if option == "pad" else 1) and value == int(value) if math.isfinite(value) else False


def build_layers(layers: Sequence[Layer], shape: Shape, words: Mapping[str, int]) -> tuple[list[nn.Module], Shape]:
    """The modules of ``layers`` for inputs of ``shape`` (without the batch), and the shape of their output. ``words``
    maps words to sizes. Raises ``ValueError`` that names a layer which does not fit its input."""
    modules: list[nn.Module] = []
    for layer in layers:
        if layer.kind:
            sizes = {name: words[value] if isinstance(value, str) else value for name, value in layer.arguments.items()}
            made, shape = MAKERS[layer.kind](layer, shape, sizes)
            modules += made
        if layer.activation:
            modules.append(activation(layer.activation))
    return modules, shape


Made = tuple[list[nn.Module], Shape]


def _maps(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        mend = "insert 'reshape CHANNELS HEIGHT WIDTH'"
        raise layer.error(f"it needs feature maps, but its input is {shape[0]} numbers: {mend}")
    channels, height, width = shape
    return channels, height, width


def _linear(layer: Layer, shape: Shape, sizes: Mapping[str, int]) -> Made:
    flat: list[nn.Module] = [nn.Flatten()] if len(shape) == 3 else []
    return [*flat, nn.Linear(math.prod(shape), sizes["units"], bias="nobias" not in layer.flags)], (sizes["units"],)


def _convolution(layer: Layer, shape: Shape, sizes: Mapping[str, int]) -> Made:
    channels, *sides = _maps(layer, shape)
    kernel, stride, pad = sizes["kernel"], int(layer.options.get("stride", 1)), int(layer.options.get("pad", 0))
    before: list[nn.Module] = []
    if "same" in layer.flags:
        edges = _same(sides, kernel, stride)
        pad = edges[0] if len(set(edges)) == 1 else 0
        before = [nn.ZeroPad2d(edges)] if len(set(edges)) > 1 else []
        after = [-(-side // stride) for side in sides]
    else:
        after = [(side + 2 * pad - kernel) // stride + 1 for side in sides]
    if min(after) < 1:
        raise layer.error(f"its input is {sides[0]}x{sides[1]}, smaller than its kernel")
    conv = nn.Conv2d(channels, sizes["channels"], kernel, stride, pad, bias="nobias" not in layer.flags)
    return [*before, conv], (sizes["channels"], *after)


def _transposed(layer: Layer, shape: Shape, sizes: Mapping[str, int]) -> Made:
    channels, *sides = _maps(layer, shape)
    kernel, stride, pad = sizes["kernel"], int(layer.options.get("stride", 1)), int(layer.options.get("pad", 0))
    extra, crop = 0, False
    if "same" in layer.flags:
        # The transpose of a convolution with a total padding of max(kernel - stride, 0), whose odd pixel is at the end.
        total = max(kernel - stride, 0)
        pad, crop, extra = total // 2, total % 2 == 1, max(stride - kernel, 0)
    after = [(side - 1) * stride + kernel - 2 * pad + extra - crop for side in sides]
    if min(after) < 1:
        raise layer.error(f"nothing would be left of its input of {sides[0]}x{sides[1]}")
    bias = "nobias" not in layer.flags
    conv = nn.ConvTranspose2d(channels, sizes["channels"], kernel, stride, pad, output_padding=extra, bias=bias)
    return [conv, *([nn.ZeroPad2d((0, -1, 0, -1))] if crop else [])], (sizes["channels"], *after)


def _maxpool(layer: Layer, shape: Shape, sizes: Mapping[str, int]) -> Made:
    channels, *sides = _maps(layer, shape)
    kernel = sizes["kernel"]
    before: list[nn.Module] = []
    if "same" in layer.flags:
        edges = _same(sides, kernel, kernel)
        before = [nn.ConstantPad2d(edges, -math.inf)] if any(edges) else []
        after = [-(-side // kernel) for side in sides]
    else:
        after = [side // kernel for side in sides]
    if min(after) < 1:
        raise layer.error(f"its input is {sides[0]}x{sides[1]}, smaller than its kernel")
    return [*before, nn.MaxPool2d(kernel)], (channels, *after)


def _same(sides: Sequence[int], kernel: int, stride: int) -> tuple[int, int, int, int]:
    """The padding (left, right, top, bottom) with which n pixels become ceil(n / stride)."""
    height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in sides)
    return width // 2, width - width // 2, height // 2, height - height // 2


def _upsample(layer: Layer, shape: Shape, sizes: Mapping[str, int]) -> Made:
    channels, height, width = _maps(layer, shape)
    factor = sizes["factor"]
    return [nn.Upsample(scale_factor=factor)], (channels, factor * height, factor * width)


def _batchnorm(layer: Layer, shape: Shape, sizes: Mapping[str, int]) -> Made:
    kind = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    return [kind(shape[0], eps=layer.options.get("eps", 1e-5), affine="plain" not in layer.flags)], shape


def _reshape(layer: Layer, shape: Shape, sizes: Mapping[str, int]) -> Made:
    after = (sizes["channels"], sizes["height"], sizes["width"])
    if math.prod(shape) != math.prod(after):
        raise layer.error(f"it takes {math.prod(after)} numbers, but its input has {math.prod(shape)}")
    flat: list[nn.Module] = [nn.Flatten()] if len(shape) == 3 else []
    return [*flat, nn.Unflatten(1, after)], after


def _flatten(layer: Layer, shape: Shape, sizes: Mapping[str, int]) -> Made:
    return [nn.Flatten()], (math.prod(shape),)


MAKERS: dict[str, Callable[[Layer, Shape, Mapping[str, int]], Made]] = {
    "linear": _linear,
    "conv": _convolution,
    "transposed": _transposed,
    "maxpool": _maxpool,
    "upsample": _upsample,
    "batchnorm": _batchnorm,
    "reshape": _reshape,
    "flatten": _flatten,
}
