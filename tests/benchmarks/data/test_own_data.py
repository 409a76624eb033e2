"""A user's own images become a data set by a dozen lines of YAML."""

import gzip
import os
import re
import struct
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


def test_the_documented_data_set_is_one(tmp_path, monkeypatch):
    document = Path(__file__).resolve().parents[3] / "DATA.md"
    (text,) = re.findall(r"```yaml\n(name: flowers\n.*?)```", document.read_text(), re.DOTALL)
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
    # A file that ends after its header is not an image either.
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
    with pytest.raises(UserError, match="1 image cannot be split"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    with pytest.raises(UserError, match=r"needs dataset\.path"):
        own(tmp_path, monkeypatch, "source: folder")


def arrays(n=40):
    images = np.random.default_rng(0).integers(0, 256, (n, 6, 5), dtype=np.uint8)
    images[:, 0, 0] = np.arange(n)
    return images, np.arange(n) % 4


@pytest.mark.parametrize("kind", ["npz", "npy", "idx", "idx.gz"])
def test_every_kind_of_array_file_gives_the_same_data_set(tmp_path, monkeypatch, kind):
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


GREY = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"images": GREY[:, 0]}, r"shape \(20, 4\)"),
        ({"images": GREY, "labels": np.zeros(19, int)}, "20 images and 19 labels"),
        ({"images": GREY, "labels": np.full(20, 2**62)}, "go up to 4611686018427387904, but there are 20 images"),
        ({"imgs": GREY, "y": np.zeros(20, int)}, "did you mean 'imgs'"),
        ({"images": np.array([{"a": 1}] * 20)}, "cannot be read: the array holds Python objects"),
    ],
)
def test_arrays_that_are_not_images_are_refused(tmp_path, monkeypatch, contents, message):
    np.savez(tmp_path / "images.npz", **contents)
    with pytest.raises(UserError, match=message) as caught:
        own(tmp_path, monkeypatch, "source: array", "path: images.npz")
    assert "\n" not in str(caught.value)


def npy(header, data=b""):
    """An .npy file with any header."""
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


HEADER = "{{'descr': '|u1', 'fortran_order': False, 'shape': {}, }}\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(HEADER.format((10**6, 3000, 3000)), b"12"), "its header declares 9000000000000 bytes .* 2 bytes follow"),
        (npy(HEADER.format((-1, 4, 4)), b"12"), "its header declares"),
        (npy(HEADER.format((2,)), b"123"), "its header declares 2 bytes .* 3 bytes follow"),
        (npy("{'descr': '|u1', 'shape': (1 "), "the header of the array is damaged"),
        (npy("__import__('os').system('false')\n"), "the header of the array is damaged"),
        (npy("(" * 9000), "the header of the array is damaged"),
        (npy("0" * 20000), "the header of the array is damaged"),
        (b"\x93NUMPY\x09\x00", "version 9.0 of the .npy format is not supported"),
        (b"\x93NUM", "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_an_npy_file_that_is_not_what_its_header_says_is_refused_in_one_line(tmp_path, monkeypatch, data, message):
    (tmp_path / "images.npy").write_bytes(data)
    with pytest.raises(UserError, match=f"images.npy cannot be read.*{message}" if data[6:] else message) as caught:
        own(tmp_path, monkeypatch, "source: array", "path: images.npy")
    assert "\n" not in str(caught.value)


def test_a_small_archive_that_claims_a_huge_array_is_refused_before_it_is_read(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "images.npz", images=np.zeros((1000, 40, 40), np.uint8))
    monkeypatch.setattr("benchmarks.data.readers.array.MUCH", 2**20)
    monkeypatch.setattr("numpy.lib.format.read_array", None)
    with pytest.raises(UserError, match="bytes decompress to 2 MiB, more than 200 times as many"):
        own(tmp_path, monkeypatch, "source: array", "path: images.npz")


def test_a_gzipped_idx_file_is_not_unpacked_beyond_the_bound(tmp_path, monkeypatch):
    (tmp_path / "images.idx.gz").write_bytes(gzip.compress(bytes(2**22)))
    monkeypatch.setattr("benchmarks.data.readers.array.MUCH", 2**20)
    with pytest.raises(UserError, match="more than 200 times as many"):
        own(tmp_path, monkeypatch, "source: array", "path: images.idx.gz")


def test_an_array_that_does_not_fit_into_memory_is_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "images.npy", GREY)
    monkeypatch.setattr("os.sysconf", lambda name: 20)
    with pytest.raises(UserError, match="does not fit into memory"):
        own(tmp_path, monkeypatch, "source: array", "path: images.npy")


def test_an_unknown_compression_is_refused_in_one_line(tmp_path, monkeypatch):
    np.savez(tmp_path / "images.npz", images=GREY)
    data = (tmp_path / "images.npz").read_bytes()
    directory = data.index(b"PK\x01\x02")
    (tmp_path / "images.npz").write_bytes(data[: directory + 10] + struct.pack("<H", 97) + data[directory + 12 :])
    with pytest.raises(UserError, match="cannot be read: That compression method is not supported"):
        own(tmp_path, monkeypatch, "source: array", "path: images.npz")


def test_arrays_beside_images_and_labels_are_named_and_not_read(tmp_path, monkeypatch, caplog):
    np.savez(tmp_path / "images.npz", images=GREY, y=np.array([{"a": 1}] * 20))
    assert own(tmp_path, monkeypatch, "source: array", "path: images.npz").classes == 0
    assert "y is ignored; dataset.labels=... uses one as the labels" in caplog.text


