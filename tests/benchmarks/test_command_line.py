"""The command line: valid input, and the response to invalid input."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import variants
from benchmarks.__main__ import main
from benchmarks.arguments import joined, overrides, seeds
from benchmarks.config import compose
from benchmarks.errors import UserError
from benchmarks.records.record import read_records
from benchmarks.wording import counted

from .cells import SMALL


def bench(folder, *arguments):
    options = ["--results", str(folder / "results"), "--reports", str(folder / "reports")]
    return main(["bench", "--datasets", "digits", "--profile", "smoke", "--jobs", "1", *options, *arguments])


def test_a_sweep_records_each_cell_once_and_writes_its_board(tmp_path, capsys):
    arguments = ("--variants", "vae,iwae", "--seeds", "0,1", *SMALL)
    assert bench(tmp_path, *arguments) == 0
    records, messages = read_records(tmp_path / "results")
    assert messages == []
    assert sorted((r.variant, r.seed) for r in records) == [("iwae", 0), ("iwae", 1), ("vae", 0), ("vae", 1)]
    assert {r.status for r in records} == {"ok"}
    board = (tmp_path / "reports" / "digits.md").read_text()
    assert "| [vae (network.hidden" in board
    assert (tmp_path / "reports" / "README.md").exists()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("record.json")}
    assert bench(tmp_path, *arguments, "--no-report") == 0
    assert "4 already done" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "results").rglob("record.json")} == before


def test_a_changed_option_is_another_cell(tmp_path):
    arguments = ("--variants", "beta_vae", "--no-report", *SMALL)
    assert bench(tmp_path, *arguments) == 0
    assert bench(tmp_path, *arguments, "variant.beta=8") == 0
    records, _ = read_records(tmp_path / "results")
    assert sorted(r.config["variant"]["beta"] for r in records) == [4.0, 8.0]


def test_a_cell_that_fails_does_not_stop_the_others_and_the_exit_status_says_so(tmp_path, capsys, monkeypatch):
    from benchmarks.sweep import cell

    original = cell.evaluate

    def evaluate(variant, *arguments):
        if variant.name == "beta_vae":
            raise torch_error
        return original(variant, *arguments)

    torch_error = RuntimeError("out of memory\nwith a second line")
    monkeypatch.setattr(cell, "evaluate", evaluate)
    assert bench(tmp_path, "--variants", "beta_vae,vae", *SMALL) == 1
    assert {r.variant: r.status for r in read_records(tmp_path / "results")[0]} == {"beta_vae": "failed", "vae": "ok"}
    assert "Failed or diverged runs" in (tmp_path / "reports" / "digits.md").read_text()
    assert "1 failed" in capsys.readouterr().out
    # Without --retry, the failed run and the exit status stay the same. With --retry, the run is repeated.
    monkeypatch.setattr(cell, "evaluate", original)
    assert bench(tmp_path, "--variants", "beta_vae,vae", "--no-report", *SMALL) == 1
    assert {r.status for r in read_records(tmp_path / "results")[0]} == {"failed", "ok"}
    assert bench(tmp_path, "--variants", "beta_vae,vae", "--no-report", "--retry", *SMALL) == 0
    assert {r.status for r in read_records(tmp_path / "results")[0]} == {"ok"}


def test_a_record_that_does_not_parse_is_set_aside_and_its_cell_runs_again(tmp_path):
    arguments = ("--variants", "vae", "--no-report", *SMALL)
    assert bench(tmp_path, *arguments) == 0
    (path,) = (tmp_path / "results").rglob("record.json")
    path.write_text("{")
    assert bench(tmp_path, *arguments) == 0
    assert json.loads(path.read_text())["status"] == "ok"
    assert path.with_name("record.json.unreadable").read_text() == "{"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "betavae"], "unknown variant 'betavae'; did you mean 'beta_vae'? (allowed: "),
        (["--variants", "VAE"], "unknown variant 'VAE'; did you mean 'vae'?"),
        (["--variants", "ALL"], "unknown variant 'ALL'; did you mean 'all'?"),
        (["--variants", "all,vae"], "'all' stands alone, without other names, got 'all,vae'"),
        (["--datasets", "DIGITS"], "unknown data set 'DIGITS'; did you mean 'digits'?"),
        (["--variants", ","], "no variant given"),
        (["--datasets", "minst"], "unknown data set 'minst'; did you mean 'mnist'?"),
        (["--profile", "quik"], "unknown profile 'quik'; did you mean 'quick'?"),
        (["--seeds", ""], "--seeds must be whole numbers from 0 such as 0,1,2, or a range such as 0-4, got ''"),
        (["--seeds", "1,x"], "--seeds must be whole numbers from 0 such as 0,1,2, or a range such as 0-4, got '1,x'"),
        (["--seeds", "4-0"], "got '4-0'"),
        (["--seeds", "-1"], "got '-1'"),
        (["--seeds", "0-99999999999"], "--seeds must be at most 1000 seeds"),
        (["--seeds", "0-999,1000"], "--seeds must be at most 1000 seeds"),
        (["--jobs", "0"], "--jobs must be a whole number above 0, got '0'"),
        (["--jobs", "two"], "--jobs must be a whole number above 0, got 'two'"),
        (["--timeout", "-1"], "--timeout must be a number of seconds above 0, got '-1'"),
        (["--timeout", "inf"], "--timeout must be a number of seconds above 0, got 'inf'"),
        (["--timeout", "nan"], "--timeout must be a number of seconds above 0, got 'nan'"),
        (["--launcher", "slrum"], "unknown launcher 'slrum'; did you mean 'slurm'?"),
        (["--tracker", "tensorbord"], "unknown tracker 'tensorbord'; did you mean 'tensorboard'?"),
        (["--jbos", "2"], "unknown flag '--jbos'; did you mean '--jobs'?"),
        (["--jobs"], "--jobs expected one argument"),
        (["seed=5"], "'seed=5' cannot be an override: use SEEDS=… (make) or --seeds …"),
        (["variant=iwae"], "use VARIANTS=… (make) or --variants …"),
        (["dataset=mnist"], "use DATASETS=… (make) or --datasets …"),
        (["++profile=quick"], "use PROFILE=… (make) or --profile …"),
        (["hydra/launcher=slurm"], "use LAUNCHER=… (make) or --launcher …"),
        (["hydra.launcher.partition=gpu"], "'hydra.launcher.partition=gpu' has no effect without a launcher"),
        (["--overrides", "network.hidden=[64, 32"], "--overrides '[' is not closed in 'network.hidden=[64, 32'"),
        (["--overrides", "training.epochs=3]"], "--overrides ']' has no opening bracket in 'training.epochs=3]'"),
        (["training.epochs=3)"], "'training.epochs=3)' cannot be read: ')' has no opening bracket in '3)'"),
        (["training.epochs=(3"], "'training.epochs=(3' cannot be read: '(' is not closed in '(3'"),
        (["training.epochs:3"], "'training.epochs:3' is not an override: write key=value, such as training.epochs=3"),
        (["epochs=3"], "unknown option 'epochs'; did you mean 'training.epochs'?"),
        (["--overrides", "training.epochs=3 seed=5"], "'seed=5' cannot be an override"),
        (["--variants", "beta_vae", "variant.beta=-1"], "variant.beta must be 0 or above, got -1"),
        (
            ["--variants", "beta_vae", "variant.betta=1"],
            "unknown option 'variant.betta' of beta_vae; did you mean 'variant.beta'?",
        ),
        (["--variants", "vae,beta_vae", "variant.beta=8"], "; variants that have it: beta_tcvae, beta_vae, "),
        (
            ["--variants", "vae", "variant.tempreature=1"],
            "did you mean 'variant.temperature', an option of joint_vae?",
        ),
        (["--variants", "all", "variant.betta=1"], "unknown option 'variant.betta' of "),
        (["--variants", "beta_vae", "+variant.new=1"], "unknown option 'variant.new' of beta_vae (allowed: "),
        (["variant.samples=0"], "variant.samples must be above 0, got 0"),
        (["variant.samples=many"], "'many'"),
        (["network.latent_size=0"], "network.latent_size must be above 0, got 0"),
        (["network=mpl"], "mpl"),
        (
            ["network.encoder_layers=[linear 5]"],
            "option 'network.encoder_layers' is one of network=layers, not of the chosen network",
        ),
        (["network.hiden=[5]"], "unknown option 'network.hiden'; did you mean 'network.hidden'?"),
        (["evaluation.images=1"], "evaluation.images must be 2 or above, got 1"),
        (["training.epochs=0"], "training.epochs must be above 0, got 0"),
        (["training.epoch=1"], "unknown option 'training.epoch'; did you mean 'training.epochs'?"),
        (["evaluation.importance_samples=0"], "evaluation.importance_samples must be above 0, got 0"),
        (["dataset.binarise=none"], "needs binary pixels"),
        (["training.patience=2"], "training.patience needs training.select=validation"),
        (["training.epochs"], "'training.epochs' is not an override: write key=value, such as training.epochs=3"),
        (["training.epochs=many"], "training.epochs must be a whole number, got 'many'"),
        (["training.epochs=1.5"], "training.epochs must be a whole number, got 1.5"),
        (["training.epochs=3 4"], "training.epochs must be a whole number, got '3 4'"),
        (["training.gradient_clip=large"], "training.gradient_clip must be a number or null, got 'large'"),
        (["network.hidden=64"], "network.hidden must be a list of whole numbers such as [64, 32], got 64"),
        (["network.hidden=64,32"], "network.hidden must be a list of whole numbers such as [64, 32], got 64"),
        (["network.hidden=[wide]"], "network.hidden must be a list of whole numbers such as [64, 32], got ['wide']"),
        (["variant.analytic_kl=perhaps"], "variant.analytic_kl must be true or false, got 'perhaps'"),
        (["variant.analytic_kl=2"], "variant.analytic_kl must be true or false, got 2"),
        (["variant.analytic_kl=yes"], "variant.analytic_kl must be true or false, got 'yes'"),
        (["evaluation.inception=0"], "evaluation.inception must be true or false, got 0"),
        (["network=conv", "network.stages=9"], "network conv with 9 stages cannot take images of 8x8"),
        (["--variants", "vq_vae", "network=linear"], "network linear has no grid of codes"),
        (["training.epochs=interval(1,3)"], "cannot be run: list the values, as in training.epochs=1,2,3"),
        (["training.epochs=???"], "training.epochs must have a value, got '???'"),
        (
            ["training.epochs=1", "++training.epochs=2"],
            "'training.epochs=1' and '++training.epochs=2' set the same option: give only one",
        ),
        (["training={}"], "'training={}' has no effect"),
        (["training=null"], "training must be a group of options, got None"),
        (["~training.epochs"], "'~training.epochs' deletes an option: set its value instead, training.epochs=…"),
        (["~network"], "network must be a group of options, got None"),
        (["network.hiden=[1]"], "did you mean 'network.hidden'?"),
        (["trainnig.epochs=1"], "unknown group of options 'trainnig'; did you mean 'training'?"),
        (["budget=celeba_quik"], "unknown budget 'celeba_quik'; did you mean 'celeba_quick'?"),
        (["budget=null"], "unknown budget 'null' (allowed: celeba_quick)"),
        (["dataset.scale=inf", "dataset.observation=gaussian", "dataset.binarise=none"], "scale"),
        (["dataset.title=é"], "'dataset.title=é' cannot be read: put the value in quotes"),
        (["--profile", "1e3"], "unknown profile '1e3'"),
        (["--results="], "--results must be a path, got ''"),
        (["--variants", "wae_mmd", "training.batch_size=1"], "training.batch_size must be 2 or above for wae_mmd"),
        (["--variants", "info_vae", "training.batch_size=1"], "training.batch_size must be 2 or above for info_vae"),
    ],
)
def test_bad_input_gets_one_line_status_two_and_touches_nothing(tmp_path, capsys, arguments, message):
    defaults = ["--variants", "vae"] if "--variants" not in arguments else []
    assert bench(tmp_path, *defaults, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path, capsys):
    (tmp_path / "results").write_text("a file, not a folder")
    assert bench(tmp_path, "--variants", "vae") == 2
    assert "is not writable" in capsys.readouterr().err


@pytest.mark.parametrize("occupied", ["results", "reports"])
def test_an_output_folder_that_is_a_file_is_refused_before_anything_is_trained(tmp_path, capsys, occupied):
    (tmp_path / occupied).write_text("a file, not a folder")
    folders = ["--results", str(tmp_path / "results"), "--reports", str(tmp_path / "reports")]
    assert main(["bench", "--variants", "vae", "--datasets", "digits", "--profile", "smoke", *folders]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert str(tmp_path / occupied) in error
    assert "is not writable" in error or "is not a folder" in error
    assert error.count("\n") == 1
    assert list(tmp_path.rglob("checkpoint-*")) == []


def test_an_override_is_in_the_run_id_and_a_path_is_not():
    plain, changed = compose("vae", "digits", "smoke", 0), compose("vae", "digits", "smoke", 0, ["training.epochs=3"])
    assert plain.run_id.startswith("digits-vae-smoke-s0-")
    assert plain.run_id != changed.run_id
    assert plain.run_id == compose("vae", "digits", "smoke", 0).run_id


def test_types_are_checked():
    with pytest.raises(UserError, match=r"1\.5"):
        compose("vae", "digits", "smoke", 0, ["training.epochs=1.5"])


def test_the_list_keeps_every_name_apart_from_what_it_says_of_it(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out.partition("data sets:")[0].splitlines()
    assert sorted(line.split()[0] for line in listed if line.startswith("  ")) == variants.names()


def test_an_unknown_command_gets_one_line_and_the_nearest_one(capsys):
    assert main(["benhc"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown command 'benhc'; did you mean 'bench'? (allowed: bench, ")
    assert main([]) == 2
    assert capsys.readouterr().err == "error: the following arguments are required: COMMAND\n"
    assert main(["list", "vae"]) == 2
    assert capsys.readouterr().err == "error: unexpected argument 'vae' of list\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  \t\n", []),
        ("a=1 b=2", ["a=1", "b=2"]),
        ("a=[64, 32]  b={x: 1, y: [2, 3]} c=f(1, 2)", ["a=[64, 32]", "b={x: 1, y: [2, 3]}", "c=f(1, 2)"]),
        ("a='two words' b=\"it's ]\" ", ["a='two words'", 'b="it\'s ]"']),
        (r"a=two\ words b='it\'s' c=1", [r"a=two\ words", r"b='it\'s'", "c=1"]),
        ("'a=[64, 32]' \"b=1\"", ["a=[64, 32]", "b=1"]),
    ],
)
def test_overrides_in_one_string_are_split_outside_quotes_and_brackets(text, expected):
    assert overrides(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", [0]), ("2,0, 2", [2, 0]), ("0-3", [0, 1, 2, 3]), ("7,1-3,2", [7, 1, 2, 3]), ("5-5", [5])],
)
def test_seeds_are_numbers_and_ranges_each_once(text, expected):
    assert seeds(text) == expected


def test_overrides_may_stand_before_between_and_after_flags(tmp_path, capsys):
    """All overrides enter the run id."""
    given = ["training.epochs=3", "--dry", "network.hidden=[16, 8]", "--variants", "vae", "network.latent_size=4"]
    assert bench(tmp_path, *given, "--overrides=variant.samples=2 training.batch_size=50") == 0
    expected = ["training.epochs=3", "network.hidden=[16,8]", "network.latent_size=4", "variant.samples=2"]
    cell = compose("vae", "digits", "smoke", 0, [*expected, "training.batch_size=50"])
    assert capsys.readouterr().out.startswith(f"{cell.run_id}: run\n1 run: 0 done, 1 to do\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["network.hidden=[64,", "32]", "training.epochs=3"], ["network.hidden=[64, 32]", "training.epochs=3"]),
        (["training.epochs", "=", "3"], ["training.epochs=3"]),
        (["training.epochs=", "3", "a", "=4"], ["training.epochs=3", "a=4"]),
        (["training.epochs = 3"], ["training.epochs=3"]),
        (["a=", "b=1"], ["a=", "b=1"]),
        (["dataset.title='two = words'", "~network", "a=1"], ["dataset.title='two = words'", "~network", "a=1"]),
        (["dataset.title=it's", "a=1"], ["dataset.title=it's", "a=1"]),
    ],
)
def test_overrides_that_a_shell_split_at_spaces_are_put_together(words, expected):
    assert joined(words) == expected


def test_spaces_around_the_equals_sign_are_no_error():
    assert overrides("training.epochs = 3 network.hidden= [64, 32] a =1") == [
        "training.epochs=3", "network.hidden=[64, 32]", "a=1",
    ]  # fmt: skip


def test_several_values_are_several_runs(tmp_path, capsys):
    given = ["--variants", "beta_vae", "--dry", "variant.beta=2,4,8", "network.hidden=[8],[16, 8]"]
    assert bench(tmp_path, *given) == 0
    expected = [
        compose("beta_vae", "digits", "smoke", 0, [f"variant.beta={beta}", f"network.hidden={hidden}"]).run_id
        for beta in (2, 4, 8) for hidden in ("[8]", "[16,8]")
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [*(f"{run_id}: run" for run_id in expected), "6 runs: 0 done, 6 to do"]
    with pytest.raises(UserError, match=r"'variant\.beta=2,4' gives several values, and one run takes one"):
        compose("beta_vae", "digits", "smoke", 0, ["variant.beta=2,4"])


def test_an_option_of_some_variants_runs_those_of_all_that_take_it(tmp_path, capsys):
    """The example of the README."""
    assert bench(tmp_path, "--variants", "all", "--dry", "--overrides", "variant.beta=8 training.epochs=3") == 0
    output = capsys.readouterr()
    assert "digits-beta_vae-smoke" in output.out
    assert "digits-vae-smoke" not in output.out
    assert re.search(r"^digits: skipping ae, auxiliary_vae, .*: no option 'beta'$", output.err, re.MULTILINE)


def test_a_count_of_one_is_singular():
    assert [counted(number, "run") for number in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_help_imports_neither_torch_nor_hydra():
    program = (
        "import sys\nfrom benchmarks.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as e:\n    assert e.code == 0\n"
        "assert not {'torch', 'hydra', 'pandas', 'matplotlib'} & set(sys.modules), sorted(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert "bench" in done.stdout


def test_a_new_user_sees_what_the_suite_logs_and_no_chatter_of_libraries(tmp_path):
    # In an empty configuration folder, matplotlib builds its font cache and logs this at INFO.
    script = (
        "import logging\n"
        "from benchmarks.__main__ import main\n"
        "assert main(['report', '--results', '.', '--reports', 'reports']) == 0\n"
        "for name in ('benchmarks.data', 'variants.vae', 'matplotlib'):\n"
        "    logging.getLogger(name).info('information from %s', name)\n"
        "    logging.getLogger(name).warning('warning from %s', name)\n"
    )
    (tmp_path / "runs").mkdir()
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "matplotlib").glob("fontlist*.json")), "the font cache was not built"
    assert done.stderr.splitlines() == [
        "information from benchmarks.data",
        "warning from benchmarks.data",
        "information from variants.vae",
        "warning from variants.vae",
        "warning from matplotlib",
    ]


def test_ctrl_c_pressed_again_while_a_command_cleans_up_is_quiet(monkeypatch, capsys):
    def interrupted(options):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        finally:
            for _ in range(4):
                os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        monkeypatch.setattr("benchmarks.__main__._list", interrupted)
        assert main(["list"]) == 130
        again = "interrupted: run the same command again"
        assert capsys.readouterr().err == f"{again}\n"
        monkeypatch.setattr("benchmarks.__main__._bench", interrupted)
        assert main(["bench"]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == f"{again}; training continues from its last checkpoint\n"


@pytest.mark.parametrize("command", [["report"], ["publish"], ["verify", "run"], ["results", "--csv", "-"]])
def test_a_results_folder_that_is_not_there_is_refused_and_no_report_emptied(tmp_path, capsys, command):
    (tmp_path / "file").write_text("")
    reports = ["--reports", str(tmp_path / "reports")] if command == ["report"] else []
    for name in ("mistyped", "file"):
        assert main([*command, "--results", str(tmp_path / name), *reports]) == 2
        assert (
            capsys.readouterr().err == f"error: --results must be an existing results folder, got '{tmp_path / name}'\n"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_output_that_nobody_reads_to_its_end_is_no_error():
    command = [sys.executable, "-m", "benchmarks", "list"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")


@pytest.mark.parametrize("command", [["report"], ["report", "--baseline"], ["publish", "--source"]])
def test_a_folder_that_is_no_results_folder_is_refused(command, tmp_path, monkeypatch, capsys):
    (tmp_path / "results" / "runs" / "one").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    flag, folder = [*command, "--results"][1], str(Path("results") / "runs")
    assert main([command[0], flag, folder]) == 2
    expected = f"error: {flag} must be a results folder, which contains runs/ or reference/, got {folder!r}\n"
    assert capsys.readouterr().err == expected


def test_an_error_in_a_users_metrics_ends_a_sweep_before_it_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("VAE_METRICS_PATH", str(tmp_path / "none"))
    assert main(["bench", "--datasets", "digits", "--results", str(tmp_path / "results")]) == 2
    assert "VAE_METRICS_PATH names" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
