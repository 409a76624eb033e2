"""The page of paper targets: published numbers, our results, verdicts, and the runs of each target."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from benchmarks.records.checks import LARGEST
from benchmarks.records.made_for import read_made_for
from benchmarks.records.numbers import number as measured
from benchmarks.records.record import HISTORY_FILE, Record, read_missing_data, read_records
from benchmarks.reporting import board
from benchmarks.reporting.boundary.output import Output
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.figures import png
from benchmarks.reporting.markdown import GENERATED, anchor, argument, code, escape, quoted, table
from benchmarks.reporting.style import new_figure
from benchmarks.reporting.verdicts import (
    BOTH_SPREADS,
    LEAST_SHARE,
    MISSED,
    NOT_RUN,
    ORDER,
    OVER_IMAGES,
    REPRODUCED,
    STALE,
    TOO_SHORT,
    Outcome,
    between,
    judge,
    share,
    verdict_of,
)
from benchmarks.reproduction.targets import Plan, Quantity, Run

FILE = "reproduction.md"
# Marks results whose seeds differ too much for the interval.
VARIES = "‡"
# Colours of curves by budget: safe for colour-blind readers, and distinguishable in grey.
_COLOURS = {"full": "#0072B2", "reduced": "#D55E00"}


def add_page(results: Path, output: Output, plans: Sequence[Plan]) -> list[str]:
    """Add the page and its pictures to ``output``; returns messages about records and files that were left out.

    ``results`` is the results folder of paper targets. The same records and plans give the same page.
    """
    found, messages = read_records(results)
    files = SideFiles(results)
    records = {record.run_id: record for record in found}
    finished = {run_id: record for run_id, record in records.items() if record.status == "ok"}
    noted, missing = read_made_for(results), read_missing_data(results)
    judged: list[tuple[Plan, Outcome]] = []
    details = []
    for plan in plans:
        outcomes = judge(plan, records, _well_formed(noted.get(plan.target.id)), missing)
        judged += [(plan, outcome) for outcome in outcomes]
        details += _details(plan, outcomes, finished, files, output)
    # Sorted from the best to the worst verdict. Quantities with the same verdict keep the order of the targets.
    judged.sort(key=lambda pair: ORDER.index(pair[1].verdict))
    lines = [_line(plan, outcome) for plan, outcome in judged]
    # The verdict is one of the first columns, so that it is visible in a narrow window.
    header = [
        "target", "quantity", "verdict", "published", "ours", "accepted", "difference", "standardised", "budget",
        "variant",
    ]  # fmt: skip
    blocks = [
        GENERATED,
        "# Reproduction",
        "[All boards](README.md)",
        _count([outcome for _, outcome in judged]),
        "Published numbers compared with ours. The accepted interval of each quantity was fixed before the runs. The "
        "verdicts are computed from the records under `results/reproduction/`:",
        "- *reproduced*: our result with the full recipe lies in the accepted interval. If a first version of the "
        "recipe missed the interval and was corrected after the source was read again, the budget says so\n"
        "- *consistent*: the result of a reduced budget lies in the interval that was expected of that budget, which "
        "says nothing about the full recipe\n"
        "- *missed*: the result lies outside the interval\n"
        f"- *too short to judge*: the run had less than {LEAST_SHARE:.0%} of the training of the full recipe, so the "
        "result decides nothing; the details say whether it lies in the interval that was expected of its budget\n"
        "- *stale*: the recipe was changed after its records were made\n"
        "- *not run*: some of the runs that the quantity needs have no record, have failed or diverged, or have no "
        "number for it; the details give the reason",
        "*Ours* is the mean ± standard deviation over n seeds, and *difference* is ours minus the published number. "
        "NLL is -log p(x). *Standardised* is the difference divided by a standard deviation: if the source gives that "
        "of its runs, the square root of the sum of both variances (*both sd*); otherwise the standard error of our "
        "mean (*s.e.*), over seeds if there are several, otherwise over test images (\\*). If an interval has only "
        "one end, the result must be at least (or at most) that number, and the difference is measured from it; with "
        "the end 0, this tests only which of two results is larger. Only the interval decides the verdict: "
        "*standardised* does not include the effect of other test images or of another binarisation. If the source "
        "measured other images, the interval is shifted by the expected effect and may leave out the published "
        "number: the section of the target gives the reasons.",
        table(header, lines, "left") if lines else "There are no targets.",
        f"{VARIES} The standard deviation over seeds is larger than the width of the interval, so the verdict says "
        "little."
        if any(outcome.varies for _, outcome in judged)
        else "",
        *details,
    ]
    output.page(FILE, "\n\n".join(block for block in blocks if block) + "\n")
    return messages + files.messages


def _count(outcomes: Sequence[Outcome]) -> str:
    """A line with the number of quantities of each verdict."""
    if not outcomes:
        return ""
    counts = Counter(outcome.verdict for outcome in outcomes)
    others = [f"{counts[verdict]} {verdict}" for verdict in ORDER if verdict != REPRODUCED and counts[verdict]]
    line = f"**{counts[REPRODUCED]} of {len(outcomes)} quantities reproduced with the full recipe**"
    reproduced = [outcome for outcome in outcomes if outcome.verdict == REPRODUCED]
    remarks = [
        f"{number} {words}"
        for words, number in (
            ("after a first recipe missed and was corrected", sum(map(_is_corrected, reproduced))),
            (f"with seeds that differ too much to tell ({VARIES})", sum(outcome.varies for outcome in reproduced)),
        )
        if number
    ]
    return "; ".join([f"{line} ({', '.join(remarks)})" if remarks else line, *filter(None, [", ".join(others)])]) + "."


def _is_corrected(outcome: Outcome) -> bool:
    return outcome.quantity.first_result is not None


def _well_formed(noted: object) -> dict[str, dict[str, list[str]]]:
    """The well-formed entries of a target in a file: budget -> arm -> run ids."""
    budgets = noted.items() if isinstance(noted, dict) else ()
    return {
        budget: {
            arm: [run_id for run_id in found if isinstance(run_id, str)]
            for arm, found in arms.items()
            if isinstance(found, list)
        }
        for budget, arms in budgets
        if isinstance(arms, dict)
    }


def _line(plan: Plan, outcome: Outcome) -> list[str]:
    quantity = outcome.quantity
    link = f"[{escape(plan.target.id)}](#{anchor(plan.target.id)})"
    first = [link, f"{escape(quantity.name)} ({escape(quantity.unit)})"]
    verdict = f"*{outcome.verdict}*" if outcome.verdict == NOT_RUN else f"**{outcome.verdict}**"
    ours = difference = distance = budget = "–"
    if outcome.values is not None and outcome.mean is not None:
        ours = _spread(outcome.mean, list(outcome.values.values()), _decimals(quantity))
        ours += f" {VARIES}" if outcome.varies else ""
        if outcome.difference is not None:
            difference = f"{outcome.difference:+.{_decimals(quantity)}f}"
        distance = _distance(outcome)
        budget = _budget_words(plan, outcome)
    shown = [_published(quantity), ours, escape(_held_against(outcome)), difference, distance, budget]
    return [*first, verdict, *shown, escape(_variants(plan, quantity))]


def _published(quantity: Quantity) -> str:
    if quantity.published is None:
        return "–"
    return f"{quantity.published:g}" + (f" ± {quantity.spread:g}" if quantity.spread is not None else "")


def _spread(mean: float, values: Sequence[float], decimals: int) -> str:
    text = f"{mean:.{decimals}f}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.{decimals}f} (n = {len(values)})"
    return text


def _decimals(quantity: Quantity) -> int:
    """The number of decimals to show for a quantity.

    It is at least 2, at least the number of decimals of the published number, and enough to show two significant digits
    of the width of the accepted interval.
    """
    low, high = quantity.accept
    published = len(f"{quantity.published:g}".partition(".")[2]) if quantity.published is not None else 0
    width = 0 if low is None or high is None else 1 - math.floor(math.log10(high - low))
    return max(2, published, width)


def _held_against(outcome: Outcome) -> str:
    """The interval that the verdict depends on, in words."""
    quantity = outcome.quantity
    if outcome.budget == "reduced" and quantity.expected is not None:
        return f"{between(quantity.expected, quantity.standard_errors)} (for the reduced budget)"
    return between(quantity.accept, quantity.standard_errors)


def _distance(outcome: Outcome) -> str:
    distance = outcome.distance
    if distance is None:
        return "–"
    unit = "both sd" if distance.unit == BOTH_SPREADS else "s.e.\\*" if distance.unit == OVER_IMAGES else "s.e."
    origin = "" if distance.origin == outcome.quantity.published else f" from {distance.origin:g}"
    return f"{distance.value:+.1f} {unit}{origin}"


def _variants(plan: Plan, quantity: Quantity) -> str:
    """The names of the variants that are trained for a quantity; readers filter the table by them."""
    return ", ".join(dict.fromkeys(plan.variants[arm] for arm in (quantity.arm, quantity.minus) if arm))


def _budget_words(plan: Plan, outcome: Outcome) -> str:
    """The budget of an outcome's records in words, compared with the full recipe."""
    assert outcome.budget is not None
    if outcome.verdict == STALE:
        return f"{outcome.budget}, earlier recipe"
    quantity = outcome.quantity
    done, full = _first(plan, outcome.budget, quantity), _first(plan, "full", quantity)
    if outcome.budget == "full":
        arms = [plan.runs["full"][arm][0] for arm in (quantity.arm, quantity.minus) if arm]
        corrected = f", corrected recipe (first: {quantity.first_result:g})" if _is_corrected(outcome) else ""
        return f"full, {' and '.join(dict.fromkeys(map(_length, arms)))}{corrected}"
    if done.unit != full.unit:
        return f"reduced, {_length(done)} of {_length(full)}"
    return f"reduced, {done.length:,} of {_length(full)} ({share(plan, outcome.budget, outcome.quantity):.0%})"


