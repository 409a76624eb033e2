"""CelebA's layout, crop and cache, on a synthetic set of flat colours and ramps in the official layout."""

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import variants
from benchmarks.__main__ import main
from benchmarks.config import compose
from benchmarks.data import load
from benchmarks.data.readers import image_files
from benchmarks.data.readers.celeba import ARCHIVE, ATTRIBUTES, PARTITION
from benchmarks.errors import UserError

COUNT = 20
SPLIT = [0] * 12 + [1] * 3 + [2] * 5


def config_of(*overrides):
    return compose("vae", "celeba", "smoke", 0, overrides).dataset


def colour(i):
    return (10 * i, 255 - 10 * i, 128)


def jpeg(image):
    data = io.BytesIO()
    image.save(data, "JPEG", quality=95)
    return data.getvalue()


def write_celeba(root, scale=1.0, images=None, split=SPLIT, unpacked=False):
    """Write a set in CelebA's layout: image i has its own flat colour, and attribute k if k divides i + 1."""
    folder = root / "celeba"
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{i + 1:06d}.jpg" for i in range(len(split))]
    size = (round(178 * scale), round(218 * scale))
    files = {name: jpeg(Image.new("RGB", size, colour(i))) for i, name in enumerate(names)} | (images or {})
    if unpacked:
        (folder / "img_align_celeba").mkdir()
        for name, data in files.items():
            (folder / "img_align_celeba" / name).write_bytes(data)
    else:
        with zipfile.ZipFile(folder / ARCHIVE, "w") as archive:
            for name, data in files.items():
                archive.writestr(f"img_align_celeba/{name}", data)
    (folder / PARTITION).write_text("".join(f"{n} {s}\n" for n, s in zip(names, split, strict=True)))
    rows = [" ".join(["1" if (i + 1) % k == 0 else "-1" for k in range(1, 41)]) for i in range(len(split))]
    text = f"{len(split)}\n{' '.join(f'Attribute_{k}' for k in range(1, 41))} \n"
    (folder / ATTRIBUTES).write_text(text + "".join(f"{n}  {r}\n" for n, r in zip(names, rows, strict=True)))


def close(image, expected):
    """Whether an image (3, height, width) has the colour ``expected``, up to the error of JPEG."""
    return (image.float() - torch.tensor(expected).float().reshape(3, 1, 1)).abs().max() <= 3


@pytest.mark.parametrize("unpacked", [False, True])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_every_image_lands_in_its_official_split_with_its_attributes(tmp_path, unpacked, scale):
    write_celeba(tmp_path, scale, unpacked=unpacked)
    data = load(config_of(), tmp_path)
    assert data.shape == (3, 64, 64)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [12, 3, 5]
    images = torch.cat([data.train.images, data.validation.images, data.test.images])
    labels = torch.cat([data.train.labels, data.validation.labels, data.test.labels])
    assert all(close(image, colour(i)) for i, image in enumerate(images))
    assert labels.tolist() == [[int((i + 1) % k == 0) for k in range(1, 41)] for i in range(COUNT)]


def test_an_interleaved_partition_is_sorted_into_its_splits(tmp_path):
    write_celeba(tmp_path, split=[0, 1, 2] * 6)
    data = load(config_of(), tmp_path)
    for part, split in enumerate((data.train, data.validation, data.test)):
        assert all(close(image, colour(3 * i + part)) for i, image in enumerate(split.images))


