"""A user's own images become a data set by a dozen lines of YAML."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.__main__ import main
from benchmarks.config import choices, compose
from benchmarks.data import load
from benchmarks.data.readers.idx import write_idx
from benchmarks.errors import UserError


def own(tmp_path, monkeypatch, *lines):
    """The data set that a YAML file in the user's own folder describes."""
    folder = tmp_path / "my_conf" / "dataset"
    folder.mkdir(parents=True, exist_ok=True)
    text = ["name: mine", 'title: "Mine"', "observation: discretised_logistic", *lines]
    (folder / "mine.yaml").write_text("\n".join(text) + "\n")
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path / "my_conf"))
    return load(compose("vae", "mine", "smoke", 0).dataset, tmp_path)


def draw(path, colour, size=(10, 10), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def test_the_readmes_data_set_is_one(tmp_path, monkeypatch):
    readme = Path(__file__).resolve().parents[3] / "README.md"
    (text,) = re.findall(r"```yaml\n(name: flowers\n.*?)```", readme.read_text(), re.DOTALL)
    for kind, colour in (("rose", (200, 0, 0)), ("violet", (90, 0, 200))):
        for i in range(10):
            draw(tmp_path / "flowers" / kind / f"{i}.png", colour, size=(40 + i, 50))
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    (tmp_path / "conf" / "dataset" / "flowers.yaml").write_text(text.replace("/data/flowers", "flowers"))
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path / "conf"))
    data = load(compose("vae", "flowers", "smoke", 0).dataset, tmp_path)
    assert data.shape == (3, 32, 32)
    assert data.classes == 2
    assert "flowers" in choices("dataset")


def everything(data):
    splits = (data.train, data.validation, data.test)
    return torch.cat([split.images for split in splits]), [split.labels for split in splits]


def test_a_folder_of_images_is_split_by_a_fixed_shuffle_and_loses_none(tmp_path, monkeypatch):
    for i in range(30):
        draw(tmp_path / "pictures" / f"{i}.png", i, mode="L")
    data = own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    assert [len(split) for split in (data.train, data.validation, data.test)] == [24, 3, 3]
    assert data.shape == (1, 10, 10)
    images, labels = everything(data)
    assert sorted(images[:, 0, 0, 0].tolist()) == list(range(30))
    assert images[:, 0, 0, 0].tolist() != list(range(30))
    assert labels == [None] * 3


def test_first_level_folders_are_classes(tmp_path, monkeypatch):
    for i in range(10):
        draw(tmp_path / "pictures" / "dark" / f"{i}.png", (i, i, i))
        draw(tmp_path / "pictures" / "light" / f"{i}.png", (255 - i, 255 - i, 255 - i))
    data = own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    assert data.classes == 2
    assert torch.equal(data.train.labels, (data.train.images[:, 0, 0, 0] > 128).long())


