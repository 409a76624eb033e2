"""The command line: ``vae-bench COMMAND`` or ``python -m benchmarks COMMAND``, which the make targets call.

Heavy imports are inside the commands that need them, so that ``--help`` is fast.
"""

from __future__ import annotations

import argparse
import functools
import io
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from benchmarks.arguments import Parser, check_overrides, expanded, overrides, parse, path, seconds, seeds, whole
from benchmarks.conf_files import check_files, choices, conf_path, described
from benchmarks.errors import UserError
from benchmarks.records import catalogue
from benchmarks.records.record import PARTS, REPRODUCTION
from benchmarks.records.searches import TUNING
from benchmarks.variables import check_variables
from benchmarks.wording import counted
from variants.own_files import OwnFileError

if TYPE_CHECKING:
    from benchmarks.config import Config
    from benchmarks.sweep.runner import Summary


class Terminated(KeyboardInterrupt):
    """SIGTERM was received. A system sends it before it shuts down, and a scheduler before it stops a job."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status: 0 on success, 1 if cells failed, now or earlier, 2 for invalid input,
    130 if interrupted, 143 if terminated."""
    _show_log()
    # A backend set in the environment, for example by a notebook, may not exist here; matplotlib could then not be
    # imported.
    os.environ["MPLBACKEND"] = "agg"
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in previous.items():
        if handler is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)
    command = None
    try:
        options = parse(*_parser(), sys.argv[1:] if arguments is None else arguments)
        command = options.command
        check_variables()
        check_files()
        # The user's own metrics: an error in their files must not end a sweep after its first training.
        catalogue.discover()
        return int(command(options))
    except (UserError, OwnFileError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        trains = command in (_bench, _reproduce, _tune, _verify)
        goes_on = "; training continues from its last checkpoint" if trains else ""
        print(f"interrupted: run the same command again{goes_on}", file=sys.stderr)
        return 143 if isinstance(stop, Terminated) else 130
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def console() -> NoReturn:
    """Entry point of the command ``vae-bench``: runs :func:`main` and exits."""
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has exited, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 128 + signal.SIGPIPE
    # The work is done. An interrupt during Python's shutdown would only print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def _show_log() -> None:
    """Log to the terminal: info messages of this project, and only warnings of other libraries."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    # Characters that the terminal cannot encode, in file names or ±, must not end a command.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for package in ("benchmarks", "variants"):
        logging.getLogger(package).setLevel(logging.INFO)


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise an interrupt, and ignore further signals: the clean-up takes seconds and must not be interrupted."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _parser() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and the parsers of its commands by name."""
    called = "vae-bench" if Path(sys.argv[0]).stem == "vae-bench" else "python -m benchmarks"
    parser = Parser(prog=called, description="Train, evaluate and compare variational autoencoders.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    bench = commands.add_parser("bench", help="train and evaluate variants on data sets, and write the reports")
    which = "all, or names of variants or families, separated by commas (default: all); `list` shows them"
    bench.add_argument("--variants", default="all", help=which)
    bench.add_argument("--datasets", default="mnist", help="all, or names separated by commas (default: mnist)")
    bench.add_argument("--seeds", type=seeds, default=[0], help="for example 0,1,2 or 0-4 (default: 0); one run each")
    profiles = "smoke, quick, standard or paper (default: standard on a GPU, otherwise quick)"
    bench.add_argument("--profile", help=f"training budget and evaluation: {profiles}")
    _add_running(bench)
    bench.add_argument("--tracker", help="log the training: none or tensorboard (default: none)")
    bench.add_argument("--launcher", help="run with processes, slurm, slurm_local or ray_cluster instead of --jobs")
    bench.add_argument("--no-report", action="store_true", help="do not write reports at the end")
    _add_folders(bench)
    separated = "Hydra overrides in one string, separated by spaces"
    bench.add_argument("--overrides", dest="listed", type=overrides, default=[], metavar="OVERRIDES", help=separated)
    bench.add_argument("overrides", nargs="*", help="Hydra overrides for all runs, for example training.epochs=3")
    bench.set_defaults(command=_bench)

    data = commands.add_parser("data", help="download data sets and check their SHA-256")
    data.add_argument("--datasets", default="mnist", help="all, or names separated by commas (default: mnist)")
    data.set_defaults(command=_data)

    report = commands.add_parser("report", help="write the reports again from the records")
    _add_folders(report)
    report.add_argument("--baseline", type=path, help="mark the changes against an earlier results folder")
    report.add_argument(
        "--html", action="store_true", help="also write every page as an HTML file, beginning with index.html"
    )
    report.set_defaults(command=_report)

    reproduce = commands.add_parser("reproduce", help="run the recipes of published results and compare the numbers")
    targets = "all, quick (at most 10 minutes each), or names separated by commas (default: all); `list` shows them"
    reproduce.add_argument("--targets", default="all", help=targets)
    budgets = "full, reduced or ablation (default: reduced if the target has one, otherwise full)"
    reproduce.add_argument("--budget", help=budgets)
    _add_running(reproduce)
    _add_folders(reproduce)
    reproduce.set_defaults(command=_reproduce)

    tune = commands.add_parser("tune", help="tune options that a paper does not specify, on validation data")
    tune.add_argument("--variants", default="all", help=which)
    tune.add_argument("--datasets", default="mnist", help="all, or names separated by commas (default: mnist)")
    tune.add_argument("--profile", default="quick", help="training budget of a trial (default: quick)")
    tune.add_argument("--trials", type=whole, default=8, help="maximum number of runs per variant (default: 8)")
    scores = "validation_elbo, validation_log_likelihood or validation_negative_squared_error"
    tune.add_argument("--criterion", help=f"the score to maximise: {scores} (default: the first that is defined)")
    tune.add_argument("--retry", action="store_true", help="repeat trials that failed or diverged")
    _add_results(tune)
    tune.add_argument("--overrides", dest="listed", type=overrides, default=[], metavar="OVERRIDES", help=separated)
    tune.add_argument("overrides", nargs="*", help="Hydra overrides for all trials, for example training.epochs=3")
    tune.set_defaults(command=_tune)

    verify = commands.add_parser("verify", help="repeat a recorded run and compare the metrics")
    verify.add_argument("run", help="run id, the name of the run's folder under results/")
    _add_results(verify)
    verify.set_defaults(command=_verify)

    publish = commands.add_parser("publish", help="copy successful records to results/reference")
    _add_results(publish)
    publish.add_argument("--source", type=path, help="the results folder to copy from (default: --results)")
    publish.set_defaults(command=_publish)

    results = commands.add_parser("results", help="export all records as one table")
    _add_results(results)
    results.add_argument("--csv", type=path, help="write the table to this CSV file, or to the terminal with -")
    results.add_argument("--parquet", type=path, help="write the table to this Parquet file")
    results.set_defaults(command=_results)

    speed = commands.add_parser("speed", help="measure the speed of training against other implementations")
    _add_reports(speed)
    speed.add_argument("--repeats", type=whole, default=9, help="measurements per implementation (default: 9)")
    speed.add_argument("--peers", type=path, help="the Python interpreter of an environment with pythae")
    speed.set_defaults(command=_speed)

    judges = commands.add_parser(
        "judges", help="train the shipped classifiers (for FID and feature losses) again and write their files"
    )
    judges.add_argument("--datasets", default="all", help="all, or names separated by commas (default: all)")
    judges.set_defaults(command=_judges)

    api = commands.add_parser("api", help="write api.md, the library reference, from docstrings")
    _add_reports(api)
    api.set_defaults(command=_api)

    listing = commands.add_parser("list", help="list variants, data sets, networks, profiles and paper targets")
    listing.set_defaults(command=_list)
    return parser, commands.choices


def _add_running(parser: Parser) -> None:
    limits = "as many as cores, memory and GPUs allow"
    parser.add_argument("--jobs", type=whole, help=f"number of runs at the same time (default: {limits})")
    parser.add_argument("--retry", action="store_true", help="repeat runs that failed or diverged")
    parser.add_argument("--dry", action="store_true", help="print the plan and the expected time without running it")
    parser.add_argument("--timeout", type=seconds, help="stop a run after this many seconds (default: no limit)")


def _add_folders(parser: Parser) -> None:
    _add_results(parser)
    _add_reports(parser)


def _add_results(parser: Parser) -> None:
    parser.add_argument("--results", type=path, default=Path("results"), help="folder of records (default: results)")


def _add_reports(parser: Parser) -> None:
    parser.add_argument("--reports", type=path, default=Path("reports"), help="folder of reports (default: reports)")


def _bench(options: argparse.Namespace) -> int:
    import variants
    from benchmarks.config import choices, fitting, split_list, variant_families
    from benchmarks.data import data_root, feature_cache
    from benchmarks.environment import choose_device
    from benchmarks.sweep import plan, runner
    from benchmarks.sweep.cell import Setting
    from benchmarks.training.tracking import check_tracker

    names = split_list(options.variants, "variant", variants.names(), variant_families())
    datasets = split_list(options.datasets, "data set", choices("dataset"))
    tracker = "none" if options.tracker is None else options.tracker
    check_tracker(tracker)
    own, of_launcher = check_overrides(options.overrides, options.launcher)
    if options.launcher is not None:
        from benchmarks.sweep.launchers import check_launcher

        check_launcher(options.launcher)
        if options.jobs or options.timeout:
            raise UserError(
                "--jobs and --timeout (JOBS, TIMEOUT) do not apply with --launcher (LAUNCHER); "
                "set the override hydra.launcher.… instead"
            )
    device = choose_device("auto")
    profile = options.profile
    if profile is None:
        profile = "standard" if device.type == "cuda" else "quick"
    cells: list[Config] = []
    left_out: dict[str, None] = {}
    for overriding in expanded(own):
        for dataset in datasets:
            chosen = names
            if options.variants.strip() == "all":
                chosen, lines = fitting(names, dataset, profile, overriding)
                left_out |= dict.fromkeys(lines)
            cells += plan.plan(chosen, [dataset], options.seeds, profile, overriding)
    for line in left_out:
        print(line, file=sys.stderr)
    setting = Setting(options.results, data_root(), feature_cache(), device, tracker)
    if options.dry:
        print(plan.describe_plan(cells, setting, options.retry, options.jobs, options.launcher))
        return 0
    if not options.no_report:
        _check_reports(options)
    if options.launcher is not None:
        summary = runner.run_on(options.launcher, cells, setting, options.retry, of_launcher)
    else:
        summary = runner.run(cells, setting, options.retry, options.jobs, options.timeout)
    if not options.no_report:
        _report(options)
    return _summarise(summary)


def _tune(options: argparse.Namespace) -> int:
    import variants
    from benchmarks.config import choices, split_list, variant_families
    from benchmarks.data import data_root, feature_cache
    from benchmarks.environment import choose_device
    from benchmarks.sweep.cell import Setting
    from benchmarks.tuning.search import check_criterion, describe_search, searchable, tune

    check_criterion(options.criterion)
    names = searchable(split_list(options.variants, "variant", variants.names(), variant_families()))
    datasets = split_list(options.datasets, "data set", choices("dataset"))
    own, _ = check_overrides(options.overrides, None)
    setting = Setting(options.results, data_root(), feature_cache(), choose_device("auto"))
    for dataset in datasets:
        for name in names:
            found = tune(name, dataset, options.profile, setting, options.trials, options.criterion, own, options.retry)
            print(describe_search(found))
    return 0


def _check_reports(options: argparse.Namespace) -> None:
    """Raise :class:`UserError` before training if the reports folder is not writable."""
    from benchmarks.reporting import check_folder

    check_folder(options.reports)


def _summarise(summary: Summary) -> int:
    """Print the result of a sweep, and return the exit code."""
    from benchmarks.sweep.runner import outcome

    elsewhere = f", {len(summary.elsewhere)} run by another process" if summary.elsewhere else ""
    done = f"{counted(len(summary.ran), 'run')} finished, {len(summary.skipped)} already done"
    print(f"{done}, {len(summary.failed)} failed{elsewhere}")
    for record in summary.failed:
        print(f"  {record.run_id}: {outcome(record)}")
    if any(record.error and record.error["traceback"] for record in summary.failed):
        print("full tracebacks are in record.json in the folder of each run")
    if summary.ended_badly:
        print("use RETRY=1 (--retry) to repeat runs that failed or diverged")
    for name, reason in summary.missing_data.items():
        print(f"  {name}: data missing: {reason}")
    for run_id, reason in summary.refused.items():
        print(f"  {run_id}: not run: {reason}")
    nothing_ran = bool(summary.missing_data) and not summary.ran and not summary.skipped
    return 1 if summary.failed or summary.refused or nothing_ran else 0


def _check_results(folder: Path, flag: str = "results") -> None:
    """Raise :class:`UserError` for a folder that is not a results folder. It would otherwise be read as a folder
    without records, and empty the reports."""
    if not os.path.isdir(folder):
        raise UserError(f"--{flag} must be an existing results folder, got {str(folder)!r}")
    if not any(os.path.isdir(folder / part) for part in (*PARTS, REPRODUCTION, TUNING)):
        raise UserError(f"--{flag} must be a results folder, which contains runs/ or reference/, got {str(folder)!r}")


def _data(options: argparse.Namespace) -> int:
    from benchmarks.config import split_list
    from benchmarks.progress.screen import TaskScreen
    from benchmarks.sweep.fetch import fetch

    names = split_list(options.datasets, "data set", choices("dataset"))
    with TaskScreen():
        return fetch(names)


def _report(options: argparse.Namespace) -> int:
    from benchmarks.reporting import write_reports
    from benchmarks.reproduction.published import published
    from benchmarks.reproduction.targets import all_targets
    from benchmarks.tuning.search import searched
    from variants.registry import documentation

    # Only the report command has these options; other commands write the reports without them.
    baseline, html = getattr(options, "baseline", None), getattr(options, "html", False)
    _check_results(options.results)
    if baseline is not None:
        _check_results(baseline, "baseline")
    targets = functools.cache(all_targets)
    plans = []
    if (options.results / REPRODUCTION).is_dir():
        from benchmarks.reproduction.recipes import plans as plans_now

        plans = plans_now(targets())
    found = write_reports(options.results, options.reports, baseline, html, documentation, plans, searched,
                          lambda dataset: published(targets(), dataset))  # fmt: skip
    for message in found:
        print(message, file=sys.stderr)
    print(f"reports: {options.reports / ('index.html' if html else 'README.md')}")
    return 0


def _publish(options: argparse.Namespace) -> int:
    from benchmarks.records.made_for import note_made_for, read_made_for
    from benchmarks.records.publishing import publish

    source = options.source or options.results
    _check_results(source, "source" if options.source else "results")
    published, messages = publish(options.results, source)
    print(f"{counted(len(published), 'record')} published to {options.results / 'reference'}")
    if (source / REPRODUCTION).is_dir():
        published, more = publish(options.results / REPRODUCTION, source / REPRODUCTION)
        messages += more
        note_made_for(options.results / REPRODUCTION, read_made_for(source / REPRODUCTION))
        print(f"{counted(len(published), 'record')} published to {options.results / REPRODUCTION / 'reference'}")
    for message in messages:
        print(message, file=sys.stderr)
    return 1 if messages else 0


def _reproduce(options: argparse.Namespace) -> int:
    from benchmarks.data import data_root, feature_cache
    from benchmarks.environment import choose_device
    from benchmarks.records.record import read_records
    from benchmarks.reproduction import costs, recipes
    from benchmarks.sweep import plan
    from benchmarks.sweep.cell import Setting

    setting = Setting(
        options.results / REPRODUCTION, data_root(), feature_cache(), choose_device("auto"),
        skip_published=True,
    )  # fmt: skip
    asked, left_out = recipes.chosen(options.targets, options.budget, setting, options.jobs)
    if left_out:
        print(left_out, file=sys.stderr)
    cells = recipes.all_cells(asked)
    states = plan.to_do(cells, setting, options.retry)
    records, _ = read_records(setting.results)
    if options.dry:
        print("\n".join(f"{run_id}: {state}" for run_id, state in states.items()))
    print(costs.describe(asked, states, records, setting.device, options.jobs), flush=True)
    if options.dry:
        return 0
    _check_reports(options)
    summary = recipes.run(asked, setting, options.retry, options.jobs, options.timeout)
    _report(options)
    return _summarise(summary)


def _verify(options: argparse.Namespace) -> int:
    from benchmarks.data import data_root, feature_cache
    from benchmarks.environment import choose_device
    from benchmarks.progress.screen import TaskScreen
    from benchmarks.reproduction.verify import verify
    from benchmarks.sweep.cell import Setting

    _check_results(options.results)
    folder = options.results / "verification"
    setting = Setting(folder, data_root(), feature_cache(), choose_device("auto"))
    with TaskScreen():
        text, same = verify(options.run, options.results, setting)
    print(text)
    return 0 if same else 1


def _results(options: argparse.Namespace) -> int:
    from benchmarks.records.export import write_table

    if not options.csv and not options.parquet:
        raise UserError("no output given: use --csv FILE, --csv - for the terminal, or --parquet FILE")
    _check_results(options.results)
    for message in write_table(options.results, options.csv, options.parquet):
        print(message, file=sys.stderr)
    return 0


def _speed(options: argparse.Namespace) -> int:
    from benchmarks.speed.page import measure

    if options.peers is not None:
        _check_peers(options.peers)
    print(measure(options.reports, options.repeats, options.peers))
    return 0


def _check_peers(python: Path) -> None:
    """Raise :class:`UserError` before the measurements, which take minutes, if ``python`` has no torch or pythae."""
    check = [str(python.absolute()), "-c", "import torch, pythae"]
    try:
        found = subprocess.run(check, capture_output=True).returncode == 0
    except OSError:
        found = False
    if not found:
        raise UserError(
            f"--peers must be the Python interpreter of an environment with torch and pythae 0.1.2, got "
            f"{str(python)!r}: `make peers` in a checkout creates one"
        )


def _judges(options: argparse.Namespace) -> int:
    from benchmarks.config import split_list
    from benchmarks.data import data_root
    from benchmarks.evaluation.judges.making import make_shipped
    from benchmarks.evaluation.judges.shipped import SOURCES
    from benchmarks.progress.screen import TaskScreen

    names = split_list(options.datasets, "data set", SOURCES)
    with TaskScreen():
        written = make_shipped(names, data_root())
    print("\n".join(map(str, written)))
    return 0


def _api(options: argparse.Namespace) -> int:
    from benchmarks.library.reference import write_reference

    print(write_reference(options.reports))
    return 0


def _list(options: argparse.Namespace) -> int:
    from variants.registry import summaries

    found = summaries()
    if conf_path():
        # Only the user's own files can have errors in their values, and these imports are slow.
        from benchmarks.config import check_choices
        from benchmarks.reproduction.targets import all_targets

        all_targets()
        check_choices()
    groups = {
        f"variants, family {family.replace(' ', '-')}": {
            name: text for name, (own, text) in found.items() if own == family
        }
        for family in dict.fromkeys(family for family, _ in found.values())
    }
    groups |= {"data sets": described("dataset"), "profiles": described("profile"), "paper targets": described("paper")}
    width = max(len(name) for names in groups.values() for name in names) + 2
    lines = []
    for heading, names in groups.items():
        lines += [f"{heading}:", *(f"  {name:<{width}}{text}".rstrip() for name, text in names.items())]
    # Printed with one call, so that a reader that exits early, such as `head`, does not cause a broken pipe.
    print("\n".join([*lines, f"networks: {', '.join(choices('network'))}"]))
    return 0


if __name__ == "__main__":
    console()
