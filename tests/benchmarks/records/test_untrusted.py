"""Records are untrusted input: an invalid record loses its own row and affects nothing else."""

import copy
import dataclasses
import json
import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.__main__ import main
from benchmarks.config import from_plain
from benchmarks.files import write_atomically
from benchmarks.records import identity
from benchmarks.records.checks import LARGEST, tidy
from benchmarks.records.export import write_table
from benchmarks.records.publishing import publish
from benchmarks.records.record import (
    SCHEMA,
    NewerSchemaError,
    RecordError,
    read_record,
    read_records,
    set_aside,
    write_record,
)
from benchmarks.reporting import write_reports
from benchmarks.sweep import plan
from tests.benchmarks.cells import configuration, run, setting

RESULTS = Path(__file__).resolve().parents[3] / "results"
MUTATIONS = 120
HOSTILE = [
    None, True, 0, -1, 1e308, -1e99, 10**400, float("nan"), "", "x" * 100_000, "../../up", "/etc", "$x_y_z$",
    "\ud800", "\u202egnp.exe", "\x1b[31m\x00", "<script>", "${oc.env:HOME}", "???", [], [1], ["a", None], {},
    {"a": {"b": []}}, {"\ud800": 1},
]  # fmt: skip


def published(variant):
    """A committed record of MNIST, as plain data."""
    path = next((RESULTS / "reference").glob(f"mnist-{variant}-quick-s0-*/record.json"))
    return json.loads(path.read_text())


def of_seed(data, seed):
    """The same record with another seed and the run id that belongs to it."""
    data = copy.deepcopy(data)
    data["seed"] = data["config"]["seed"] = seed
    data["run_id"] = identity.run_id(data["config"])
    return data


def sealed(data):
    """The content with the digest that :func:`write_record` would add, even if it would refuse the content."""
    rest = {key: value for key, value in data.items() if key != "digest"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return rest | {"digest": identity.hashlib.sha256(canonical.encode()).hexdigest()}


def store(results, folder, data):
    path = results / "runs" / folder / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(sealed(data)))
    return path


def mutate(data, draw):
    """Replace, remove or add a value at a random place of plain data."""
    node = data
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = draw.choice(keys)
        if not isinstance(node[key], dict | list) or not node[key] or draw.random() < 0.3:
            break
        node = node[key]
    kind = draw.random()
    if kind < 0.7:
        node[key] = draw.choice(HOSTILE)
    elif kind < 0.85 or isinstance(node, list):
        del node[key]
    else:
        node[draw.choice(["new", "$a_b$", "../x", "\ud800", "x" * 500])] = draw.choice(HOSTILE)


def test_dsprites_and_the_suites_own_shapes_are_runs_of_their_own_and_earlier_records_are_read(tmp_path):
    own = published("vae")["config"]
    own = own | {"dataset": own["dataset"] | {"name": "shapes", "source": "shapes"}}
    dsprites = own | {"dataset": own["dataset"] | {"path": "/data/dsprites.npz"}}
    elsewhere = own | {"dataset": own["dataset"] | {"path": "/other/dsprites.npz"}}
    assert identity.run_id(own) != identity.run_id(dsprites) == identity.run_id(elsewhere)
    for config, name in ((dsprites, identity.run_id(dsprites)), (dsprites, identity.run_id(own))):
        data = published("vae") | {"config": config, "dataset": "shapes", "run_id": name}
        data.pop("digest")
        store(tmp_path, name, data)
        assert read_record(tmp_path / "runs" / name / "record.json").run_id == name


def test_a_reader_of_the_exported_table_that_ends_first_is_no_error_of_a_file(tmp_path, monkeypatch):
    store(tmp_path, published("vae")["run_id"], published("vae"))

    def ended(text):
        raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", SimpleNamespace(write=ended))
    with pytest.raises(BrokenPipeError):
        write_table(tmp_path, Path("-"), None)


