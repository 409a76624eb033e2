"""Files of a run: damaged files and files of other runs are not used, and each tensor is stored once."""

import json
import pickle
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from benchmarks.environment import threads
from benchmarks.sealed import read_sealed, seal, write_sealed
from benchmarks.training import checkpoint
from benchmarks.training import identity as identities
from benchmarks.training.checkpoint import Checkpoints, Progress, Trained
from benchmarks.training.identity import Identity, code_digest
from variants import registry

from ..cells import CPU

OWN = Identity("configuration", "code", "data")


def model(value=0.0):
    return nn.Linear(3, 2).requires_grad_(False).apply(lambda layer: layer.weight.fill_(value))


def kept(folder, identity=OWN):
    return Checkpoints(folder, identity, CPU)


def save(folder, epoch, identity=OWN):
    kept(folder, identity).save(model(epoch), {}, {}, Progress(epoch=epoch, history=[{"epoch": epoch}]))


def restored(folder, identity=OWN):
    """The epoch from which training continues, or None; also asserts that the weights are those of this epoch."""
    found = model(-1.0)
    done = kept(folder, identity).restore(found, {}, {})
    assert (found.weight == (-1.0 if done is None else done.epoch)).all()
    return None if done is None else done.epoch


def newest(folder):
    return max(folder.glob("checkpoint-*"))


def changed(path, **facts):
    """Change facts in a file and seal it again, as if another version of the suite had written it."""
    content = read_sealed(path)
    write_sealed(path, seal(content.tensors, {**content.facts, **facts}))


def test_the_newest_is_that_of_the_largest_epoch_however_many_digits_it_has(tmp_path):
    for epoch in (999_999, 1_000_000, 1_000_001):
        save(tmp_path, epoch)
    assert restored(tmp_path) == 1_000_001
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-1000000.safetensors", "checkpoint-1000001.safetensors",
    ]  # fmt: skip


def test_the_time_of_earlier_processes_is_that_at_the_last_resumption(tmp_path):
    for epoch, seconds in ((1, 5.0), (2, 9.0)):
        kept(tmp_path).save(model(), {}, {}, Progress(epoch=epoch, train_seconds=seconds))
        done = kept(tmp_path).restore(model(), {}, {})
        assert (done.train_seconds, done.earlier_seconds) == (seconds, seconds)


def test_a_run_does_not_continue_with_another_teacher(tmp_path, caplog):
    def of(teacher):
        checkpoints = kept(tmp_path)
        # Asked for before the teacher is known, as in a sweep.
        checkpoints.threads()
        checkpoints.teacher = teacher
        return checkpoints

    of("own").save(model(1.0), {}, {}, Progress(epoch=1))
    of("own").save(model(2.0), {}, {}, Progress(epoch=2))
    assert of("own").restore(model(), {}, {}).epoch == 2
    found = model(-1.0)
    assert of("VGG-19").restore(found, {}, {}) is None
    assert (found.weight == -1.0).all()
    assert caplog.messages == [
        f"{tmp_path.name}/checkpoint-000002.safetensors: the teacher network changed since it was written: training "
        "restarts from the beginning"
    ]
    assert not list(tmp_path.iterdir())


def test_the_newest_two_are_kept(tmp_path):
    for epoch in range(4):
        save(tmp_path, epoch)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-000002.safetensors",
        "checkpoint-000003.safetensors",
    ]
    assert restored(tmp_path) == 3


def flip_in_the_key_of_a_fact(data):
    at = data.index(b"best_score")
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-7], lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b"", flip_in_the_key_of_a_fact],
    ids=["cut", "flipped", "empty", "flipped key"],
)
def test_a_damaged_checkpoint_falls_back_to_the_one_before_it(tmp_path, caplog, damage):
    for epoch in (11, 12):
        save(tmp_path, epoch)
    newest(tmp_path).write_bytes(damage(newest(tmp_path).read_bytes()))
    assert restored(tmp_path) == 11
    assert "checkpoint-000012.safetensors" in caplog.text
    assert "restarts from the beginning" not in caplog.text
    # The damaged checkpoint was removed, so training continues from the one that is written now.
    save(tmp_path, 12)
    assert restored(tmp_path) == 12


