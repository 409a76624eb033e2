"""Factors of variation of a user's own images: read as intended, or refused in one line."""

import numpy as np
import pytest
import torch

from benchmarks.config import compose
from benchmarks.data.dataset import Factor, Split
from benchmarks.data.padding import padded
from benchmarks.data.readers.factors import as_factors
from benchmarks.errors import UserError

from .test_own_data import draw, own

COLOURS = ("red", "green", "blue")


def pictures(tmp_path, rows=None, header="file,colour,size", name="about.csv", count=30):
    """Make a folder of images, of which image i has grey level 8 i, and a CSV file of their colours and sizes."""
    for i in range(count):
        draw(tmp_path / "pictures" / f"{i}.png", 8 * i, mode="L")
    lines = [f"{i}.png,{COLOURS[i % 3]},{[10, 2.5][i % 2]}" for i in range(count)] if rows is None else rows
    (tmp_path / name).write_text("\n".join([header, *lines]) + "\n")


FOLDER = ("source: folder", "path: pictures", "factors: about.csv")


def test_columns_of_a_csv_file_are_factors_of_the_images_of_a_folder(tmp_path, monkeypatch):
    pictures(tmp_path)
    data = own(tmp_path, monkeypatch, *FOLDER)
    assert data.factors == (Factor("colour", ("blue", "green", "red")), Factor("size", (2.5, 10.0)))
    assert [factor.is_ordered for factor in data.factors] == [False, True]
    seen = []
    for split in (data.train, data.validation, data.test):
        for image, (colour, size) in zip(split.images, split.factors.tolist(), strict=True):
            number = int(image[0, 0, 0]) // 8
            seen.append(number)
            assert data.factors[0].values[colour] == COLOURS[number % 3]
            assert data.factors[1].values[size] == [10, 2.5][number % 2]
    assert sorted(seen) == list(range(30))


def test_factors_decide_the_digest_and_a_folder_without_them_has_none(tmp_path, monkeypatch):
    pictures(tmp_path)
    digests = {own(tmp_path, monkeypatch, *FOLDER).sha256}
    (tmp_path / "about.csv").write_text((tmp_path / "about.csv").read_text().replace("2.5", "3"))
    digests.add(own(tmp_path, monkeypatch, *FOLDER).sha256)
    plain = own(tmp_path, monkeypatch, *FOLDER[:2])
    assert plain.factors == ()
    assert plain.train.factors is None
    assert len(digests | {plain.sha256}) == 3


def test_rows_in_any_order_sub_folders_a_byte_order_mark_and_blank_lines_are_read(tmp_path, monkeypatch):
    for i in range(20):
        draw(tmp_path / "pictures" / "ab"[i % 2] / f"{i}.png", 8 * i, mode="L")
    lines = [f" {i % 2} , ab/{i}.png ".replace("ab", "ab"[i % 2]) for i in reversed(range(20))]
    (tmp_path / "about.csv").write_text("\ufeffparity,file\n\n" + "\n".join(lines), encoding="utf-8")
    data = own(tmp_path, monkeypatch, *FOLDER)
    assert torch.equal(data.train.factors[:, 0], data.train.labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"header": "name,colour,size"}, "must name a column 'file' and a column for each factor, got 'name,"),
        ({"header": "file", "rows": ["0.png"]}, "must name a column 'file'"),
        ({"header": "file,size,size"}, "2 factors must have as many different names, got 'size, size'"),
        ({"header": f"file,{'x' * 70},b"}, "a name of up to 60 printable characters"),
        ({"rows": []}, "has no row for 30 images: "),
        ({"rows": ["0.png,red,1", "0.png,red,1"]}, "line 3: 0.png is listed twice"),
        ({"rows": ["0.png,red"]}, "line 2: expected 3 columns, got 2"),
        ({"rows": ["0.png,,1"]}, "line 2: column 'colour' is empty"),
        ({"rows": [f"{i}.png,{i},1" for i in range(30)]}, "'colour' has 30 values among 30 images; there must be 10"),
        ({"rows": [f"{i}.png,red,1" for i in range(30)]}, "no factor has more than one value"),
        ({"rows": [f"{i}.png,red,{['inf', '1'][i % 2]}" for i in range(30)]}, "'size' holds values that are NaN"),
        ({"rows": ['0.png,"red,1']}, "cannot be read as a CSV file"),
        ({"name": "other.csv"}, "about.csv cannot be read: No such file"),
    ],
)  # fmt: skip
def test_a_csv_file_that_cannot_be_read_without_a_guess_is_refused_in_one_line(tmp_path, monkeypatch, change, message):
    pictures(tmp_path, **change)
    with pytest.raises(UserError, match=message) as raised:
        own(tmp_path, monkeypatch, *FOLDER)
    assert "\n" not in str(raised.value)


def rows(sizes):
    return [f"{i}.png,red,{size}" for i, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (["1", "2"] * 14 + ["1o", "2"], r"about\.csv, line 30: factor 'size' has '1o' among numbers: correct it"),
        (["1", "n/a", "2"] * 10, r"about\.csv, line 3: factor 'size' has 'n/a' and 9 other texts among numbers"),
    ],
)
def test_a_text_among_more_numbers_is_refused_with_its_line(tmp_path, monkeypatch, sizes, message):
    pictures(tmp_path, rows=rows(sizes))
    with pytest.raises(UserError, match=message):
        own(tmp_path, monkeypatch, *FOLDER)