def test_mixed_sizes_are_refused_without_a_resize_rule_and_cropped_to_squares_with_it(tmp_path, monkeypatch):
    for i in range(12):
        draw(tmp_path / "pictures" / f"{i}.png", (200, 10, 10), size=(20 + i % 2, 30))
    with pytest.raises(UserError, match=r"images of 2 sizes: 20x30 .*set dataset\.image_size"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    data = own(tmp_path, monkeypatch, "source: folder", "path: pictures", "image_size: 8")
    assert data.shape == (3, 8, 8)
    assert data.train.images[0, :, 4, 4].tolist() == [200, 10, 10]


def test_grey_can_be_asked_for(tmp_path, monkeypatch):
    for i in range(12):
        draw(tmp_path / "pictures" / f"{i}.png", (50, 50, 50))
    assert own(tmp_path, monkeypatch, "source: folder", "path: pictures", "channels: 1").shape == (1, 10, 10)


def test_unreadable_files_are_refused_by_name(tmp_path, monkeypatch):
    for i in range(12):
        draw(tmp_path / "pictures" / f"{i}.png", (50, 50, 50))
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"cannot be read as images: .*broken\.jpg"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    # A header alone is not an image either.
    data = (tmp_path / "pictures" / "0.png").read_bytes()
    (tmp_path / "pictures" / "broken.jpg").unlink()
    (tmp_path / "pictures" / "0.png").write_bytes(data[:50])
    with pytest.raises(UserError, match=r"0\.png cannot be read as an image"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")


def test_more_than_8_bits_are_refused(tmp_path, monkeypatch):
    for i in range(12):
        draw(tmp_path / "pictures" / f"{i}.png", 1000 * i, mode="I;16")
    with pytest.raises(UserError, match="more than 8 bits"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")


def test_a_folder_without_images_a_missing_one_and_too_few_images_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="is not a folder"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(UserError, match="no images in"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    draw(tmp_path / "pictures" / "0.png", (50, 50, 50))
    with pytest.raises(UserError, match="1 images are too few"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    with pytest.raises(UserError, match=r"dataset\.path is needed"):
        own(tmp_path, monkeypatch, "source: folder")


def arrays(n=40):
    images = np.random.default_rng(0).integers(0, 256, (n, 6, 5), dtype=np.uint8)
    images[:, 0, 0] = np.arange(n)
    return images, np.arange(n) % 4


@pytest.mark.parametrize("kind", ["npz", "npy", "idx", "idx.gz"])
def test_every_kind_of_array_file_gives_the_same_data_set(tmp_path, monkeypatch, kind):
    import gzip

    images, labels = arrays()
    lines = ["source: array", f"path: images.{kind}"]
    if kind == "npz":
        np.savez(tmp_path / "images.npz", images=images, labels=labels)
    else:
        for name, array in (("images", images), ("classes", labels)):
            data = write_idx(torch.from_numpy(array.astype(np.uint8)))
            (tmp_path / f"{name}.idx").write_bytes(data)
            (tmp_path / f"{name}.idx.gz").write_bytes(gzip.compress(data))
            np.save(tmp_path / f"{name}.npy", array)
        lines.append(f"labels: classes.{kind}")
    data = own(tmp_path, monkeypatch, *lines)
    assert data.shape == (1, 6, 5)
    assert data.classes == 4
    assert [len(split) for split in (data.train, data.validation, data.test)] == [32, 4, 4]
    for split in (data.train, data.validation, data.test):
        which = split.images[:, 0, 0, 0].long()
        assert torch.equal(split.images[:, 0], torch.from_numpy(images)[which])
        assert torch.equal(split.labels, which % 4)


def test_channels_may_come_last(tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    data = own(tmp_path, monkeypatch, "source: array", "path: images.npy")
    assert data.shape == (3, 4, 5)
    assert sorted(everything(data)[0].sum((1, 2, 3)).tolist()) == sorted(images.sum((1, 2, 3)).tolist())


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"images": np.zeros((20, 4, 4), np.float32)}, "float32 images; whole bytes"),
        ({"images": np.zeros((20, 4), np.uint8)}, r"shape \(20, 4\)"),
        ({"images": np.zeros((20, 2, 4, 4), np.uint8)}, r"shape \(20, 2, 4, 4\)"),
        ({"images": np.zeros((20, 4, 4), np.uint8), "labels": np.zeros(19, int)}, "20 images and 19 labels"),
        ({"images": np.zeros((20, 4, 4), np.uint8), "labels": np.full(20, -1)}, "whole numbers from 0"),
        ({"imgs": np.zeros((20, 4, 4), np.uint8), "y": np.zeros(20, int)}, "did you mean 'imgs'"),
        ({"images": np.array([{"a": 1}] * 20)}, "cannot be read"),
    ],
)
def test_arrays_that_are_not_images_are_refused(tmp_path, monkeypatch, contents, message):
    np.savez(tmp_path / "images.npz", **contents)
    with pytest.raises(UserError, match=message):
        own(tmp_path, monkeypatch, "source: array", "path: images.npz")


def test_own_data_trains_and_is_recorded_by_the_command_line(tmp_path, monkeypatch):
    images, labels = arrays(60)
    np.savez(tmp_path / "images.npz", images=images, labels=labels)
    own(tmp_path, monkeypatch, "source: array", f"path: {tmp_path / 'images.npz'}")
    arguments = [
        "--variants",
        "vae",
        "--datasets",
        "mine",
        "--profile",
        "smoke",
        "--results",
        str(tmp_path / "results"),
    ]
    assert main(["bench", *arguments, "--no-report"]) == 0
    (record,) = (tmp_path / "results" / "runs").glob("mine-vae-smoke-s0-*/record.json")
    assert '"status": "ok"' in record.read_text()