@pytest.mark.parametrize("scale", [1.0, 0.5])
@pytest.mark.parametrize("crop", [140, 148])
def test_the_crop_is_centred_and_scales_with_the_image(tmp_path, scale, crop):
    # Red is a horizontal ramp and green a vertical one, so a pixel's colour gives its position in the image.
    width, height = round(178 * scale), round(218 * scale)
    ramp = np.zeros((height, width, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, width)[None, :]
    ramp[..., 1] = np.linspace(0, 255, height)[:, None]
    write_celeba(tmp_path, scale, images={"000001.jpg": jpeg(Image.fromarray(ramp))})
    image = load(config_of(f"dataset.crop={crop}"), tmp_path).train.images[0].float()
    for channel, side, axis in ((0, 178, 0), (1, 218, 1)):
        profile = image[channel].mean(axis)
        pixel = crop / 64  # of the output, in pixels of the aligned image
        centres = (side - crop) / 2 + pixel * (torch.arange(64) + 0.5)
        expected = 255 * (centres - 0.5) / (side - 1)
        assert (profile - expected).abs()[2:-2].max() < 3


def test_a_set_of_another_size_than_the_official_one_is_titled_as_a_sample(tmp_path, monkeypatch):
    write_celeba(tmp_path)
    assert load(config_of(), tmp_path).title == "CelebA, 64x64 RGB (sample of 20 images)"
    monkeypatch.setattr("benchmarks.data.readers.celeba.OFFICIAL_IMAGES", COUNT)
    assert load(config_of(), tmp_path).title == "CelebA, 64x64 RGB"


def test_images_are_decoded_once_and_again_only_when_something_they_depend_on_changes(tmp_path, monkeypatch):
    write_celeba(tmp_path)
    builds = []
    build = image_files._build
    monkeypatch.setattr(image_files, "_build", lambda *arguments: builds.append(1) or build(*arguments))
    first = load(config_of(), tmp_path)
    assert load(config_of(), tmp_path).sha256 == first.sha256
    assert len(builds) == 1
    for number, change in enumerate(
        [
            lambda: load(config_of("dataset.crop=148"), tmp_path),
            lambda: load(config_of("dataset.crop=148", "dataset.image_size=32"), tmp_path),
            lambda: write_celeba(tmp_path, split=[0] * 11 + [1] * 4 + [2] * 5),
            lambda: write_celeba(tmp_path, images={"000002.jpg": jpeg(Image.new("RGB", (178, 218)))}),
        ],
        2,
    ):
        change()
        data = load(config_of("dataset.crop=148", "dataset.image_size=32"), tmp_path) if number > 2 else None
        assert len(builds) == number
    assert close(data.train.images[1], (0, 0, 0))


def flip_a_pixel(array, manifest):
    data = bytearray(array.read_bytes())
    data[-100] ^= 1
    array.write_bytes(data)


def flip_the_shape(array, manifest):
    array.write_bytes(array.read_bytes().replace(b"(20, 3, 64, 64)", b"(20, 3, 32,128)"))


DAMAGES = {
    "truncated array": lambda array, manifest: array.write_bytes(array.read_bytes()[:-100]),
    "empty array": lambda array, manifest: array.write_bytes(b""),
    "one bit of a pixel": flip_a_pixel,
    "another shape of the same bytes": flip_the_shape,
    "no array": lambda array, manifest: array.unlink(),
    "no manifest": lambda array, manifest: manifest.unlink(),
    "a manifest that is a list": lambda array, manifest: manifest.write_text("[]"),
    "a manifest with another digest": lambda array, manifest: manifest.write_text(
        json.dumps({**json.loads(manifest.read_text()), "sha256": "0" * 64})
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_decoded_array_that_is_not_what_was_written_is_made_again_and_named(tmp_path, damage, caplog):
    write_celeba(tmp_path)
    before = load(config_of(), tmp_path)
    # Clone the images, because the tensor is a memory map of the file that is damaged next.
    images = before.train.images.clone()
    (array,) = (tmp_path / "cache" / "arrays").glob("celeba-*.npy")
    DAMAGES[damage](array, array.with_suffix(".json"))
    after = load(config_of(), tmp_path)
    assert after.sha256 == before.sha256
    assert torch.equal(after.train.images, images)
    assert damage.startswith("no ") or f"{array} is damaged" in caplog.text


def test_writing_to_a_loaded_image_does_not_reach_the_file(tmp_path):
    write_celeba(tmp_path)
    data = load(config_of(), tmp_path)
    data.train.images[0].zero_()
    assert close(load(config_of(), tmp_path).train.images[0], colour(0))


def test_missing_files_are_named_with_where_to_get_and_put_them(tmp_path, monkeypatch):
    def refused(*arguments):
        raise OSError("connection refused")

    monkeypatch.setattr("torchvision.datasets.utils.download_file_from_google_drive", refused)
    write_celeba(tmp_path)
    (tmp_path / "celeba" / PARTITION).unlink()
    with pytest.raises(UserError) as caught:
        load(config_of(), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert f"files in {tmp_path / 'celeba'} (missing: {PARTITION})" in message
    assert message.endswith(f"put them into {tmp_path / 'celeba'}")
    assert "connection refused" in message
    assert ARCHIVE not in message


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / ARCHIVE).write_bytes((f / ARCHIVE).read_bytes()[:2000]), "damaged or incomplete"),
        (lambda f: (f / PARTITION).write_text("000001.jpg 7\n"), "line 1: expected a file name and 0, 1 or 2"),
        (lambda f: (f / PARTITION).write_text("000001.jpg 0\n"), "leaves training, validation or test without images"),
        (
            lambda f: (f / PARTITION).write_text((f / PARTITION).read_text() + "999999.jpg 0\n"),
            "1 images .* are not in .*999999.jpg",
        ),
        (lambda f: (f / PARTITION).write_text("000001.jpg 0\n000001.jpg 1\n"), "line 2: 000001.jpg is listed twice"),
        (lambda f: (f / PARTITION).write_text("000001.jpg 0\n", encoding="utf-16"), "cannot be read as UTF-8 text"),
        (lambda f: (f / PARTITION).write_text("000001.jpg 0\n", encoding="utf-16-le"), "it contains null bytes"),
        (lambda f: (f / ATTRIBUTES).write_text("20\nA B\n000001.jpg 1 7\n"), "line 3: expected 2 attributes of 000001"),
        (lambda f: (f / ATTRIBUTES).write_text("20\nA B\na.jpg 1 1 1\nb.jpg 1\n"), "line 3: expected 2 attributes"),
        (lambda f: (f / ATTRIBUTES).write_text("20\nA B\n000001.jpg 1 1\n"), "19 images .* are not in"),
        (lambda f: write_celeba(f.parent, images={"000003.jpg": b"no image"}), "000003.jpg cannot be read"),
        (lambda f: write_celeba(f.parent, images={"000004.jpg": jpeg(Image.new("RGB", (64, 64)))}), "64x64 is not an"),
    ],
)
def test_files_that_do_not_fit_are_refused_by_name_and_leave_no_array(tmp_path, harm, message):
    write_celeba(tmp_path)
    harm(tmp_path / "celeba")
    with pytest.raises(UserError, match=message):
        load(config_of(), tmp_path)
    assert not list((tmp_path / "cache").rglob("*.npy"))