def test_texts_of_which_half_or_fewer_are_numbers_are_texts(tmp_path, monkeypatch):
    pictures(tmp_path, rows=rows(["1", "big"] * 15))
    assert own(tmp_path, monkeypatch, *FOLDER).factors == (Factor("size", ("1", "big")),)


def test_rows_of_other_images_are_ignored_and_counted(tmp_path, monkeypatch, caplog):
    pictures(tmp_path)
    with (tmp_path / "about.csv").open("a") as file:
        file.write("gone.png,red,10\nlost.png,red,10\n")
    assert len(own(tmp_path, monkeypatch, *FOLDER).factors) == 2
    assert "ignoring 2 rows of images that are not there" in caplog.text


IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)
GRID = np.stack([np.arange(60) % 3, np.arange(60) // 3 % 4], 1)


def test_factors_in_an_npz_are_read_with_their_names(tmp_path, monkeypatch):
    np.savez(tmp_path / "images.npz", images=IMAGES, factors=GRID, factors_names=np.array(["hue", "angle"]))
    data = own(tmp_path, monkeypatch, "source: array", "path: images.npz")
    assert data.factors == (Factor("hue", (0.0, 1.0, 2.0)), Factor("angle", (0.0, 1.0, 2.0, 3.0)))
    where = [np.flatnonzero((image[0].numpy() == IMAGES).all((1, 2)))[0] for image in data.test.images]
    assert data.test.factors.tolist() == GRID[where].tolist()


def test_another_array_can_hold_the_factors_which_then_have_numbers_for_names(tmp_path, monkeypatch):
    np.savez(tmp_path / "images.npz", images=IMAGES, latents=GRID * 0.5)
    assert own(tmp_path, monkeypatch, "source: array", "path: images.npz").factors == ()
    data = own(tmp_path, monkeypatch, "source: array", "path: images.npz", "factors: latents")
    assert data.factors[1] == Factor("factor 2", (0.0, 0.5, 1.0, 1.5))


@pytest.mark.parametrize(
    ("arrays", "lines", "message"),
    [
        ({"factors": GRID[:59]}, (), "has 60 images and the factors of 59"),
        ({"factors": GRID[:, None]}, (), r"must be numbers or texts, \(n,\) or \(n, factors\); got int64"),
        ({"factors": GRID + 0j}, (), "must be numbers or texts"),
        ({"factors": np.array([*"1" * 59, "l"])}, (), "row 60: factor 'factor 1' has 'l' among numbers"),
        ({"factors": GRID, "factors_names": np.array(["one"])}, (), "2 factors must have as many different names"),
        ({"latents": GRID}, ("factors: latent",), "did you mean 'latents'"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_factors_are_refused_in_one_line(tmp_path, monkeypatch, arrays, lines, message):
    np.savez(tmp_path / "images.npz", images=IMAGES, **arrays)
    with pytest.raises(UserError, match=message) as raised:
        own(tmp_path, monkeypatch, "source: array", "path: images.npz", *lines)
    assert "\n" not in str(raised.value)


def test_factors_of_an_array_without_names_for_its_arrays_are_refused(tmp_path, monkeypatch):
    np.save(tmp_path / "images.npy", IMAGES)
    with pytest.raises(UserError, match=r"dataset\.factors=f\.npy needs an \.npz"):
        own(tmp_path, monkeypatch, "source: array", "path: images.npy", "factors: f.npy")


def test_a_data_set_without_such_files_refuses_the_option():
    with pytest.raises(
        UserError, match=r"dataset\.factors=x has no effect with source 'mnist', only with folder, array"
    ):
        compose("vae", "mnist", "smoke", 0, ["dataset.factors=x"])


def test_texts_that_are_numbers_are_ordered_as_numbers():
    which, factors = as_factors(np.array(["10", "9", "1e1"] * 10), 30, ["a"], "here")
    assert factors == (Factor("a", (9.0, 10.0)),)
    assert which[:3, 0].tolist() == [1, 0, 1]


def test_factors_stay_with_their_images_in_every_part_of_a_data_set(tmp_path, monkeypatch):
    split = Split(torch.arange(4), torch.arange(4), torch.arange(8).reshape(4, 2))
    part = split.of(torch.tensor([True, False, False, True]))
    assert part.factors.tolist() == [[0, 1], [6, 7]]
    np.savez(tmp_path / "images.npz", images=IMAGES, factors=GRID, labels=GRID[:, 0])
    lines = ("source: array", "path: images.npz")
    data = own(tmp_path, monkeypatch, *lines)
    assert torch.equal(padded(data, 6).test.factors, data.test.factors)
    without = own(tmp_path, monkeypatch, *lines, "left_out: 1")
    assert torch.equal(without.train.factors[:, 0], without.train.labels)
    assert (without.left_out.factors[:, 0] == 1).all()
    joined = own(tmp_path, monkeypatch, *lines, "train_on_validation: true")
    assert len(joined.train.factors) == len(joined.train) == 54


def test_the_run_id_does_not_depend_on_where_the_factors_lie(tmp_path, monkeypatch):
    pictures(tmp_path)
    own(tmp_path, monkeypatch, *FOLDER)
    ids = {compose("vae", "mine", "smoke", 0, [f"dataset.factors={path}"]).run_id for path in ("a/f.csv", "/b/f.csv")}
    assert len(ids) == 1
