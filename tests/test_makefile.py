"""The make targets: every setting reaches the command as it was typed. No test installs anything."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.config import compose

ROOT = Path(__file__).resolve().parents[1]
RECEIVER = "#!/bin/bash\nshift 2\nprintf '%s\\n' \"$@\"\n"


def make(*words, cwd=ROOT, **environment):
    """Run ``make`` as a user does, without the variables of a ``make test`` that may have started this test."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *words], cwd=cwd, env=inherited | environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def received(tmp_path):
    """A function that runs make with a script in place of Python and returns the arguments that the script received."""
    stand_in = tmp_path / "python"
    stand_in.write_text(RECEIVER)
    stand_in.chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text((ROOT / name).read_text())

    def run(*words):
        done = make(*words, f"PY={stand_in}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.splitlines()

    return run


def dry(*settings):
    """Run the real command for one configuration, only to show its plan."""
    cell = ["VARIANTS=vae", "DATASETS=digits", "PROFILE=smoke"]
    return make("bench", "DRY=1", f"PY={sys.executable}", *cell, *settings)


@pytest.mark.parametrize(
    "value",
    [
        "training.epochs=3 variant.samples=2",
        "network.hidden=[200,200]",
        "network.hidden=[64, 32] training.epochs=3",
        "dataset.title='two words'",
        'dataset.title="two words"',
        "dataset.title='*'",
        "a=`true` b=\\ c;d&e|f>g",
        "~network",
        "--dry",
    ],
)
def test_a_value_reaches_the_command_letter_by_letter(received, tmp_path, value):
    # These are the names of files that the shell would match with the patterns [200,200] and *.
    for name in ("network.hidden=2", "network.hidden=0", "2", "dataset.title=''"):
        (tmp_path / name).touch()
    assert f"--overrides={value}" in received("bench", f"OVERRIDES={value}")


def test_a_setting_that_is_empty_or_absent_is_not_passed(received):
    plain = received("bench")
    assert plain == ["bench", *(f"--{flag}" for flag in (
        "variants=all", "datasets=mnist", "seeds=0", "results=results", "reports=reports"
    ))]  # fmt: skip
    assert received("bench", "JOBS=", "OVERRIDES=", "TIMEOUT= ", "PROFILE=", "TRACKER=", "LAUNCHER=") == plain
    assert received("bench", "SEEDS=") == [word for word in plain if word != "--seeds=0"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bench", "JOBS=2", "TIMEOUT=600", "RETRY=1"], ["--jobs=2", "--timeout=600", "--retry"]),
        (["reproduce", "TARGETS=quick", "BUDGET=full"], ["--targets=quick", "--budget=full"]),
        (["reproduce", "TARGETS=a,b", "JOBS=2", "DRY=1"], ["--targets=a,b", "--jobs=2", "--dry"]),
        (["report", "BASELINE=an earlier one", "HTML=1"], ["--baseline=an earlier one", "--html"]),
        (["results", "TABLE=my table.parquet"], ["--parquet=my table.parquet"]),
        (["results"], ["--csv=-"]),
        (["verify", "RUN=it's"], ["verify", "it's"]),
        (["data", "DATASETS=digits,mnist"], ["data", "--datasets=digits,mnist"]),
        (["speed", "PEERS=/no/such/python"], ["speed", "--peers=/no/such/python"]),
    ],
)
def test_settings_become_flags(received, words, expected):
    assert set(expected) <= set(received(*words))


def test_a_list_with_a_space_and_an_option_after_it_is_planned_as_it_was_typed():
    done = dry("OVERRIDES=network.hidden=[64, 32] training.epochs=3")
    assert done.returncode == 0, done.stderr
    # The run id holds a hash of the configuration.
    cell = compose("vae", "digits", "smoke", 0, ["training.epochs=3", "network.hidden=[64,32]"])
    assert done.stdout.splitlines()[:2] == [f"{cell.run_id}: run", "1 run: 0 done, 1 to do"]