def test_no_mutated_record_costs_more_than_its_own_row(tmp_path):
    results, draw, base = tmp_path / "results", random.Random(0), published("iwae")
    good = [of_seed(base, seed) for seed in (0, 1, 2)] + [of_seed(published("vae"), 0)]
    for data in good:
        store(results, data["run_id"], data)
    cells = []
    for seed in range(10, 10 + MUTATIONS):
        data = of_seed(base, seed)
        folder = data["run_id"]
        cells.append(from_plain(data["config"]))
        for _ in range(draw.choice((1, 1, 3))):
            mutate(data, draw)
        store(results, folder, data)
    records, messages = read_records(results)
    assert len(records) + len(messages) == len(good) + MUTATIONS
    assert 20 < len(messages) < MUTATIONS
    assert {data["run_id"] for data in good} <= {record.run_id for record in records}
    assert not [message for message in messages if "\n" in message or not message.isprintable()]
    assert write_reports(results, tmp_path / "reports") == messages
    board = (tmp_path / "reports" / "mnist.md").read_text()
    assert "[iwae](variants/iwae.md)" in board
    assert "[vae](variants/vae.md)" in board
    assert "\u202e" not in board
    assert write_table(results, tmp_path / "all.csv", None) == messages
    ids, _ = publish(tmp_path / "published", results)
    assert {data["run_id"] for data in good} <= set(ids)
    assert {path.name for path in tmp_path.iterdir()} == {"results", "reports", "all.csv", "published"}
    described = plan.describe_plan(cells, setting(results), retry=True, jobs=1)
    assert f"{MUTATIONS} runs" in described