def test_labels_in_a_file_of_several_arrays_are_the_one_called_labels(tmp_path, monkeypatch):
    np.save(tmp_path / "images.npy", GREY)
    np.savez(tmp_path / "classes.npz", labels=np.arange(20) % 3, other=np.arange(5))
    assert own(tmp_path, monkeypatch, "source: array", "path: images.npy", "labels: classes.npz").classes == 3
    np.savez(tmp_path / "classes.npz", a=np.arange(20) % 3, b=np.arange(5))
    with pytest.raises(UserError, match=r"unknown array in .*classes\.npz 'labels'"):
        own(tmp_path, monkeypatch, "source: array", "path: images.npy", "labels: classes.npz")


def classes_of(tmp_path, *names, count=10):
    for name in names:
        for i in range(count):
            draw(tmp_path / name / f"{i}.png", (100, i, 50))


def test_links_to_class_folders_and_to_files_are_followed(tmp_path, monkeypatch):
    classes_of(tmp_path, "pictures/rose", "elsewhere/violet")
    (tmp_path / "pictures" / "violet").symlink_to(tmp_path / "elsewhere" / "violet")
    draw(tmp_path / "one.png", (255, 255, 255))
    (tmp_path / "pictures" / "rose" / "link.png").symlink_to(tmp_path / "one.png")
    data = own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    assert data.classes == 2
    labels = torch.cat([split.labels for split in (data.train, data.validation, data.test)])
    assert labels.bincount().tolist() == [11, 10]


def test_a_link_that_leads_back_ends_the_search_and_is_named(tmp_path, monkeypatch, caplog):
    classes_of(tmp_path, "pictures/rose", "pictures/violet")
    (tmp_path / "pictures" / "rose" / "again").symlink_to(tmp_path / "pictures")
    data = own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    assert len(everything(data)[0]) == 20
    assert "rose/again links to one of its parent folders" in caplog.text


def test_a_link_to_an_image_that_is_gone_is_refused_by_name(tmp_path, monkeypatch):
    classes_of(tmp_path, "pictures")
    (tmp_path / "pictures" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(UserError, match=r"gone\.png is a broken link"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")


def test_hidden_files_and_folders_of_other_programs_are_no_images_and_no_classes(tmp_path, monkeypatch):
    classes_of(tmp_path, "pictures/rose", "pictures/violet")
    classes_of(tmp_path, "pictures/.ipynb_checkpoints", "pictures/__MACOSX", "pictures/rose/@eaDir", count=2)
    (tmp_path / "pictures" / "rose" / "._0.png").write_bytes(b"not an image")
    data = own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    assert data.classes == 2
    assert len(everything(data)[0]) == 20


def test_files_left_out_are_counted_in_one_line(tmp_path, monkeypatch, caplog):
    classes_of(tmp_path, "pictures")
    for name in ("a.heic", "b.HEIC", "notes.txt"):
        (tmp_path / "pictures" / name).write_text("")
    own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    (line,) = [message for message in caplog.messages if "ignoring files" in message]
    assert "'.heic' (2), '.txt' (1)" in line


@pytest.mark.parametrize("names", [["train", "test"], ["Train"], ["train", "val", "other"]])
def test_folders_named_as_splits_are_refused_by_name(tmp_path, monkeypatch, names):
    classes_of(tmp_path, *(f"pictures/{name}/rose" for name in names))
    with pytest.raises(UserError, match=r"[Tt]rain.* are splits by their names.*set dataset\.path to one"):
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")


def test_a_class_may_be_called_train_among_others(tmp_path, monkeypatch):
    classes_of(tmp_path, "pictures/boat", "pictures/car", "pictures/train")
    assert own(tmp_path, monkeypatch, "source: folder", "path: pictures").classes == 3


def test_images_outside_the_class_folders_cost_the_classes_and_are_named(tmp_path, monkeypatch, caplog):
    classes_of(tmp_path, "pictures/rose", "pictures/violet", count=6)
    draw(tmp_path / "pictures" / "preview.png", (1, 2, 200))
    assert own(tmp_path, monkeypatch, "source: folder", "path: pictures").classes == 0
    assert "1 images are not in a sub-folder, so no classes are read" in caplog.text


def test_a_file_name_in_another_encoding_is_read_and_shown_with_escapes(tmp_path, monkeypatch):
    classes_of(tmp_path, "pictures")
    path = tmp_path / "pictures" / os.fsdecode(b"\xe9t\xe9.png")
    draw(path, (0, 0, 255))
    assert len(everything(own(tmp_path, monkeypatch, "source: folder", "path: pictures"))[0]) == 11
    path.write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"\\xe9t\\xe9\.png") as caught:
        own(tmp_path, monkeypatch, "source: folder", "path: pictures")
    str(caught.value).encode()


def test_an_image_that_is_replaced_with_its_old_size_and_time_is_decoded_again(tmp_path, monkeypatch):
    for i in range(10):
        draw(tmp_path / "pictures" / f"{i}.bmp", (i, 0, 200))
    before = own(tmp_path, monkeypatch, "source: folder", "path: pictures").sha256
    path = tmp_path / "pictures" / "0.bmp"
    status = path.stat()
    draw(path, (0, 200, 0))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert own(tmp_path, monkeypatch, "source: folder", "path: pictures").sha256 != before


def test_arrays_of_the_same_bytes_and_another_shape_are_other_data(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 8, 16), dtype=np.uint8)
    digests = set()
    for shape in ((8, 16), (16, 8)):
        np.save(tmp_path / "images.npy", pixels.reshape(50, *shape))
        digests.add(own(tmp_path, monkeypatch, "source: array", "path: images.npy").sha256)
    assert len(digests) == 2


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