def _first(plan: Plan, budget: str, quantity: Quantity) -> Run:
    return plan.runs[budget][quantity.arm][0]


def _length(run: Run) -> str:
    """The training budget of a run in words."""
    return f"{'at most ' if run.stops_early else ''}{run.length:,} {run.unit}"


def _details(
    plan: Plan, outcomes: Sequence[Outcome], records: Mapping[str, Record], files: SideFiles, output: Output
) -> list[str]:
    """The section of a target. ``records`` are those of finished runs, by run id."""
    target = plan.target
    blocks = [
        f"## {escape(target.id)}",
        f"{escape(target.title)}: **{verdict_of(outcomes)}**. {escape(target.paper)}, "
        f"[{escape(target.table)}]({target.link}). Source of the number: {escape(target.seen, 600)}",
        f"Recipe: {escape(target.recipe, 2000)}",
        _intervals(outcomes),
        _again(plan),
        _runs_table(plan, records, files),
    ]
    departures = [*target.deviations]
    if target.reduced is not None and any(outcome.budget == "reduced" or outcome.reduced for outcome in outcomes):
        departures += [f"reduced budget: {text}" for text in target.reduced.deviations]
    if departures:
        blocks += ["Deviations from the paper:", "\n".join(f"- {escape(text, 600)}" for text in departures)]
    drawn = output.drawn(f"curves of {target.id}", _curves, plan, outcomes, files)
    if drawn is not None:
        picture = output.picture(f"reproduction-{target.id}", drawn)
        blocks += [f"![{escape(target.id)}](figures/{picture})", f"*{_caption(plan, records)}*"]
    ablation = _ablation(plan, records)
    blocks += ablation
    if target.tried:
        blocks.append(f"What was tried: {escape(target.tried, 2000)}")
    elif not ablation and any(outcome.verdict == MISSED for outcome in outcomes):
        blocks.append("The reason for the miss is not known. No ablation has been run.")
    return blocks