def test_where_all_are_damaged_training_starts_afresh_and_keeps_what_it_writes(tmp_path, caplog):
    for epoch in (11, 12):
        save(tmp_path, epoch)
    for path in tmp_path.iterdir():
        path.write_bytes(b"nothing")
    assert restored(tmp_path) is None
    assert "none of its checkpoints can be used: training restarts from the beginning" in caplog.text
    for epoch in (0, 1, 2):
        save(tmp_path, epoch)
    assert restored(tmp_path) == 2


@pytest.mark.parametrize(
    "facts",
    [{"progress": {"epoch": 12, "unheard_of": 1}}, {"progress": None}, {"shared": {"model/weight": "gone"}}],
    ids=["unknown key", "no progress", "a name that leads nowhere"],
)
def test_facts_that_cannot_be_used_fall_back_and_leave_the_model_as_it_was(tmp_path, caplog, facts):
    for epoch in (11, 12):
        save(tmp_path, epoch)
    changed(newest(tmp_path), **facts)
    assert restored(tmp_path) == 11
    assert "cannot be used" in caplog.text


def test_weights_of_another_architecture_are_passed_over_before_anything_is_loaded(tmp_path):
    kept(tmp_path).save(nn.Linear(3, 4), {}, {}, Progress(epoch=5))
    assert restored(tmp_path) is None


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: device-side assert triggered")],
    ids=["out of memory", "device"],
)
def test_an_error_of_the_device_is_raised_and_costs_no_file(tmp_path, monkeypatch, error):
    for epoch in (11, 12):
        save(tmp_path, epoch)
    kept(tmp_path).save_weights(model(2.5), Trained(Progress(epoch=12), True, {}))
    before = sorted(tmp_path.iterdir())

    def busy(*arguments):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "unpacked", busy)
        for load in (kept(tmp_path).load_weights, lambda found: kept(tmp_path).restore(found, {}, {})):
            with pytest.raises(type(error)):
                load(model())
    assert sorted(tmp_path.iterdir()) == before
    assert restored(tmp_path) == 12


def test_a_file_that_cannot_be_used_is_set_aside_until_the_run_ends(tmp_path):
    for epoch in (11, 12):
        save(tmp_path, epoch)
    damaged = newest(tmp_path)
    damaged.write_bytes(b"nothing")
    assert restored(tmp_path) == 11
    assert damaged.with_name(damaged.name + checkpoint.UNUSABLE).read_bytes() == b"nothing"
    kept(tmp_path).remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["configuration", "code", "data"])
def test_a_checkpoint_of_another_run_is_not_gone_on_from_and_the_log_says_in_one_line_why(tmp_path, caplog, what):
    for epoch in (11, 12):
        save(tmp_path, epoch)
    other = replace(OWN, **{what: "another"})
    assert restored(tmp_path, other) is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(f"the {what} changed since it was written: training restarts from the beginning")
    # The checkpoints of the restarted training have lower numbers, and the next start continues from them.
    save(tmp_path, 1, other)
    assert restored(tmp_path, other) == 1


def test_a_checkpoint_of_an_earlier_version_is_not_gone_on_from(tmp_path, caplog):
    write_sealed(tmp_path / "checkpoint-000003.safetensors", seal({"model/weight": torch.ones(2)}, {"epoch": 3}))
    assert restored(tmp_path) is None
    assert "an earlier version wrote it: training restarts from the beginning" in caplog.text


def test_a_run_keeps_the_threads_it_began_on_and_other_circumstances_are_named(tmp_path):
    with threads(1):
        save(tmp_path, 4)
    with threads(2):
        assert kept(tmp_path).threads() == 1
    changed(newest(tmp_path), made_on={"torch": "1.0", "device": "another", "threads": 1})
    with threads(1):
        (note,) = kept(tmp_path).restore(model(), {}, {}).notes
    assert note.startswith("training was resumed after epoch 4 with torch ")
    assert "instead of 1.0, device" in note
    assert "threads" not in note
    assert kept(tmp_path / "none").threads() is None