@pytest.mark.parametrize(
    "rewrite",
    [
        pytest.param(lambda text: "\ufeff" + text, id="byte-order mark"),
        pytest.param(lambda text: text.replace(" ", "\t"), id="tabs"),
        pytest.param(lambda text: text + "\n  \n", id="blank last lines"),
        pytest.param(lambda text: text.replace("\n", "\r\n"), id="line ends of Windows"),
    ],
)
def test_lists_are_read_however_an_editor_left_them(tmp_path, rewrite):
    write_celeba(tmp_path)
    before = load(config_of(), tmp_path)
    for name in (PARTITION, ATTRIBUTES):
        path = tmp_path / "celeba" / name
        path.write_bytes(rewrite(path.read_text()).encode())
    after = load(config_of(), tmp_path)
    assert after.sha256 == before.sha256
    assert torch.equal(after.train.labels, before.train.labels)


def test_a_member_of_the_archive_that_claims_gigabytes_is_refused_unread(tmp_path):
    write_celeba(tmp_path)
    path = tmp_path / "celeba" / ARCHIVE
    with zipfile.ZipFile(path) as archive:
        size = struct.pack("<I", archive.getinfo("img_align_celeba/000001.jpg").file_size)
    data = path.read_bytes()
    directory = data.index(b"PK\x01\x02")
    assert data[directory + 24 : directory + 28] == size
    path.write_bytes(data[: directory + 24] + struct.pack("<I", 2**31) + data[directory + 28 :])
    with pytest.raises(UserError, match=r"000001.jpg in .* has 2147483648 bytes, too many"):
        load(config_of(), tmp_path)


