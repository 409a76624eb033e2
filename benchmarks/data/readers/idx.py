"""The IDX format of MNIST and similar data sets: unsigned bytes after a header of big-endian sizes."""

from __future__ import annotations

import math
import struct

import torch
from torch import Tensor

_UNSIGNED_BYTE = 0x08


def parse_idx(data: bytes, name: str) -> Tensor:
    """The array in an IDX file, uint8. Raises ``ValueError`` that names the file if the file is not valid."""
    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError(f"{name} is not an IDX file")
    kind, dimensions = data[2], data[3]
    if kind != _UNSIGNED_BYTE:
        raise ValueError(f"{name} contains values of type 0x{kind:02x}; only unsigned bytes (0x08) are supported")
    start = 4 + 4 * dimensions
    if dimensions == 0 or len(data) < start:
        raise ValueError(f"{name} is truncated inside its header")
    sizes = struct.unpack(f">{dimensions}I", data[4:start])
    if len(data) - start != math.prod(sizes):
        raise ValueError(f"{name} should have {math.prod(sizes)} bytes after its header, but has {len(data) - start}")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).reshape(sizes)


def write_idx(array: Tensor) -> bytes:
    """The inverse of :func:`parse_idx` for a uint8 tensor."""
    header = bytes([0, 0, _UNSIGNED_BYTE, array.dim()]) + struct.pack(f">{array.dim()}I", *array.shape)
    return header + array.contiguous().numpy().tobytes()