def _intervals(outcomes: Sequence[Outcome]) -> str:
    """A list of quantities with their intervals; a reason that several intervals share is given once, below them."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.quantity.because, outcome.quantity.expected_because), []).append(outcome)
    lines = []
    for (because, expected_because), members in groups.items():
        lines += [_interval(outcome) for outcome in members]
        these = "this interval" if len(members) == 1 else "these intervals"
        lines.append(f"  - Reason for {these}: {escape(because, 600)}.")
        if expected_because:
            lines.append(f"  - Reason for what is expected of the reduced budget: {escape(expected_because, 600)}.")
    return "\n".join(lines)


def _interval(outcome: Outcome) -> str:
    quantity = outcome.quantity
    text = f"- {escape(quantity.name)}: **{outcome.verdict}**"
    # No reason is shown for verdicts that follow from the interval alone.
    if not outcome.values or outcome.verdict in (STALE, TOO_SHORT):
        text += f" ({escape(outcome.reason, 600)})"
    text += f". Accepted with the full recipe: {between(quantity.accept, quantity.standard_errors)}."
    if quantity.expected is not None:
        text += f" Expected of the reduced budget: {between(quantity.expected, quantity.standard_errors)}."
    decimals = _decimals(quantity)
    if outcome.reduced:
        values = list(outcome.reduced.values())
        text += f" Ours with the reduced budget: {_spread(statistics.fmean(values), values, decimals)}."
    if outcome.values and len(outcome.values) > 1:
        each = ", ".join(f"{value:.{decimals}f}" for _, value in sorted(outcome.values.items()))
        text += f" Ours per seed: {each}."
    return text


def _again(plan: Plan) -> str:
    """The command that runs the full recipe, and what it needs."""
    target = plan.target
    needs = f" It needs {escape(target.needs)}." if target.needs else ""
    return f"Run the full recipe: {code(f'make reproduce TARGETS={argument(target.id)} BUDGET=full')}.{needs}"


def _runs_table(plan: Plan, records: Mapping[str, Record], files: SideFiles) -> str:
    """The table of runs, with a line for each arm of each budget with finished runs; then the commands."""
    lines, commands = [], []
    for budget in ("full", "reduced"):
        for arm, runs in plan.runs.get(budget, {}).items():
            done = [records[run.run_id] for run in runs if run.run_id in records]
            if done:
                lines.append([escape(arm), budget, *_spent(done, runs, files)])
                commands.append(f"- {_command(done)}")
    header = ["arm", "budget", "seeds", "trained for", "time of the fastest seed", "device", "finished"]
    if not lines:
        return ""
    return "\n".join([table(header, lines, "left"), "", "Equivalent commands:", "", *dict.fromkeys(commands)])


def _spent(done: Sequence[Record], runs: Sequence[Run], files: SideFiles) -> list[str]:
    seconds = [record.timing.get("total_seconds", 0.0) for record in done]
    return [
        f"{len(done)} of {len(runs)}",
        _trained(done, runs[0], files),
        f"{min(seconds) / 60:,.0f} min",
        escape("; ".join(sorted({_device(record) for record in done}))),
        escape(max(record.finished for record in done)[:10]),
    ]


def _trained(done: Sequence[Record], run: Run, files: SideFiles) -> str:
    """How long the records were trained, and where their weights are from, if they were selected."""
    text = _length(run)
    if run.stops_early:
        shares = [share for record in done if (share := _progress(record, files)) is not None]
        if len(shares) == len(done):
            text = f"{_range([round(share * run.length) for share in shares])} of {text}"
    selected = [(record, step) for record in done if isinstance(step := record.details.get("selected_step"), int)]
    if selected and run.unit == "epochs":
        epochs = [epoch for record, step in selected if (epoch := _epoch(record, step, files)) is not None]
        if len(epochs) == len(selected):
            return f"{text}; weights of epoch {_range(epochs)}"
    if selected:
        text += f"; weights of step {_range([step for _, step in selected])}"
    return text


def _epoch(record: Record, step: int, files: SideFiles) -> int | None:
    """The epoch that ends nearest to a step of training; None if the history does not say how long an epoch is."""
    history = files.table(record.run_id, HISTORY_FILE, ("images_per_second", "seconds"), 2)
    batch = record.config.get("training", {}).get("batch_size")
    if history is None or not isinstance(batch, int) or batch < 1:
        return None
    images = (history["images_per_second"] * history["seconds"]).median()
    return round(step / math.ceil(round(images) / batch)) if 1 <= images <= LARGEST else None


def _progress(record: Record, files: SideFiles) -> float | None:
    """The fraction of its budget for which a run was trained; None if its history does not say."""
    history = files.table(record.run_id, HISTORY_FILE, ("progress",))
    found = None if history is None else history["progress"].max()
    return float(found) if found is not None and 0 <= found <= 1 else None


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _device(record: Record) -> str:
    precision = record.config.get("training", {}).get("precision", "?")
    compiled = ", compiled" if record.details.get("compiled") else ""
    device, threads = record.environment.get("device", "unknown"), record.environment.get("threads", "?")
    return f"{device}, threads: {threads}, {precision}{compiled}"


def _command(done: Sequence[Record]) -> str:
    """The ``make bench`` command that repeats the runs of an arm. Of an option given twice, the last value counts."""
    first = done[0]
    seeds = ",".join(str(record.seed) for record in done)
    options = {str(option).partition("=")[0]: str(option) for option in first.details.get("overrides", ())}
    text = (
        f"make bench VARIANTS={argument(first.variant)} DATASETS={argument(first.dataset)} SEEDS={seeds} "
        f"PROFILE={argument(first.profile)}"
    )
    return code(f"{text} OVERRIDES={quoted(list(options.values()))}" if options else text, 2000)


def _curves(plan: Plan, outcomes: Sequence[Outcome], files: SideFiles) -> bytes | None:
    """Curves over epochs: a panel for each quantity that the training histories contain, with one line per seed."""
    drawn = []
    for outcome in outcomes:
        lines = _lines(plan, outcome.quantity, files) if outcome.quantity.curve else []
        if lines:
            drawn.append((outcome, lines))
    if not drawn:
        return None
    figure, axes = new_figure(5.6 * len(drawn), 4.2, 1, len(drawn))
    for (outcome, lines), axis in zip(drawn, axes, strict=True):
        _panel(axis, plan, outcome, lines)
    return png(figure, 110)


_Line = tuple[str, pd.Series]


def _panel(axis: Axes, plan: Plan, outcome: Outcome, lines: Sequence[_Line]) -> None:
    quantity = outcome.quantity
    labelled = set()
    for budget, curve in lines:
        axis.plot(curve.index, curve.to_numpy(), color=_COLOURS[budget], linestyle="-" if budget == "full" else "--",
                  label=None if budget in labelled else f"ours, {budget}, validation")  # fmt: skip
        labelled.add(budget)
    if outcome.mean is not None and outcome.budget is not None:
        # The epoch of the final results: the last one of the curves if the budget does not say.
        run = _first(plan, outcome.budget, quantity)
        early = run.stops_early or run.steps is not None
        end = max(curve.index[-1] for _, curve in lines) if early else run.epochs
        axis.plot([end] * len(outcome.values or {}), list((outcome.values or {}).values()), "o", color="black",
                  label="ours, test images")  # fmt: skip
    if quantity.published is not None:
        axis.axhline(quantity.published, color="black", linewidth=1, linestyle=":", label="published")
    low, high = quantity.accept
    ends = [value for _, curve in lines for value in (curve.iloc[-1], curve.iloc[min(len(curve) - 1, len(curve) // 4)])]
    ends += [value for value in (quantity.published, low, high, *(outcome.values or {}).values()) if value is not None]
    room = 0.08 * (max(ends) - min(ends)) + 1e-9
    axis.set_ylim(min(ends) - room, max(ends) + room)
    bottom, top = axis.get_ylim()
    axis.axhspan(bottom if low is None else low, top if high is None else high, color="black", alpha=0.08, linewidth=0,
                 label="accepted, full recipe")  # fmt: skip
    axis.set_xscale("log")
    full = _first(plan, "full", quantity)
    if full.steps is None:
        axis.set_xlim(right=1.1 * full.epochs)
    axis.set_xlabel(
        "epoch (the axis ends at the end of the full recipe)" if full.steps is None else "epoch", fontsize=9
    )
    axis.set_ylabel(f"{quantity.name} ({quantity.unit})", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(fontsize=8)


def _lines(plan: Plan, quantity: Quantity, files: SideFiles) -> list[_Line]:
    """Pairs of budget and curve over epochs, one for each seed whose histories contain the quantity."""
    lines = []
    for budget in ("full", "reduced"):
        runs = plan.runs.get(budget)
        if runs is None:
            continue
        other = runs[quantity.minus] if quantity.minus else [None] * len(runs[quantity.arm])
        for first, second in zip(runs[quantity.arm], other, strict=False):
            curve = _column(files, first, quantity.curve)
            if curve is not None and second is not None:
                less = _column(files, second, quantity.curve)
                curve = None if less is None else (curve - less).dropna()
            if curve is not None and len(curve) > 1:
                lines.append((budget, quantity.times * curve))
    return lines


def _column(files: SideFiles, run: Run, name: str | None) -> pd.Series | None:
    if name is None:
        return None
    history = files.table(run.run_id, HISTORY_FILE, ("epoch", name))
    if history is None or name not in history:
        return None
    return history.dropna(subset=["epoch"]).set_index("epoch")[name].dropna()


def _caption(plan: Plan, records: Mapping[str, Record]) -> str:
    for runs in plan.runs.values():
        for run in (run for arm in runs.values() for run in arm):
            if run.run_id in records:
                record = records[run.run_id]
                training = record.config.get("training", {})
                samples = training.get("validation_samples")
                draws = "one sample" if samples == 1 else f"{escape(samples)} samples"
                bound = any(quantity.curve == "validation_log_likelihood" for quantity in plan.target.quantities)
                return (
                    f"Lines: after each validation, on {board.count(training.get('validation_images'))} validation "
                    f"images with {draws} per image, one line per seed. Dots: after training, on "
                    f"{record.evaluated_images:,} test images with K = {record.importance_samples:,}."
                    + (" Fewer importance samples give a looser bound." if bound else "")
                )
    return "One line per seed, with a value after each validation."


def _ablation(plan: Plan, records: Mapping[str, Record]) -> list[str]:
    runs = plan.runs.get("ablation")
    if not runs:
        return []
    quantity = plan.target.ablated
    values = {what: _ablated(quantity, planned, records) for what, planned in runs.items()}
    if all(value is None for value in values.values()):
        return []
    base, decimals = next(iter(values.values())), _decimals(quantity)
    lines = []
    for number, (what, value) in enumerate(values.items()):
        moved = "–" if number == 0 or base is None or value is None else f"{value - base:+.{decimals}f}"
        lines.append([escape(what), "not run" if value is None else f"{value:.{decimals}f}", moved])
    assert plan.target.ablation is not None
    options = " ".join(plan.target.ablation.options)
    base_words = f" The recipe is shortened by {code(options, 600)} in all of them." if options else ""
    return [
        f"Effect of single changes to the recipe on the {escape(quantity.name)} ({escape(quantity.unit)}), in runs of "
        f"one seed.{base_words}",
        table(["change", escape(quantity.name), "effect"], lines, "left"),
    ]


def _ablated(quantity: Quantity, planned: Sequence[Run], records: Mapping[str, Record]) -> float | None:
    """The quantity after one change to the recipe; None unless all its runs have the metric."""
    found = [measured(records[run.run_id], quantity.metric) for run in planned if run.run_id in records]
    numbers = [value for value in found if value is not None]
    if len(numbers) < len(planned):
        return None
    arms = 2 if quantity.minus else 1
    each = len(planned) // arms
    first, *other = (statistics.fmean(numbers[i * each : (i + 1) * each]) for i in range(arms))
    return quantity.times * (first - sum(other))