def test_brackets_that_do_not_close_are_one_line():
    done = dry("OVERRIDES=network.hidden=[64, 32")
    assert "error: --overrides '[' is not closed in 'network.hidden=[64, 32'" in done.stderr
    assert len([line for line in done.stderr.splitlines() if not line.startswith("make")]) == 1
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("VARIANT=vae", "unknown setting VARIANT; did you mean VARIANTS?"),
        ("SEED=1", "unknown setting SEED; did you mean SEEDS?"),
        ("DATASET=digits", "unknown setting DATASET; did you mean DATASETS?"),
        ("jobs=2", "unknown setting jobs; did you mean JOBS?"),
        ("EPOCHS=3", 'unknown setting EPOCHS: options of a variant, network or training go into OVERRIDES="training.'),
        ("A'B=1", "unknown setting A'B"),
    ],
)
def test_an_unknown_setting_is_refused_in_one_line(setting, message):
    for target in ("bench", "list", "report"):
        done = make(target, setting, f"PY={sys.executable}", "OVERRIDES=SEED=1 training.epochs=[1, 2]")
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "OVERRIDES=training.epochs=1"], "setting OVERRIDES has no effect on make reproduce (allowed: B"),
        (["reproduce", "TARGETS=quick", "SEEDS=0-2"], "setting SEEDS has no effect on make reproduce"),
        (["tune", "JOBS=2"], "setting JOBS has no effect on make tune (allowed: CRITERION DATASETS OVERRIDES PROFILE "),
        (["tune", "TIMEOUT=5"], "setting TIMEOUT has no effect on make tune"),
        (["data", "report", "SEEDS=1", "HTML=1"], "setting SEEDS has no effect on make data report (allowed: BASELINE"),
        (["list", "DATASETS=mnist"], "setting DATASETS has no effect on make list (allowed: DATA_ROOT)"),
        (["VARIANTS=vae"], "setting VARIANTS has no effect on make help"),
    ],
)
def test_a_setting_that_the_target_does_not_take_is_refused_in_one_line(words, message):
    done = make(*words, f"PY={sys.executable}")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_target_takes_the_settings_of_its_recipe_and_each_setting_has_a_target():
    text = (ROOT / "Makefile").read_text()
    settings = set(re.findall(r"^([A-Z_]+) \?=", text, re.MULTILINE)) - {"PYTHON", "VENV", "DATA_ROOT"}
    listed = {name: set(words.split()) for name, words in re.findall(r"^SETTINGS_(\w+) := (.*)", text, re.MULTILINE)}
    assert set().union(*listed.values()) == settings
    recipes = re.findall(r"^([a-z-]+):.*\n((?:\t.*\n)+)", text, re.MULTILINE)
    used = {name: set(re.findall(r"\b[A-Z]+\b", recipe)) & settings for name, recipe in recipes}
    assert {name: found for name, found in used.items() if found} == listed


def test_several_targets_take_the_settings_of_each(received):
    lines = received("data", "report", "DATASETS=digits", "HTML=1", "DATA_ROOT=x")
    assert {"--datasets=digits", "--html"} <= set(lines)


@pytest.mark.parametrize("setting", ["RETRY=false", "DRY=no", "DRY=2"])
def test_a_switch_is_zero_or_one(setting):
    done = make("bench", setting)
    assert done.returncode == 2
    name, value = setting.split("=")
    assert f"{name} must be 0 or 1, got {value}" in done.stderr


def test_zero_is_as_if_a_switch_were_not_given(received):
    assert received("bench", "DRY=0", "RETRY=0") == received("bench")
    assert received("reproduce", "DRY=0", "RETRY= ") == received("reproduce")
    assert received("tune", "RETRY=0") == received("tune")
    assert received("report", "HTML=0") == received("report")


def test_an_environment_for_peers_that_does_not_exist_is_passed_only_if_it_is_given(received):
    assert received("speed") == ["speed", "--reports=reports"]
    assert received("speed", "PEERS=") == ["speed", "--reports=reports"]


def environment(folder):
    """The files by which make recognises a virtual environment, older than pyproject.toml, as after a pull."""
    (folder / "bin").mkdir(parents=True)
    for name in (".installed", "bin/python"):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    return folder


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "checkout"
    environment(folder / ".venv")
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (folder / name).write_text((ROOT / name).read_text())
    return folder


def test_what_only_reads_never_installs(checkout):
    for target in ("help", "list", "report", "results"):
        for own in ((), ("VENV=none",), ("PY=/usr/bin/python",)):
            done = make("--dry-run", target, *own, cwd=checkout)
            assert done.returncode == 0, done.stderr
            assert "pip" not in done.stdout, target
    # Targets that start runs update this environment, or create it if there is none.
    assert "pip install" in make("--dry-run", "bench", cwd=checkout).stdout
    assert "pip install" in make("--dry-run", "bench", "VENV=none", cwd=checkout).stdout
    assert "pip install" not in make("--dry-run", "bench", f"PY={sys.executable}", cwd=checkout).stdout


def test_what_only_reads_says_how_to_make_an_environment_where_there_is_none(checkout):
    for target in ("list", "report"):
        done = make(target, "VENV=none", cwd=checkout)
        assert done.returncode == 2
        assert done.stderr.startswith("error: no virtual environment in none: run `make setup`, or use another ")
        assert not (checkout / "none").exists()
    assert make("help", "VENV=none", cwd=checkout).returncode == 0


def test_the_environment_of_another_checkout_is_used_as_it_is(checkout, tmp_path):
    other = environment(tmp_path / "other" / ".venv")
    for target in ("setup", "bench", "test", "list"):
        assert "pip" not in make("--dry-run", target, f"VENV={other}", cwd=checkout).stdout, target
    assert "without installing anything" in make("setup", f"VENV={other}", cwd=checkout).stdout
    # The same holds for a link in the checkout to the other environment.
    (checkout / "link").symlink_to(other)
    assert "pip" not in make("--dry-run", "bench", "VENV=link", cwd=checkout).stdout
    # An environment elsewhere that was made for this checkout counts as its own.
    (other / ".checkout").write_text(f"{checkout}\n")
    assert "pip install" in make("--dry-run", "bench", f"VENV={other}", cwd=checkout).stdout
