"""A user's own configuration files, variants, metrics and environment variables.

Every command refuses what it cannot use, by name and in one line.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import variants
from benchmarks import conf_files, config
from benchmarks.__main__ import main
from benchmarks.conf_files import GROUPS, check_files, choices, files, shown
from benchmarks.config import compose, compose_seeds
from benchmarks.errors import UserError
from benchmarks.records import catalogue
from benchmarks.sweep.plan import plan
from benchmarks.variables import CHECKS
from variants import registry, sources
from variants.own_files import OwnFileError
from variants.parts.networks import NETWORKS

ROOT = Path(__file__).resolve().parents[2]
OWN_DATA = 'name: flowers\nsource: folder\npath: flowers\nobservation: gaussian\ntitle: "Flowers"\n'
COMMANDS = {
    "bench": ["bench", "--variants", "vae", "--datasets", "digits", "--profile", "smoke"],
    "data": ["data", "--datasets", "digits"],
    "report": ["report"],
    "reproduce": ["reproduce", "--dry"],
    "list": ["list"],
}


def conf(folder, monkeypatch, *more, **written):
    """Write files, given as group__name=text, into a folder and put it on VAE_CONF_PATH."""
    for name, text in written.items():
        path = folder / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    monkeypatch.setenv("VAE_CONF_PATH", os.pathsep.join(map(str, (folder, *more))))
    return folder


def refused(capsys, arguments):
    """Run a command that is refused, and return its one-line message."""
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_with_a_mistake_is_one_line_from_every_command_before_anything_is_written(
    command, tmp_path, monkeypatch, capsys
):
    conf(tmp_path / "conf", monkeypatch, dataset__flowers=OWN_DATA + "source: array\n")
    monkeypatch.chdir(tmp_path)
    error = refused(capsys, COMMANDS[command])
    assert error == "error: conf/dataset/flowers.yaml, line 6: 'source' is already set in line 2: delete one\n"
    assert [child.name for child in tmp_path.iterdir()] == ["conf"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: expected lines of the form key: value"),
        ("# a comment alone\n", "is empty: expected lines of the form key: value"),
        ("- a\n- b\n", ", line 1: expected lines of the form key: value"),
        ("flowers\n", ", line 1: expected lines of the form key: value"),
        (
            "name: flowers\n\tsource: folder\n",
            ", line 2: found character '\\t' that cannot start any token: indent with",
        ),
        ('name: flowers\npath: "C:\\data"\n', ", line 2: found unknown escape character 'd': write a Windows path"),
        ('name: flowers\npath: "C:\\new"\n', ", line 2: 'C:\\new' contains a control character"),
        (
            "name: flowers\ntitle: a: b\n",
            ", line 2: mapping values are not allowed here: put a value that has a colon in",
        ),
        ("name: [flowers\n", ", line 2: "),
        ("name: !!python/object:os.system x\n", ", line 1: could not determine a constructor"),
        ("name: *flowers\n", ", line 1: found undefined alias"),
        ("name: a\n---\nname: b\n", ", line 2: but found another document"),
        ("? [1, 2]\n: x\n", ", line 1: a key must be a word"),
        ("a:\n  b: 1\n  b: 2\n", ", line 3: 'b' is already set in line 2"),
        ("title: Fl\xfc".encode("latin-1"), "is not text in UTF-8"),
        (b"title: a\0b\n", "special characters are not allowed"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line_and_mend(text, message, tmp_path, monkeypatch):
    folder = conf(tmp_path, monkeypatch, dataset__flowers=text)
    with pytest.raises(UserError) as error:
        check_files()
    assert str(error.value).startswith(str(folder / "dataset" / "flowers.yaml"))
    assert message in str(error.value)


def test_damaged_files_give_one_line_or_are_read(tmp_path, monkeypatch):
    """After random changes of a valid file, checks and compositions raise nothing but UserError."""
    generator = random.Random(0)
    original = (ROOT / "conf" / "dataset" / "celeba.yaml").read_bytes().replace(b"name: celeba", b"name: flowers")
    for number in range(100):
        damaged = bytearray(original)
        for _ in range(generator.randint(1, 4)):
            place = generator.randrange(len(damaged))
            damaged[place : place + generator.randint(0, 3)] = generator.choice(
                [
                    b"\t",
                    b"'",
                    b'"',
                    b": ",
                    b"\n",
                    b"- ",
                    b"{",
                    b"]",
                    b"\xff",
                    b"\\",
                    b"*",
                    b"&",
                    b"!",
                    b"%",
                    b"null",
                    b"#",
                ]
            )
        conf(tmp_path, monkeypatch, dataset__flowers=bytes(damaged))
        message = ""
        try:
            check_files()
            if number % 20 == 0:
                compose("vae", "flowers", "smoke", 0)
        except UserError as error:
            message = str(error)
        assert "\n" not in message


BUILT_IN = {
    "dataset": "digits", "profile": "quick", "budget": "celeba_quick", "paper": "burda-vae-1", "network": "mlp",
    "hydra/launcher": "slurm",
}  # fmt: skip


@pytest.mark.parametrize("group", GROUPS)
def test_a_name_of_the_suites_own_is_refused_in_every_group(group, tmp_path, monkeypatch):
    name = BUILT_IN[group]
    conf(tmp_path, monkeypatch, **{f"{group}/{name}": "name: x\n"})
    with pytest.raises(UserError) as error:
        choices(group)
    mine, first = tmp_path / group / f"{name}.yaml", ROOT / "conf" / group / f"{name}.yaml"
    where = "the suite's code" if group == "network" else shown(first)
    assert str(error.value) == f"{mine}: the {GROUPS[group]} {name!r} is already in {where}: rename one of them"


def test_one_name_in_two_folders_is_refused_and_one_folder_named_twice_is_not(tmp_path, monkeypatch):
    first = conf(tmp_path / "a", monkeypatch, dataset__flowers=OWN_DATA)
    second = conf(tmp_path / "b", monkeypatch, first, first, dataset__flowers=OWN_DATA)
    with pytest.raises(UserError, match=r"a/dataset/flowers\.yaml: the data set 'flowers' is already in .*b/dataset"):
        files("dataset")
    shutil.rmtree(second / "dataset")
    assert files("dataset")["flowers"] == first / "dataset" / "flowers.yaml"


@pytest.mark.parametrize("name", ["été", "101", "1e3", "a b", "null", "yes", "all", "README", "speed", "x" * 65, "-a"])
def test_a_name_with_a_meaning_of_its_own_is_refused(name, tmp_path, monkeypatch, capsys):
    conf(tmp_path, monkeypatch, **{f"dataset__{name}": OWN_DATA})
    assert f"{name!r} cannot be the name of a data set: use at most 64 letters" in refused(capsys, ["list"])


def test_a_name_in_latin_1_is_refused(tmp_path, monkeypatch, capsys):
    conf(tmp_path, monkeypatch, dataset__flowers=OWN_DATA)
    os.rename(tmp_path / "dataset" / "flowers.yaml", os.fsencode(tmp_path / "dataset") + b"/\xe9t\xe9.yaml")
    assert "'\\udce9t\\udce9' cannot be the name of a data set" in refused(capsys, ["list"])


@pytest.mark.parametrize("name", ["o'brien", "a b", "a,b", "a]b", "back\\slash", "end\\", "\\'", "$x", "é"])
def test_a_folder_of_configuration_may_have_any_name(name, tmp_path, monkeypatch):
    conf(tmp_path / name, monkeypatch, dataset__flowers=OWN_DATA)
    assert compose("vae", "flowers", "smoke", 0).dataset.path == "flowers"


def test_a_folder_of_configuration_that_hydra_would_interpolate_is_refused(tmp_path, monkeypatch, capsys):
    conf(tmp_path / "${seed}", monkeypatch, dataset__flowers=OWN_DATA)
    assert "the name of a configuration folder must not contain ${" in refused(capsys, ["list"])


def test_a_tilde_is_the_home_folder_wherever_a_path_is_taken(tmp_path, monkeypatch, capsys):
    from benchmarks.data import cache_root, data_root

    monkeypatch.setenv("HOME", str(tmp_path))
    conf(tmp_path / "conf", monkeypatch, dataset__flowers=OWN_DATA)
    for name, value in (("VAE_CONF_PATH", "~/conf"), ("VAE_CACHE", "~/cache"), ("VAE_DATA_ROOT", "~/data")):
        monkeypatch.setenv(name, value)
    assert "flowers" in choices("dataset")
    assert (cache_root(), data_root()) == (tmp_path / "cache", tmp_path / "data")
    (tmp_path / "results" / "runs").mkdir(parents=True)
    assert main(["report", "--results=~/results", "--reports", "~/reports"]) == 0
    assert (tmp_path / "reports" / "README.md").exists()
    assert str(tmp_path / "reports" / "README.md") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"config": "seed: 1\n", "dataset__flowers": OWN_DATA}, "config.yaml would have no effect"),
        ({"datasets__flowers": OWN_DATA}, "which has none of the folders budget, dataset, "),
        ({"profile__mine": "a: b\n", "datasets__flowers": OWN_DATA}, "did you mean 'dataset'?"),
        ({"profile__mine": "a: b\n", "variant__vae": "samples: 2\n"}, "variant would be ignored (allowed: budget"),
        ({"dataset__flowers": OWN_DATA, "budget__flower_quick": "a: b\n"}, "did you mean 'flowers_quick'?"),
    ],
)  # fmt: skip
def test_a_file_that_nothing_would_read_is_refused(written, message, tmp_path, monkeypatch, capsys):
    conf(tmp_path, monkeypatch, **written)
    assert message in refused(capsys, ["list"])


def test_a_file_with_another_ending_is_refused(tmp_path, monkeypatch, capsys):
    conf(tmp_path, monkeypatch, dataset__flowers=OWN_DATA)
    (tmp_path / "dataset" / "flowers.yaml").rename(tmp_path / "dataset" / "flowers.yml")
    assert "flowers.yml would be ignored: rename it to flowers.yaml" in refused(capsys, ["list"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training:\n  epochs: 3\n", " would have no effect: begin the file with '# @package _global_'"),
        (
            "# @package _global_\ntraining:\n  epochs: 3\n",
            ": profile must be the name of the file, 'mine', got None",
        ),
        (
            "# @package _global_\nprofile: quick\n",
            ": profile must be the name of the file, 'mine', got 'quick'",
        ),
    ],
)
def test_a_profile_whose_options_would_go_nowhere_is_refused(text, message, tmp_path, monkeypatch):
    conf(tmp_path, monkeypatch, profile__mine=text)
    with pytest.raises(UserError) as error:
        compose("vae", "digits", "mine", 0)
    assert str(error.value) == f"{tmp_path / 'profile' / 'mine.yaml'}{message}"


GLOBAL = "# @package _global_\n"
PROFILE = f"{GLOBAL}profile: mine\n"
ALL_OF_IT = f"{GLOBAL}dataset:\n" + "".join(f"  {line}\n" for line in OWN_DATA.splitlines())


@pytest.mark.parametrize(
    ("group", "text", "message"),
    [
        (
            "profile",
            PROFILE + "seed: 7\n",
            "line 3: seed has no effect in a profile: seeds are set with SEEDS=… (make)",
        ),
        ("profile", PROFILE + "network:\n  latent_size: 2\n", "line 3: network has no effect in a profile (allowed: "),
        (
            "profile",
            PROFILE + "trainnig:\n  epochs: 2\n",
            "line 3: trainnig has no effect in a profile; did you mean 't",
        ),
        ("profile", PROFILE + "training: 3\n", "line 3: training must be a group of options, got '3'"),
        (
            "profile",
            PROFILE + "training:\n  epohs: 3\n",
            "line 4: unknown option 'training.epohs'; did you mean 'train",
        ),
        ("profile", PROFILE + "training:\n  epochs: x\n", "line 4: training.epochs must be a whole number, got 'x'"),
        ("profile", PROFILE + "training:\n  centred: 2\n", "line 4: training.centred must be true or false, got 2"),
        ("profile", PROFILE + "training:\n  beta1: 2\n", "line 4: training.beta1 must be between 0 and 1, got 2.0"),
        (
            "profile",
            PROFILE + "training:\n  epochs: ${x}\n",
            "line 4: training.epochs: Interpolation key 'x' not found",
        ),
        (
            "dataset",
            OWN_DATA.replace("folder", "foldr"),
            "line 2: unknown dataset.source 'foldr'; did you mean 'folder'",
        ),
        (
            "dataset",
            OWN_DATA.replace("path", "pth"),
            "line 3: unknown option 'dataset.pth'; did you mean 'dataset.path'",
        ),
        ("dataset", OWN_DATA.replace("path: flowers\n", ""), "line 2: dataset.source=folder needs dataset.path, where"),
        ("dataset", OWN_DATA.replace(": flowers", ": roses", 1), "line 1: dataset.name must be the name of its file, "),
        ("dataset", GLOBAL + OWN_DATA, "line 2: name has no effect in a data set (allowed: dataset, network, "),
        ("dataset", ALL_OF_IT + "variant:\n  samples: 2\n", "line 8: variant has no effect in a data set (allowed: "),
        ("dataset", ALL_OF_IT + "network:\n  laten_size: 2\n", "line 9: unknown option 'network.laten_size'; did you"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_its_path_and_line_before_anything_is_trained(
    group, text, message, tmp_path, monkeypatch, capsys
):
    names = {"dataset": "digits", "profile": "smoke"} | {group: {"profile": "mine", "dataset": "flowers"}[group]}
    conf(tmp_path / "conf", monkeypatch, **{f"{group}__{names[group]}": text})
    monkeypatch.chdir(tmp_path)
    used = ["bench", "--variants", "vae", "--datasets", names["dataset"], "--profile", names["profile"]]
    for command in (used, ["list"]):
        assert refused(capsys, command).startswith(f"error: conf/{group}/{names[group]}.yaml, {message}")
    assert [child.name for child in tmp_path.iterdir()] == ["conf"]


def test_a_default_that_hydra_cannot_find_is_refused_with_the_file_that_names_it(tmp_path, monkeypatch, capsys):
    conf(tmp_path, monkeypatch, profile__mine=PROFILE + "defaults:\n  - override /network: conv\n")
    error = f"error: {tmp_path / 'profile' / 'mine.yaml'}: defaults: Could not override 'network'.\n"
    assert refused(capsys, ["list"]) == error


def test_an_error_names_the_file_that_decides_and_none_if_an_override_does(tmp_path, monkeypatch):
    conf(tmp_path, monkeypatch, profile__mine=PROFILE + "training:\n  beta1: 2\n")
    with pytest.raises(UserError, match=r"profile/mine\.yaml, line 4: training\.beta1 must be between 0 and 1, got 2"):
        compose("vae", "digits", "mine", 0)
    conf(tmp_path, monkeypatch, budget__digits_mine=GLOBAL + "training:\n  beta1: 4\n")
    with pytest.raises(
        UserError, match=r"budget/digits_mine\.yaml, line 3: training\.beta1 must be between 0 and 1, got 4"
    ):
        compose("vae", "digits", "mine", 0)
    with pytest.raises(UserError, match=r"^training\.beta1 must be between 0 and 1, got 3"):
        compose("vae", "digits", "mine", 0, ["training.beta1=3"])


def test_files_of_the_suite_are_checked_as_those_of_a_user(tmp_path, monkeypatch, capsys):
    copy = shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.setattr(conf_files, "conf_folder", lambda: copy)
    path = copy / "profile" / "quick.yaml"
    path.write_text("seed: 1\n" + path.read_text())
    assert f"{path}, line 1: seed has no effect in a profile" in refused(capsys, ["results", "--csv=-"])


def test_the_budget_of_a_data_set_can_be_left_out():
    def epochs(*overrides):
        return compose("vae", "celeba", "quick", 0, overrides).training.epochs

    assert (epochs(), epochs("~budget"), compose("vae", "mnist", "quick", 0).training.epochs) == (4, 12, 12)
    assert compose("vae", "mnist", "quick", 0, ["~budget"]).run_id == compose("vae", "mnist", "quick", 0).run_id


def test_epochs_that_a_budget_in_steps_would_replace_are_refused_and_defaults_are_not(tmp_path, monkeypatch):
    conf(tmp_path, monkeypatch, profile__mine=PROFILE + "training:\n  steps: 30\n")
    with pytest.raises(
        UserError, match=r"^training\.epochs=3 has no effect beside training\.steps=30, which replaces it"
    ):
        compose("vae", "digits", "mine", 0, ["training.epochs=3"])
    of_user = {
        ("mine",): (30, "steps"),
        ("mine", "training.steps=5"): (5, "steps"),
        ("mine", "training.epochs=3", "training.steps=null"): (3, "epochs"),
        ("smoke", "training.steps=5"): (5, "steps"),
        ("smoke", "training.epochs=3"): (3, "epochs"),
    }
    for (profile, *given), length in of_user.items():
        assert compose("vae", "digits", profile, 0, given).training.length == length


# The user's own variants and metrics.

VARIANT = """
from dataclasses import dataclass
from variants import Variant, VariantConfig, register
{before}
@register("{name}")
class Mine(Variant):
    '''My own.'''
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return a function that writes files into a folder on VAE_VARIANTS_PATH. The registry is restored afterwards."""
    variants.names()
    monkeypatch.setattr(registry, "_variants", dict(registry._variants))
    monkeypatch.setattr(registry, "_discovered", set(registry._discovered))
    monkeypatch.setattr(sys, "path", list(sys.path))
    config._store_schemas.cache_clear()
    before = set(sys.modules)

    def write(**sources):
        folder = tmp_path / "own"
        folder.mkdir(exist_ok=True)
        for name, source in sources.items():
            (folder / f"{name}.py").write_text(source)
        monkeypatch.setenv("VAE_VARIANTS_PATH", str(folder))
        return folder

    yield write
    config._store_schemas.cache_clear()
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


def mine(name="mine_too", before=""):
    return VARIANT.format(name=name, before=before)


@pytest.mark.parametrize("command", ["bench", "data", "reproduce", "list"])
def test_a_broken_variant_is_one_line_from_every_command(command, own, capsys, tmp_path, monkeypatch):
    folder = own(broken=mine(before="1 / 0"))
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        # The error is reported every time, not only the first time.
        error = refused(capsys, COMMANDS[command])
        assert (
            error == f"error: {folder / 'broken.py'} cannot be imported: ZeroDivisionError: division by zero (line 4)\n"
        )


def test_a_broken_variant_is_one_line_from_a_report_that_has_a_page_of_variants(own):
    own(broken=mine(before="1 / 0"))
    with pytest.raises(OwnFileError, match=r"broken\.py cannot be imported"):
        registry.documentation("vae")


def test_a_variant_without_a_docstring_is_not_described_by_its_base_class(own, capsys):
    own(
        silent="from variants import register\nfrom variants.vae import VAE\n"
        "@register('silent')\nclass Silent(VAE):\n    pass\n"
        "@register('blank')\nclass Blank(VAE):\n    ' '\n"
    )
    assert (registry.documentation("silent"), registry.documentation("blank")) == ("", "")
    assert registry.documentation("nothing") is None
    assert main(["list"]) == 0
    assert re.search(r"^  silent *$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (mine().replace("class Mine", "class  :"), r"SyntaxError: .* \(line 6\)"),
        (mine(before="import sys; sys.exit(2)"), r"it ends the program.*line 4"),
        (mine("vae"), r"variant 'vae' is already registered by .*variants/vae\.py"),
        (mine("all"), r"variant name 'all' must be an identifier"),
        (mine("discrete"), r"variant name 'discrete' must be an identifier"),
        (mine("my-vae"), r"variant name 'my-vae' must be an identifier"),
        (mine().replace('@register("mine_too")', "@register"), r"register needs a name: write @register"),
        (mine(before="from . import other"), r"has a relative import \(line 4\): files of one folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_variants_file_is_said_with_its_line(source, message, own):
    own(broken=source)
    with pytest.raises(OwnFileError, match=message) as error:
        variants.names()
    assert "\n" not in str(error.value)
    assert "broken.py" in str(error.value)


@pytest.mark.parametrize(
    ("before", "message"),
    [
        ("class Options(VariantConfig):\n    width: float = 2.0", "Options, the Config of Mine, is not a dataclass"),
        ("class Options(VariantConfig):\n    samples = 5", "Options, the Config of Mine, is not a dataclass"),
        ("@dataclass\nclass Options(VariantConfig):\n    width = 2.0", "Options.width has no type annotation, so it"),
        ("@dataclass\nclass Options(VariantConfig):\n    samples = 5", "Options.samples has no type annotation"),
        ("@dataclass\nclass Options(VariantConfig):\n    name: str = 'x'", "has an option 'name'"),
        ("@dataclass(kw_only=True)\nclass Options(VariantConfig):\n    width: float", "width needs a default value"),
        ("@dataclass\nclass Options:\n    width: float = 2.0", "Mine.Config must be a subclass of VariantConfig"),
    ],
)  # fmt: skip
def test_an_option_that_would_have_no_effect_is_refused(before, message, own):
    own(mine=mine(before=before) + "    Config = Options\n")
    with pytest.raises(OwnFileError, match=message):
        variants.names()


def test_a_hook_in_a_spelling_that_nothing_calls_is_refused(own):
    own(mine=mine() + "    def regularizer(self, step):\n        return 2 * step.kl\n")
    with pytest.raises(OwnFileError, match=r"Mine\.regularizer is never called: name it regulariser"):
        variants.names()


def test_an_option_of_a_type_that_no_configuration_holds_is_one_line(own):
    own(
        mine=mine(before="@dataclass\nclass Options(VariantConfig):\n    how: object = print")
        + "    Config = Options\n"
    )
    with pytest.raises(UserError, match="how"):
        compose("mine_too", "digits", "smoke", 0)


def test_two_files_that_register_one_name_are_both_named(own):
    folder = own(first=mine(), second=mine())
    with pytest.raises(OwnFileError) as error:
        variants.names()
    assert str(folder / "second.py") in str(error.value)
    assert f"variant 'mine_too' is already registered by {folder / 'first.py'}" in str(error.value)


def test_files_of_a_folder_import_each_other_and_each_is_run_once(own):
    own(
        a_child="from z_parent import Mine, register\nimport variants\n@register('child')\nclass Child(Mine): pass\n",
        z_parent="from shared_by_both import WIDTH\n" + mine("parent"),
        shared_by_both="WIDTH = 3\n",
    )
    assert {"child", "parent"} <= set(variants.names())
    assert issubclass(variants.lookup("child"), variants.lookup("parent"))


def test_a_sibling_with_the_name_of_another_module_is_refused_before_the_wrong_one_is_taken(own):
    own(mine="import json\n" + mine(), json="WIDTH = 3\n")
    with pytest.raises(
        OwnFileError, match=r"mine\.py imports 'json' \(line 1\), which is .*json/__init__\.py, not .*rename"
    ):
        variants.names()


def test_a_script_and_a_file_that_registers_nothing_are_not_executed(own):
    own(
        mine=mine(),
        script="import argparse\nargparse.ArgumentParser().parse_args(['--nothing'])\n",
        farewell="import atexit\natexit.register(print)\nraise RuntimeError\n",
        notes="'''register'''\nraise RuntimeError\n",
    )
    assert "mine_too" in variants.names()


def test_a_folder_that_registers_nothing_is_refused(own):
    own(notes="x = 1\n")
    with pytest.raises(OwnFileError, match="in which no file imports variants and calls register"):
        variants.names()


def test_a_mended_file_is_read_by_the_same_process(own):
    own(mine=mine() + "1 / 0\n")
    with pytest.raises(OwnFileError):
        variants.names()
    own(mine=mine())
    assert "mine_too" in variants.names()


def test_metrics_of_ones_own_are_imported_by_the_same_rules(tmp_path, monkeypatch):
    catalogue.families()
    monkeypatch.setattr(catalogue, "_families", dict(catalogue._families))
    monkeypatch.setattr(catalogue, "_discovered", set(catalogue._discovered))
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "script.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "light.py").write_text("import sys\nfrom benchmarks.records.catalogue import register\nsys.exit(3)\n")
    monkeypatch.setenv("VAE_METRICS_PATH", str(tmp_path))
    for _ in range(2):
        with pytest.raises(UserError, match=r"light\.py cannot be imported: it ends the program.*\(line 3\)"):
            catalogue.families()


# Environment variables.


@pytest.mark.parametrize("value", ["abc", "nan", "-5", "inf", "1e999"])
def test_a_malformed_number_in_the_environment_is_refused(value, monkeypatch, capsys):
    monkeypatch.setenv("VAE_CHECKPOINT_SECONDS", value)
    assert f"VAE_CHECKPOINT_SECONDS must be a number of seconds from 0, got {value!r}" in refused(capsys, ["list"])


def test_a_malformed_switch_and_a_folder_that_is_a_file_are_refused(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setenv("VAE_CAPTURE", "yes")
        assert "VAE_CAPTURE must be 0 or 1, got 'yes'" in refused(capsys, ["list"])
    (tmp_path / "file").write_text("")
    for name in ("VAE_DATA_ROOT", "VAE_CACHE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, str(tmp_path / "file"))
            assert f"{name} must be a folder" in refused(capsys, ["list"])


def test_a_folder_that_the_system_refuses_to_look_at_is_no_traceback(tmp_path, monkeypatch, capsys):
    # The methods of a path raise an error for a name that is too long, as below a folder that may not be entered.
    unseen = str(tmp_path / ("x" * 5000))
    with pytest.raises(OSError, match="too long"):
        os.stat(unseen)
    for name in ("VAE_DATA_ROOT", "VAE_CACHE"):
        monkeypatch.setenv(name, unseen)
    assert main(["list"]) == 0
    assert "--results must be an existing results folder" in refused(capsys, ["publish", "--results", unseen])
    for name in ("VAE_VARIANTS_PATH", "VAE_METRICS_PATH"):
        with monkeypatch.context() as patch:
            patch.setenv(name, unseen)
            assert "which is not a folder that can be read" in refused(capsys, ["list"])
    with monkeypatch.context() as patch:
        patch.setenv("VAE_CONF_PATH", unseen)
        assert "VAE_CONF_PATH" in refused(capsys, ["list"])


def test_an_empty_variable_is_as_none(monkeypatch):
    for name in CHECKS:
        monkeypatch.setenv(name, "")
    assert main(["list"]) == 0


def test_an_unknown_variable_of_the_suite_is_named_once_with_the_nearest(monkeypatch, caplog):
    monkeypatch.setenv("VAE_CONFPATH", "x")
    assert main(["list"]) == 0
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("environment variable VAE_CONFPATH has no effect; did you mean VAE_CONF_PATH?")


def test_every_variable_that_the_code_reads_is_known():
    found = {
        word
        for folder in ("benchmarks", "variants")
        for path in (ROOT / folder).rglob("*.py")
        for word in path.read_text().replace('"', " ").replace("`", " ").replace("=", " ").split()
        if word.startswith("VAE_") and word.isidentifier() and word.isupper() and word != "VAE_"
    }
    assert found == set(CHECKS)


# Plans and lists.


def test_seeds_are_composed_once_and_are_what_each_would_be_alone(monkeypatch):
    calls = []
    original = config.hydra_compose
    monkeypatch.setattr(config, "hydra_compose", lambda *given: calls.append(given) or original(*given))
    cells = plan(["vae"], ["digits"], [3, 0], "smoke", ["training.epochs=5"])
    assert len(calls) == 1
    assert cells == [compose("vae", "digits", "smoke", seed, ["training.epochs=5"]) for seed in (3, 0)]
    cells[0].training.epochs = 9
    assert cells[1].training.epochs == 5


def test_an_option_computed_from_the_seed_is_so_for_each():
    cells = compose_seeds("vae", "digits", "smoke", [1, 2], ["training.epochs=${seed}"])
    assert [cell.training.epochs for cell in cells] == [1, 2]


def test_names_read_from_source_are_those_that_are_registered():
    program = (
        "import json, sys\nfrom variants.registry import summaries\nprint(json.dumps(summaries()))\n"
        "assert not {'torch', 'hydra'} & set(sys.modules)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "VAE_VARIANTS_PATH"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    classes = {name: variants.lookup(name) for name in variants.names()}
    expected = {name: [cls.family, (cls.__doc__ or "").strip().partition("\n")[0]] for name, cls in classes.items()}
    assert json.loads(done.stdout) == expected
    assert sources.networks() == tuple(NETWORKS)


def test_every_package_is_in_the_wheel():
    import tomllib

    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in ("benchmarks", "variants")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert set(listed) == there | {"benchmarks.conf"}


def test_peers_without_pythae_are_refused_before_anything_is_measured(tmp_path, capsys):
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\nexit 1\n")
    empty.chmod(0o755)
    for path in (empty, tmp_path / "none", tmp_path):
        assert "--peers must be the Python interpreter of an environment with torch and pythae" in refused(
            capsys, ["speed", "--peers", str(path)]
        )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.batch_size=99999999999999999999", "training.batch_size must be at most 4,294,967,295, got 1e+20"),
        ("evaluation.importance_samples=10000000000", "evaluation.importance_samples must be at most 4,294,967,295"),
        ("training.beta1=1", "training.beta1 must be below 1"),
        ("training.beta2=1.0", "training.beta2 must be below 1"),
        ("network=cnn", "unknown network 'cnn'"),
    ],
)
def test_values_that_would_fail_only_in_training_are_refused_when_composed(override, message):
    with pytest.raises(UserError) as refusal:
        compose("vae", "digits", "smoke", 0, [override])
    assert message in str(refusal.value)
