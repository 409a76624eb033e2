"""The IDX format: written files are read back, and other files are refused by name."""

import struct

import pytest
import torch

from benchmarks.data.readers.idx import parse_idx, write_idx


@pytest.mark.parametrize("shape", [(7,), (5, 3), (4, 2, 3)])
def test_an_array_written_as_idx_is_read_back(shape):
    array = torch.randint(0, 256, shape, dtype=torch.uint8)
    assert torch.equal(parse_idx(write_idx(array), "x"), array)


def test_sizes_are_big_endian_after_the_type_and_the_number_of_dimensions():
    data = b"\0\0\x08\x02" + struct.pack(">II", 1, 3) + bytes([9, 8, 7])
    assert parse_idx(data, "x").tolist() == [[9, 8, 7]]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"\x01" + data[1:], "is not an IDX file"),
        (lambda data: b"", "is not an IDX file"),
        (lambda data: data[:2] + b"\x0d" + data[3:], "type 0x0d"),
        (lambda data: data[:6], "is truncated inside its header"),
        (lambda data: data[:-1], "should have 6 bytes after its header, but has 5"),
        (lambda data: data + b"\0", "should have 6 bytes after its header, but has 7"),
    ],
)
def test_a_malformed_file_is_refused_by_its_name(damage, message):
    data = write_idx(torch.zeros(2, 3, dtype=torch.uint8))
    with pytest.raises(ValueError, match=f"train-images.*{message}"):
        parse_idx(damage(data), "train-images")
