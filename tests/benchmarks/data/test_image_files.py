"""Image files, decoded as a viewer shows them, and the array that holds the decoded images."""

import io
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from benchmarks.data import DatasetConfig, load
from benchmarks.data.readers import image_files
from benchmarks.data.readers.image_files import decode, header
from benchmarks.errors import UserError
from benchmarks.progress import report


def whole(width, height):
    return 0, 0, width, height


def encoded(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def loaded(folder, **options):
    """The data set of the image files in ``folder``."""
    config = DatasetConfig(name="mine", source="folder", path=str(folder), observation="gaussian", **options)
    return load(config, folder)


def fill(folder, values=range(10, 200, 10), size=(6, 6), mode="L"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, value in enumerate(values):
        Image.new(mode, size, value).save(folder / f"{i:03d}.png")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("JPEG", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_every_orientation_is_turned_as_a_viewer_does(tmp_path, kind, options, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a"
    path.write_bytes(encoded(Image.fromarray(noise(6, 9, 3)), kind, exif=exif, **options))
    with Image.open(path) as image:
        shown = ImageOps.exif_transpose(image)
    size, _ = header(path)
    assert size == shown.size == ((9, 6) if orientation < 5 else (6, 9))
    assert np.array_equal(decode(path.read_bytes(), "a", 3, size, whole), np.asarray(shown).transpose(2, 0, 1))


def test_exif_that_cannot_be_read_leaves_the_image_as_it_is():
    image = Image.fromarray(noise(6, 9, 3))
    data = encoded(image, "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert np.array_equal(decode(data, "a", 3, (9, 6), whole), np.asarray(image).transpose(2, 0, 1))


def palette():
    image = Image.new("P", (2, 1), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    return image


def two(mode, hidden, seen):
    image = Image.new(mode, (2, 1), hidden)
    image.putpixel((1, 0), seen)
    return image


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (encoded(two("RGBA", (10, 20, 30, 0), (40, 50, 60, 255)), "PNG"), [40, 50, 60]),
        (encoded(two("RGBA", (10, 20, 30, 0), (40, 50, 60, 255)), "WEBP", lossless=True), [40, 50, 60]),
        (encoded(two("RGBA", (10, 20, 30, 0), (40, 50, 60, 255)), "TIFF"), [40, 50, 60]),
        (encoded(two("LA", (10, 0), (40, 255)), "PNG"), [40, 40, 40]),
        (encoded(palette(), "PNG", transparency=0), [40, 50, 60]),
        (encoded(palette(), "PNG", transparency=b"\0\xff"), [40, 50, 60]),
        (encoded(palette(), "GIF", transparency=0), [40, 50, 60]),
        (encoded(two("RGB", (10, 20, 30), (40, 50, 60)), "PNG", transparency=(10, 20, 30)), [40, 50, 60]),
        (encoded(two("L", 10, 40), "PNG", transparency=10), [40, 40, 40]),
    ],
    ids=["RGBA", "WebP", "TIFF", "LA", "palette", "palette of alphas", "GIF", "RGB and tRNS", "L and tRNS"],
)
def test_what_lies_under_transparent_pixels_is_white_in_every_mode(data, seen):
    assert decode(data, "a", 3, (2, 1), whole)[:, 0].T.tolist() == [[255, 255, 255], seen]


def test_half_transparent_pixels_are_blended_with_white():
    data = encoded(Image.new("RGBA", (1, 1), (0, 100, 200, 51)), "PNG")
    # The opacity is 51 / 255 = 1/5: the result is a fifth of the colour and four fifths of white.
    assert decode(data, "a", 3, (1, 1), whole)[:, 0, 0].tolist() == [204, 224, 244]


def test_premultiplied_grey_has_its_way_to_white():
    found = image_files._on_background(two("LA", (10, 0), (40, 255)).convert("La"))
    assert np.asarray(found).tolist() == [[[255] * 3, [40] * 3]]


def test_postscript_is_not_opened_whatever_its_name(tmp_path):
    fill(tmp_path)
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "evil.png").write_bytes(script)
    with Image.open(tmp_path / "evil.png") as image:
        assert image.format == "EPS"  # what Pillow detects without restrictions
    with pytest.raises(UserError, match=r"evil\.png \(UnidentifiedImageError\)"):
        loaded(tmp_path)
    with pytest.raises(UserError, match="cannot be read as an image"):
        decode(script, "evil.png", 3, (6, 6), whole)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "PPM"])
def test_half_a_file_of_every_format_is_refused_in_one_line(kind):
    data = encoded(Image.fromarray(noise(40, 40, 3)), kind)
    decode(data, "a", 3, (40, 40), whole)
    with pytest.raises(UserError, match=r"^a cannot be read as an image: .*\Z"):
        decode(data[: len(data) // 2], "a", 3, (40, 40), whole)


@pytest.mark.parametrize("size", [None, 5])
def test_masks_of_zero_and_one_are_what_the_same_masks_of_0_and_255_are(tmp_path, size, caplog):
    for name, factor in (("masks", 1), ("images", 255)):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.fromarray(np.roll(noise(6, 6) % 2, i) * np.uint8(factor)).save(tmp_path / name / f"{i}.png")
    masks = loaded(tmp_path / "masks", image_size=size)
    assert torch.equal(masks.train.images, loaded(tmp_path / "images", image_size=size).train.images)
    assert masks.train.images.max() > 1
    # Loading the cached array gives the same images and the same warning.
    again = loaded(tmp_path / "masks", image_size=size)
    assert torch.equal(again.train.images, masks.train.images)
    assert sum("treated as masks and multiplied by 255" in message for message in caplog.messages) == 2


def test_two_sizes_in_turn_have_an_array_each(tmp_path, monkeypatch):
    fill(tmp_path / "pictures")
    builds = []
    build = image_files._build
    monkeypatch.setattr(image_files, "_build", lambda *arguments: builds.append(1) or build(*arguments))
    for _ in range(2):
        for size in (4, 5):
            assert loaded(tmp_path / "pictures", image_size=size).shape == (1, size, size)
    assert len(builds) == 2


def test_two_sizes_at_once_are_never_mistaken_for_each_other(tmp_path):
    fill(tmp_path / "pictures")
    with ThreadPoolExecutor(4) as pool:
        sizes = [4, 5, 6, 7] * 3
        found = pool.map(lambda size: loaded(tmp_path / "pictures", image_size=size).shape, sizes)
    assert list(found) == [(1, size, size) for size in sizes]


def arrays(tmp_path):
    return sorted((tmp_path / "cache" / "arrays").glob("*.npy"))


@pytest.mark.parametrize("days", [1, 30])
def test_an_array_of_files_that_have_changed_is_deleted_once_it_is_no_longer_used(tmp_path, days):
    fill(tmp_path / "pictures")
    loaded(tmp_path / "pictures")
    (old,) = arrays(tmp_path)
    used = time.time() - days * 86400
    os.utime(old.with_suffix(".json"), (used, used))
    Image.new("L", (6, 6), 255).save(tmp_path / "pictures" / "new.png")
    loaded(tmp_path / "pictures")
    assert (old in arrays(tmp_path)) == (days < 7)
    assert len(arrays(tmp_path)) == (2 if days < 7 else 1)


def test_an_array_in_use_is_never_deleted_for_another_data_set_or_size(tmp_path):
    fill(tmp_path / "pictures")
    loaded(tmp_path / "pictures", image_size=4)
    (other,) = arrays(tmp_path)
    manifest = other.with_suffix(".json")
    os.utime(manifest, (0, 0))
    loaded(tmp_path / "pictures", image_size=5)
    assert other.exists()
    assert json.loads(manifest.read_text())["facts"]["size"] == [4, 4]


def test_what_a_killed_process_left_is_deleted(tmp_path):
    fill(tmp_path / "pictures")
    loaded(tmp_path / "pictures", image_size=4)
    (array,) = arrays(tmp_path)
    abandoned = array.with_name(f".{array.name}.0123abcd.tmp")
    abandoned.write_bytes(b"half")
    loaded(tmp_path / "pictures", image_size=5)
    assert not abandoned.exists()


def test_without_a_folder_for_the_cache_images_are_decoded_into_memory(tmp_path, monkeypatch, caplog):
    fill(tmp_path / "pictures")
    cached = loaded(tmp_path / "pictures")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAE_CACHE", str(tmp_path / "file" / "cache"))
    data = loaded(tmp_path / "pictures")
    assert data.sha256 == cached.sha256
    assert torch.equal(data.test.images, cached.test.images)
    assert "decoding images into memory" in caplog.text
    assert "damaged" not in caplog.text


def test_a_read_only_cache_is_used_where_it_has_the_array(tmp_path, monkeypatch, caplog):
    fill(tmp_path / "pictures")
    before = loaded(tmp_path / "pictures")

    def read_only(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", read_only)
    monkeypatch.setattr("os.utime", read_only)
    assert loaded(tmp_path / "pictures").sha256 == before.sha256
    assert not caplog.messages


def test_a_data_sets_name_cannot_lead_out_of_the_cache(tmp_path):
    fill(tmp_path / "pictures")
    for name in ("../../stolen", "a/b", "x" * 300):
        config = DatasetConfig(name=name, source="folder", path="pictures", observation="gaussian")
        load(config, tmp_path)
    assert len(arrays(tmp_path)) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"pictures", "cache"}


def test_decoding_reports_how_far_it_is(tmp_path, monkeypatch, capfd):
    fill(tmp_path / "pictures")
    monkeypatch.setattr(image_files, "CHUNK", 2)
    monkeypatch.setattr(report, "INTERVAL", 0)
    heard = []
    with report.listening(heard.append):
        loaded(tmp_path / "pictures")
    assert "decoding mine, 4/19 images" in [status.text for status in heard]
    # Without a listener, and with a file as output, no progress bar is shown.
    loaded(tmp_path / "pictures", image_size=4)
    assert capfd.readouterr() == ("", "")