def test_trained_weights_come_back_with_what_evaluating_them_takes(tmp_path):
    trained = Trained(Progress(epoch=7, history=[{"loss": 0.1}], resumed=[3]), False, {"teacher": "one"})
    kept(tmp_path).save_weights(model(2.5), trained)
    found = model()
    assert kept(tmp_path).load_weights(found) == trained
    assert (found.weight == 2.5).all()
    assert kept(tmp_path, replace(OWN, code="another")).load_weights(model()) is None
    assert kept(tmp_path).load_weights(model()) is None, "weights of other code are gone"


class Tied(nn.Module):
    """A module with a layer under two names, a tensor under two names, and two views of one tensor."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.bodies = nn.ModuleList([self.first, self.second])
        both = torch.rand(6)
        self.register_buffer("left", both[:3])
        self.register_buffer("right", both[3:])
        self.register_buffer("empty", torch.empty(0))
        self.register_buffer("void", torch.empty(0))


def test_tensors_with_several_names_are_saved_once_and_restored_under_all(tmp_path):
    tied, other = Tied(), Tied()
    kept(tmp_path).save(tied, {}, checkpoint.copied(tied.state_dict()), Progress(epoch=1))
    with safe_open(newest(tmp_path), "pt") as file:
        names = set(file.keys())
    assert {name for name in names if name.endswith("weight")} == {"model/first.weight", "best/first.weight"}
    best = {}
    kept(tmp_path).restore(other, {}, best)
    for name, tensor in tied.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
        assert torch.equal(tensor, best[name]), name
    assert other.second.weight is other.first.weight


class Mischief:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_in_place_of_a_checkpoint_or_weights_is_not_executed(tmp_path):
    for name in ("checkpoint-000001.safetensors", checkpoint.WEIGHTS_FILE):
        (tmp_path / name).write_bytes(pickle.dumps(Mischief(tmp_path / "executed")))
    assert restored(tmp_path) is None
    assert kept(tmp_path).load_weights(model()) is None
    assert not (tmp_path / "executed").exists()


VARIANT = """
from factor_of_the_digest_test import FACTOR
from variants import Variant, register


@register("mine")
class Mine(Variant):
    def regulariser(self, step):
        return FACTOR * step.kl
"""


def digest(folder, monkeypatch):
    """The code digest of the variant in ``folder``, as in a new process, in which the folder is not yet imported."""
    monkeypatch.setattr(registry, "_variants", {})
    monkeypatch.setattr(registry, "_discovered", set())
    for name in ("factor", "variant"):
        monkeypatch.delitem(sys.modules, f"{name}_of_the_digest_test", raising=False)
    # Without bytecode caches: they would hide a change of a file that keeps its size and its time in seconds.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(folder)
    registry.load_folder(folder)
    identities._digest.cache_clear()
    return code_digest(registry._variants["mine"])


def test_the_code_of_a_variant_is_its_file_and_what_that_imports_from_its_folder(tmp_path, monkeypatch):
    (tmp_path / "variant_of_the_digest_test.py").write_text(VARIANT)
    (tmp_path / "factor_of_the_digest_test.py").write_text("FACTOR = 1000\n")
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    first = digest(tmp_path, monkeypatch)
    (tmp_path / "unrelated.py").write_text("x = 2\n")
    assert digest(tmp_path, monkeypatch) == first
    (tmp_path / "factor_of_the_digest_test.py").write_text("FACTOR = 1\n")
    second = digest(tmp_path, monkeypatch)
    assert second != first
    (tmp_path / "variant_of_the_digest_test.py").write_text(VARIANT + "\n    family = 'bounds'\n")
    assert digest(tmp_path, monkeypatch) not in (first, second)


def test_variants_of_the_suite_have_digests_of_their_own_that_hold_their_bases():
    import variants

    names = ("vae", "beta_vae", "wae_mmd")
    assert len({code_digest(variants.lookup(name)) for name in names}) == len(names)


def test_progress_survives_json_as_it_is():
    done = Progress(2, 0.1, [{"loss": 1e-30}], float("-inf"), 0, [1], ["note"])
    assert Progress(**json.loads(json.dumps(asdict(done)))) == done