def test_a_flipped_bit_is_noticed(tmp_path):
    """A file with a flipped bit is accepted only if its content is still what was written."""
    data = published("vae")
    written = read_record(RESULTS / "reference" / data["run_id"] / "record.json")
    path = write_record(tmp_path / data["run_id"], written)
    whole, draw = path.read_bytes(), random.Random(0)
    for _ in range(300):
        flipped = bytearray(whole)
        flipped[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            assert read_record(path) == written
        except RecordError:
            continue


def test_a_record_without_a_digest_is_read_and_says_so(tmp_path):
    data = {name: value for name, value in published("vae").items() if name != "digest"}
    path = tmp_path / data["run_id"] / "record.json"
    write_atomically(path, json.dumps(data).encode())
    assert read_record(path).digest is None
    write_record(path.parent, read_record(path))
    assert read_record(path).digest is not None


def test_a_record_in_the_folder_of_another_run_is_refused(tmp_path):
    data, other = (of_seed(published("vae"), seed) for seed in (0, 7))
    with pytest.raises(RecordError, match="is in the folder of another run"):
        read_record(store(tmp_path, other["run_id"], data))
    pretending = data | {"run_id": other["run_id"], "seed": 7}
    with pytest.raises(RecordError, match="its seed is 7, but 0 in its configuration"):
        read_record(store(tmp_path / "pretending", other["run_id"], pretending))


@pytest.mark.parametrize("name", ["../../stolen", "/tmp/stolen", "a/b", "", ".", "x" * 5000, "$x_y_z$", "a\u202eb"])
@pytest.mark.parametrize("part", ["variant", "dataset"])
def test_a_name_that_is_no_part_of_a_path_is_refused(tmp_path, part, name):
    data = published("vae")
    data[part] = data["config"][part]["name"] = name
    data["run_id"] = identity.run_id(data["config"])
    with pytest.raises(RecordError, match=f"{part} must be a name"):
        read_record(store(tmp_path, "folder", data))


def test_invisible_characters_are_left_out_of_texts(tmp_path):
    data = published("vae")
    data["warnings"] = ["elbo \u202ereversed\x1b[31m\x00 and\u2028on\nnext"]
    assert read_record(store(tmp_path, data["run_id"], data)).warnings == ["elbo reversed[31m and on\nnext"]


def test_what_a_run_says_of_itself_is_brought_within_the_bounds_of_a_record():
    said = {"path": "caf\udce9.png", "worst": float("nan"), "many": 10**400, "text": "x" * 10**6, "own": Path("a")}
    kept = tidy(said)
    assert kept["path"] == "caf\\udce9.png"
    assert kept["worst"] is kept["many"] is None
    assert kept["own"] == "a"
    read = read_record(RESULTS / "reference" / published("vae")["run_id"] / "record.json")
    assert dataclasses.replace(read, details=kept, metrics={"elbo": LARGEST})


def test_a_newer_record_is_named_and_left_alone_by_reports_and_sweeps(tmp_path, capsys):
    record = run(tmp_path)
    path = tmp_path / "runs" / record.run_id / "record.json"
    newer = json.dumps(json.loads(path.read_text()) | {"schema": SCHEMA + 1, "more": []})
    path.write_text(newer)
    with pytest.raises(NewerSchemaError, match="a later version of the suite wrote it"):
        read_record(path)
    assert len(write_reports(tmp_path, tmp_path / "reports")) == 1
    small = ("network.hidden=[16]", "network.latent_size=4", "training.epochs=3")
    bench = ["bench", "--variants", "vae", "--datasets", "digits", "--profile", "smoke", "--results", str(tmp_path)]
    for more in ([], ["--dry"]):
        assert main([*bench, *more, *small]) == 2
        assert ": update the suite" in capsys.readouterr().err
    assert path.read_text() == newer


def test_a_baseline_with_damaged_records_is_read_and_not_touched(tmp_path):
    baseline = tmp_path / "baseline"
    store(tmp_path / "now", published("vae")["run_id"], published("vae"))
    for folder, text in (("bad", "{"), ("newer", json.dumps({"schema": SCHEMA + 1}))):
        write_atomically(baseline / "runs" / folder / "record.json", text.encode())
    before = sorted(baseline.rglob("*"))
    messages = write_reports(tmp_path / "now", tmp_path / "reports", baseline)
    assert [message.startswith("left out: ") for message in messages] == [True, True]
    assert sorted(baseline.rglob("*")) == before


def test_what_is_set_aside_replaces_nothing(tmp_path):
    for text in ("one", "two", "three"):
        path = tmp_path / "record.json"
        path.write_text(text)
        set_aside(path, "unreadable")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["one", "three", "two"]


def test_publishing_takes_no_file_from_outside_through_a_link(tmp_path):
    data = published("vae")
    folder = store(tmp_path / "r", data["run_id"], data).parent
    (tmp_path / "secret").write_text("secret")
    (folder / "samples.png").symlink_to(tmp_path / "secret")
    (folder / "codes.csv").mkdir()
    ids, messages = publish(tmp_path / "out", tmp_path / "r")
    assert ids == [data["run_id"]]
    assert len(messages) == 2
    assert {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()} == {"record.json"}


def test_a_record_that_is_a_link_to_another_place_is_not_published_and_not_counted(tmp_path):
    data = published("vae")
    path = store(tmp_path / "r", data["run_id"], data)
    (path.parent / "samples.png").write_text("picture")
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    ids, messages = publish(tmp_path / "out", tmp_path / "r")
    assert ids == []
    assert [message.endswith("record.json is not a file of this folder") for message in messages] == [True]
    assert not (tmp_path / "out").exists()


def test_publishing_leaves_a_damaged_record_out_and_the_good_reference_of_the_same_run_as_it_is(tmp_path):
    data = published("vae")
    good = tmp_path / "reference" / data["run_id"] / "record.json"
    good.parent.mkdir(parents=True)
    good.write_text(json.dumps(data))
    store(tmp_path, data["run_id"], data).write_text("{")
    ids, messages = publish(tmp_path, tmp_path)
    assert ids == []
    assert len(messages) == 1
    assert json.loads(good.read_text()) == data


def test_publish_and_verify_refuse_in_one_line(tmp_path, capsys):
    data = published("vae")
    store(tmp_path, data["run_id"], data)
    stolen = store(tmp_path, "stolen", data | {"run_id": "../../stolen"})
    assert main(["publish", "--results", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "1 record published" in captured.out
    assert captured.err.startswith(f"left out: {stolen}: its run id is '../../stolen'")
    assert main(["verify", "stolen", "--results", str(tmp_path)]) == 2
    assert "its run id is '../../stolen'" in capsys.readouterr().err
    # Files in the place of folders: no user, not even root, can write into them.
    (tmp_path / "verification").write_text("")
    assert main(["verify", data["run_id"], "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "taken").write_text("")
    assert main(["publish", "--results", str(tmp_path / "taken"), "--source", str(tmp_path)]) == 2
    assert "cannot copy" in capsys.readouterr().err


def test_texts_of_a_record_are_not_interpolated(monkeypatch):
    monkeypatch.setenv("SECRET", "hidden")
    config = published("vae")["config"]
    for text in ("${oc.env:SECRET}", r"\${a}", r"a\\${seed}\\", "$x$", "{"):
        config["dataset"]["title"] = text
        assert from_plain(config).resolved()["dataset"]["title"] == text
    config["dataset"]["title"] = "???"
    with pytest.raises(ValueError, match="marks a value that is missing"):
        from_plain(config)


def test_neither_title_nor_path_is_in_the_run_id_and_an_earlier_id_is_found(tmp_path):
    mine = published("vae")["config"]
    mine["dataset"] |= {"name": "mine", "source": "array", "path": "/a/images.npz", "title": "Mine"}
    moved = mine | {"dataset": mine["dataset"] | {"path": "b/images.npz", "title": "My images"}}
    assert from_plain(mine).run_id == from_plain(moved).run_id
    assert identity.earlier_run_id(mine) != identity.earlier_run_id(moved)
    # Options that affect the result are in the run id.
    binary = mine | {"dataset": mine["dataset"] | {"binarise": "threshold"}}
    assert from_plain(mine).run_id != from_plain(binary).run_id
    retitled = configuration("vae", 0, "dataset.title=another")
    assert retitled.run_id == configuration().run_id
    # A record under the earlier run id, which included title and path, counts as a record of the run.
    data = published("vae") | {"config": mine, "dataset": "mine", "run_id": identity.earlier_run_id(mine)}
    store(tmp_path, data["run_id"], data)
    cell = from_plain(mine)
    assert plan.to_do([cell], setting(tmp_path), retry=False) == {cell.run_id: "done (ok)"}


def test_names_that_no_folder_or_record_could_bear_are_refused_when_composed():
    config = published("vae")["config"]
    for name in ("a b", "../x", "x" * 65, ".hidden", ""):
        with pytest.raises(ValueError, match="must be a name of up to"):
            from_plain(config | {"dataset": config["dataset"] | {"name": name}})
    assert from_plain(config | {"dataset": config["dataset"] | {"name": "été"}}).run_id.startswith("été-vae-")
    with pytest.raises(ValueError, match="invisible characters"):
        from_plain(config | {"dataset": config["dataset"] | {"title": "a\u202eb"}})


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ([1.0], "must be dict"),
        ({"elbo@5": "high"}, r"\['elbo@5'\] must be a finite number"),
        ({"elbo@5": 1e200}, "finite"),
    ],
)
def test_numbers_on_the_way_that_reports_could_not_compute_with_are_refused(measured, message):
    read = read_record(RESULTS / "reference" / published("vae")["run_id"] / "record.json")
    with pytest.raises(RecordError, match=message):
        dataclasses.replace(read, details=read.details | {"measured": measured})
    assert dataclasses.replace(read, details=read.details | {"measured": {"elbo@5": -100.0, "kl@5": None}})
