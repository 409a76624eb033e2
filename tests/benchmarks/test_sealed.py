"""Files with a digest: what was written is read, and any other content is refused."""

import json

import pytest
import torch

from benchmarks.sealed import DamagedError, read_cached, read_sealed, seal, write_sealed

FACTS = {"accuracy": 0.5, "of": {"images": 3}}


def content(name):
    tensors = {"w": torch.tensor([[1.0, -2.0]]), "n": torch.tensor(7), "none": torch.empty(0, 3)}
    return seal({} if name.endswith(".json") else tensors, FACTS)


@pytest.mark.parametrize("name", ["a.safetensors", "a.json"])
def test_what_was_written_is_read(name, tmp_path):
    write_sealed(tmp_path / name, content(name))
    found = read_sealed(tmp_path / name)
    assert (found.facts, found.digest) == (FACTS, content(name).digest)
    assert found.tensors.keys() == content(name).tensors.keys()
    assert all(torch.equal(value, content(name).tensors[key]) for key, value in found.tensors.items())


@pytest.mark.parametrize("name", ["a.safetensors", "a.json"])
def test_no_flipped_bit_and_no_cut_goes_unnoticed(name, tmp_path):
    path = tmp_path / name
    write_sealed(path, content(name))
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    for position, byte in enumerate(whole):
        damaged += [whole[:position] + bytes([byte ^ bit]) + whole[position + 1 :] for bit in (1, 32)]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(DamagedError):
            read_sealed(path)


def test_a_file_that_an_earlier_version_wrote_is_not_taken(tmp_path, caplog):
    (tmp_path / "a.json").write_text(json.dumps(FACTS))
    assert read_cached(tmp_path / "a.json") is None
    assert "a.json is damaged" in caplog.text
    assert read_cached(tmp_path / "missing.json") is None
    assert read_cached(tmp_path / "missing.safetensors") is None
    assert "missing" not in caplog.text


def test_the_digest_is_of_names_types_shapes_values_and_facts():
    digests = {
        seal(tensors, facts).digest
        for tensors, facts in (
            ({"w": torch.zeros(2, 3)}, {}), ({"v": torch.zeros(2, 3)}, {}), ({"w": torch.zeros(3, 2)}, {}),
            ({"w": torch.zeros(2, 3, dtype=torch.int32)}, {}), ({"w": torch.ones(2, 3)}, {}),
            ({"w": torch.zeros(2, 3)}, {"a": 1}), ({"w": torch.zeros(2, 3)}, {"a": 2}),
        )
    }  # fmt: skip
    assert len(digests) == 7