def test_an_unknown_compression_of_the_archive_is_refused_in_one_line(tmp_path):
    write_celeba(tmp_path)
    path = tmp_path / "celeba" / ARCHIVE
    data = path.read_bytes()
    directory = data.index(b"PK\x01\x02")
    path.write_bytes(data[: directory + 10] + struct.pack("<H", 97) + data[directory + 12 :])
    with pytest.raises(UserError, match=r"0000\d\d.jpg in .* cannot be read: That compression method"):
        load(config_of(), tmp_path)


def test_one_flipped_bit_in_the_archive_is_found_by_its_checksum(tmp_path):
    write_celeba(tmp_path)
    path = tmp_path / "celeba" / ARCHIVE
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"0000\d\d.jpg in .* cannot be read: Bad CRC-32"):
        load(config_of(), tmp_path)


@pytest.mark.slow
def test_a_real_copy_decodes(tmp_path):
    root = os.environ.get("VAE_CELEBA_ROOT")
    if not root or not (Path(root) / "celeba" / PARTITION).exists():
        pytest.skip("VAE_CELEBA_ROOT does not name a folder with celeba/ in it")
    data = load(config_of(), Path(root))
    assert data.shape == (3, 64, 64)
    assert data.classes == 40
    # The mean brightness is plausible for faces, and the first 100 images are all different.
    assert 60 < data.train.images[:100].float().mean() < 200
    assert len({image.numpy().tobytes() for image in data.train.images[:100]}) == 100


def test_a_bench_without_celeba_runs_the_rest_and_lists_it_as_missing_until_it_is_there(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VAE_DATA_ROOT", str(tmp_path / "root"))

    def refused(*arguments):
        raise OSError("connection refused")

    monkeypatch.setattr("torchvision.datasets.utils.download_file_from_google_drive", refused)
    # A second data set, without labels, so that no judge is trained for its samples.
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (60, 6, 5), dtype=np.uint8))
    (tmp_path / "conf" / "dataset").mkdir(parents=True)
    mine = f"name: mine\nsource: array\npath: {tmp_path / 'images.npy'}\nobservation: discretised_logistic\n"
    (tmp_path / "conf" / "dataset" / "mine.yaml").write_text(mine)
    monkeypatch.setenv("VAE_CONF_PATH", str(tmp_path / "conf"))
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    bench = ["bench", "--variants", "vae", "--profile", "smoke", *folders]
    assert main([*bench, "--datasets", "celeba"]) == 1
    assert main([*bench, "--datasets", "mine,celeba"]) == 0
    assert "celeba: data missing: Could not obtain CelebA" in capsys.readouterr().out
    index = (tmp_path / "reports" / "README.md").read_text()
    assert "**data missing**" in index
    # Without a download, none is tried.
    with pytest.raises(UserError, match="CelebA is not in"):
        load(compose("vae", "celeba", "smoke", 0).dataset, tmp_path / "empty", download=False)
    assert "(mine.md#profile-smoke)" in index

    write_celeba(tmp_path / "root")
    assert main([*bench, "--datasets", "celeba"]) == 0
    index = (tmp_path / "reports" / "README.md").read_text()
    assert "data missing" not in index
    assert "(celeba.md#profile-smoke)" in index
    assert "# CelebA, 64x64 RGB (sample of 20 images)" in (tmp_path / "reports" / "celeba.md").read_text()


@pytest.mark.slow
def test_every_variant_runs_on_faces_with_the_boards_own_network(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA_ROOT", str(tmp_path))
    write_celeba(tmp_path)
    folders = ["--results", str(tmp_path / "results"), "--no-report"]
    assert main(["bench", "--datasets", "celeba", "--profile", "smoke", *folders, "network.width=4"]) == 0
    records = [json.loads(path.read_text()) for path in (tmp_path / "results" / "runs").glob("*/record.json")]
    unconditional = {name for name in variants.names() if not variants.lookup(name).conditional}
    assert {record["variant"] for record in records} == unconditional
    assert {record["status"] for record in records} == {"ok"}
    assert {record["config"]["network"]["name"] for record in records} == {"conv"}
