"""Write the pages: one board a data set, one page a variant, and the index."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.records.catalogue import CATALOGUE, Family, families, grouped, groups
from benchmarks.records.record import DENOISED_FILE, REPRODUCTION, read_missing_data, read_records
from benchmarks.reporting import board, figures, reproduction, variant_pages
from benchmarks.reporting.boundary.output import Output
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.comparison import compared
from benchmarks.reporting.html import as_html
from benchmarks.reporting.markdown import GENERATED, anchor, escape, table
from benchmarks.reporting.rows import Section, data_title, sections, shows_originals
from benchmarks.reporting.style import own_settings
from benchmarks.reproduction.targets import Plan

# Measured by `make speed`.
SPEED = "speed.md"
CONDITIONAL = (
    "These models are given a part of what others model: their likelihoods are of x given the condition, and not "
    "comparable with log p(x)."
)


@own_settings()
def write_reports(
    results: Path,
    reports: Path,
    baseline: Path | None = None,
    html: bool = False,
    describe: variant_pages.Describe = lambda name: None,
    plans: Sequence[Plan] = (),
) -> list[str]:
    """Write ``reports``/README.md, one page a data set and one a variant, with their pictures, and one of paper targets
    where there are ``plans``; returns messages about records, files and pictures that were left out.

    With a ``baseline``, another results folder, boards say what changed against it. ``html`` writes index.html too, all
    pages in one file. ``describe`` gives a variant's docstring by its name. A pure function of the records: the same
    ones give the same bytes. Raises :class:`UserError`, before anything is written, where a file of the user's is in
    the way or ``reports`` cannot be written.
    """
    output, files = Output(reports), SideFiles(results)
    records, messages = read_records(results)
    boards: dict[str, list[Section]] = defaultdict(list)
    for section in sections(records):
        boards[section.dataset].append(section)
    every = [section for _, parts in sorted(boards.items()) for section in parts]
    variant_files = {variant_pages.page_file(row.variant) for section in every for row in section.rows}
    # Drawing takes a while: a file of the user's is found before.
    output.check(["README.md", *map(board.page_file, boards), *sorted(variant_files)])
    before: list[Section] = []
    if baseline is not None:
        earlier, more = read_records(baseline)
        before, messages = sections(earlier), messages + more
    if plans:
        messages += reproduction.add_page(results / REPRODUCTION, output, plans)
    measured = _measured(reports)
    output.page("README.md", _index(boards, read_missing_data(results), SPEED in measured, bool(plans)))
    for dataset, parts in sorted(boards.items()):
        output.page(board.page_file(dataset), _board_page(dataset, parts, before, files, output))
    variant_pages.add_pages(every, files, output, describe)
    output.write(as_html(output.pages | measured, output.pictures | _pictures_of(reports, measured)) if html else None)
    return messages + files.messages + output.messages


def _measured(reports: Path) -> dict[str, str]:
    """The page of another command, which is not made from records, if there is one."""
    page = reports / SPEED
    try:
        return {SPEED: page.read_text(encoding="utf-8")} if page.is_file() else {}
    except (OSError, ValueError):
        return {}


def _pictures_of(reports: Path, measured: dict[str, str]) -> dict[str, bytes]:
    """The pictures that a measured page shows and that are there."""
    names = {name for text in measured.values() for name in re.findall(r"\]\((figures/[\w.-]+\.png)\)", text)}
    return {name: (reports / name).read_bytes() for name in sorted(names) if (reports / name).is_file()}


def _board_page(dataset: str, parts: list[Section], before: list[Section], files: SideFiles, output: Output) -> str:
    blocks = [GENERATED, f"# {escape(data_title(parts[0].any_record))}", "[All boards](README.md)"]
    for number, section in enumerate(parts):
        # Only a data set measured under several profiles or budgets needs headings to tell them apart.
        name = f"{dataset}-{section.profile}" + (f"-{number}" if number else "")
        blocks.append(f"## {escape(section_heading(parts, number))}")
        blocks += [board.protocol(section), *_section_blocks(section, name, files, output)]
        blocks += compared(section, before)
    return "\n\n".join(block for block in blocks if block) + "\n"


def section_heading(parts: list[Section], number: int) -> str:
    """ "Profile quick", with a number where a board has several sections of that profile; for conditional models what
    they are given before it."""
    here = parts[number]
    same = [i for i, other in enumerate(parts) if (other.profile, other.condition) == (here.profile, here.condition)]
    title = f"Given {here.given}: profile {here.profile}" if here.given else f"Profile {here.profile}"
    return title + (f", {same.index(number) + 1}" if len(same) > 1 else "")


def _section_blocks(section: Section, name: str, files: SideFiles, output: Output) -> list[str]:
    blocks: list[str] = []
    if section.rows:
        by = board.sort_metric(section)
        blocks += [
            "### Leaderboard",
            CONDITIONAL if section.given else "",
            f"Sorted by {escape(section.label(by))} ({CATALOGUE[by].unit}). Mean ± standard deviation over seeds; "
            f"↑ higher is better, ↓ lower is better. {board.ranking_sentence(section)}",
            board.leaderboard(section),
            _meanings(section, board.columns(section, families()[0])),
            board.by_family(section),
        ]
        blocks += _further_tables(section, name, files, output)
        blocks += _pictures(section, name, files, output)
        blocks += ["### Run a row again", board.commands(section)]
    if section.failed:
        blocks += ["### Cells that ended badly", board.failures(section.failed)]
    return blocks


def _further_tables(section: Section, name: str, files: SideFiles, output: Output) -> list[str]:
    """The table of every family but the leaderboard's, where at least one row has a number, those of a group under its
    heading; cost."""
    blocks = []
    for group, members in grouped(families()[1:]):
        shown = [
            (family, metrics)
            for family in members
            if (metrics := board.measured(section, board.columns(section, family)))
        ]
        if group and shown:
            blocks += [f"### {escape(group.title)}", group.sentence]
        for family, metrics in shown:
            by = next((metric for metric in family.headline if metric in metrics), metrics[0])
            blocks += [
                f"{'####' if group else '###'} {escape(family.title)}",
                *_family_table(section, family, by, metrics),
                *_family_picture(section, family, by, name, files, output),
            ]
    blocks += [
        "### Cost",
        "Of one cell, means over seeds, on the hardware above; fastest to train first. Memory is the process's highest "
        "on a CPU, the tensors' on a GPU.",
        board.cost(section),
    ]
    return blocks


def _family_table(section: Section, family: Family, by: str, shown: Sequence[str]) -> list[str]:
    options = defaultdict(lambda: "?", _evaluation_options(section))
    blocks = [
        family.sentence.format_map(options),
        board.metric_table(section, by, shown),
        board.reference(section, family),
        _meanings(section, shown),
    ]
    if family.explains_distances:
        blocks += [board.judge(section), "What the distances mean:", board.limits(section)]
    return blocks


def _family_picture(
    section: Section, family: Family, by: str, name: str, files: SideFiles, output: Output
) -> list[str]:
    """What is drawn below a family's table, which is sorted by the metric ``by``."""
    if family.name == "denoising":
        rows, height = board.best_of_families(section, by), 4.3 if shows_originals(section) else 2.6
        png = output.drawn(f"Denoising of {name}", figures.sheet, rows, files, DENOISED_FILE, height)
        caption = _denoised_caption(section, family, by)
    elif family.name == "compression":
        rows = board.sorted_rows(section, by)
        png = output.drawn(f"Compression of {name}", figures.compression, section, rows, files)
        caption = (
            "Squared error of test images against the numbers that each is decoded from, the lowest seed of each row; "
            "a curve ends with the whole code. Dashed, a PCA of the images."
        )
    else:
        return []
    return [] if png is None else _picture(family.title, png, caption, name, output)


def _denoised_caption(section: Section, family: Family, by: str) -> str:
    noises = ", ".join(escape(board.setting(metric)) for metric in family.metrics)
    if shows_originals(section):
        lines = f"Test images and, for each noise ({noises}), a line of them corrupted over a line of reconstructions."
    else:
        lines = (
            f"Reconstructions of test images and, a line a noise ({noises}), of the same images corrupted. The images "
            "themselves may not be passed on and are not shown."
        )
    return f"{lines} The best row of each family of variants by {escape(section.label(by))}, its lowest seed."


def _picture(title: str, png: bytes, caption: str, name: str, output: Output) -> list[str]:
    return [f"![{title}](figures/{output.picture(f'{name}-{anchor(title)}', png)})", f"*{caption}*"]


def _evaluation_options(section: Section) -> dict[str, str]:
    """The options of the evaluation as a board's sentences name them."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in section.records:
        for name, value in record.config.get("evaluation", {}).items():
            found[name].add(str(value))
    return {name: escape(", ".join(sorted(values))) for name, values in found.items()}


def _pictures(section: Section, name: str, files: SideFiles, output: Output) -> list[str]:
    by = board.sort_metric(section)
    rows = board.sorted_rows(section, by)
    dots = [metric for group in groups() for metric in board.headlines(section, group)]
    pairs = board.plots(section)
    lowest = "the lowest seed of each row"
    drawings: list[tuple[str, Callable[[], bytes | None], str]] = [
        ("Samples", lambda: figures.sheet(rows, files, "samples.png", 2.9),
         f"{_sample_caption(section)}, {lowest}; not selected."),
        ("Reconstructions", lambda: figures.sheet(rows, files, "reconstructions.png", 2.9),
         _reconstruction_caption(section)),
        ("Training", lambda: figures.training_curves(section, rows, files),
         "Validation ELBO (one posterior sample an image) after every epoch, one line a seed."),
        ("Seeds", lambda: figures.seeds(section, rows, dots),
         "Every seed a mark, the mean a bar; the best row of each panel at the top."),
        ("Trade-offs", lambda: figures.fronts(section, rows, pairs),
         f"{_plotted(pairs)}; means over seeds. Rings mark the Pareto front: no other row is at least as good in both "
         "and better in one."),
        ("Latent space", lambda: figures.codes(rows, files),
         f"Posterior means of the first 1,000 test images on the plane in which they vary most, a colour a class; "
         f"{lowest}."),
        ("Latent plane", lambda: figures.sheet(rows, files, "plane.png", 2.9),
         f"Images decoded on a grid over that plane, three standard deviations to each side; {lowest}."),
        ("Interpolations", lambda: figures.sheet(rows, files, "interpolations.png", 2.9),
         "Each line runs straight between the codes of two test images; the ends are reconstructions, not the images "
         f"themselves; {lowest}."),
    ]  # fmt: skip
    blocks = []
    for heading, draw, caption in drawings:
        png = output.drawn(f"{heading} of {name}", draw)
        if png is not None:
            if len(rows) > figures.MOST_ROWS:
                caption += f" The first {figures.MOST_ROWS} of {len(rows):,} rows of the leaderboard."
            blocks += [f"### {heading}", *_picture(heading, png, caption, name, output)]
        if heading == "Seeds":
            blocks += _intervals(section)
    return blocks


def _intervals(section: Section) -> list[str]:
    """A table of intervals for the questions in no group, and one for each group."""
    found = [board.intervals(section, board.measured(section, board.headlines(section, group))) for group in groups()]
    tables = [table_of_intervals for table_of_intervals in found if table_of_intervals]
    return ["Student's 95% intervals of the means, by the spread over seeds:", *tables] if tables else []


def _plotted(pairs: Sequence[tuple[str, str]]) -> str:
    """Which questions are drawn against which."""
    titles = {name: family.title.lower() for family in families() for name in family.metrics}
    text = ", and ".join(f"{titles[y]} against {titles.get(x, 'training time')}" for x, y in pairs)
    return text[:1].upper() + text[1:]


def _sample_caption(section: Section) -> str:
    if section.condition == "label":
        return "Mean images of draws from the prior, a line a class"
    if section.given and shows_originals(section):
        return "A line a test image: what is given of it, and its completions by draws from the prior (mean images)"
    if section.given:
        return "A line a test image: the pixels predicted by draws from the prior (mean images), the given ones white"
    return "Mean images of draws from the prior"


def _reconstruction_caption(section: Section) -> str:
    if shows_originals(section):
        return "Pairs of lines: the first test images, and under each its reconstruction from the posterior mean."
    return (
        "Reconstructions of the first test images from the posterior mean. The images themselves may not be passed on "
        "and are not shown."
    )


def _meanings(section: Section, metrics: Sequence[str]) -> str:
    return "\n".join(
        f"- **{escape(section.label(m))}** ({CATALOGUE[m].unit}): {escape(CATALOGUE[m].meaning)}." for m in metrics
    )


def _index(
    boards: dict[str, list[Section]], missing_data: dict[str, str], has_speed: bool, has_reproduction: bool
) -> str:
    blocks = [
        GENERATED,
        "# Reports",
        "Every number here is computed by one evaluation code from the weights at the end of a fixed budget, and "
        "stands in a record under `results/` with the configuration, the commit and the hardware that made it. Numbers "
        "of different data sets, protocols or profiles never share a table.",
    ]
    if boards:
        every = [
            (section, _index_link(dataset, parts, number))
            for dataset, parts in sorted(boards.items())
            for number, section in enumerate(parts)
        ]
        header = ["board", "cells", "failed", "seeds", "finished", "hardware"]
        blocks += ["## Boards", table(header, [[link, *_index_line(section)] for section, link in every], "left")]
        for heading, conditional, sentence in (
            ("## Winners", False, ""),
            ("## Winners among conditional models", True, f" {CONDITIONAL}"),
        ):
            linked = [(section, link) for section, link in every if bool(section.given) == conditional]
            if linked:
                blocks += [
                    heading,
                    f"The best mean for each question, and how many others seeds cannot tell from it.{sentence}",
                    *_tables_of_winners(linked),
                ]
        blocks += ["## Variants", "What each is, and how it did on every board.", _variants_by_family(boards)]
    else:
        blocks.append("There are no records yet: `make bench` makes some.")
    present = []
    if has_reproduction:
        present.append(f"- [{reproduction.FILE}]({reproduction.FILE}): our numbers beside the published ones")
    if has_speed:
        present.append(f"- [{SPEED}]({SPEED}): the training loop beside a hand-written one and a peer's")
    if present:
        blocks += ["## Other reports", "\n".join(present)]
    failed = [record for parts in boards.values() for section in parts for record in section.failed]
    if missing_data:
        missing = [f"- {escape(name)}: **data missing**: {escape(why)}" for name, why in sorted(missing_data.items())]
        blocks += ["## Asked for and not run", "\n".join(missing)]
    if failed:
        blocks += ["## Cells that ended badly", board.failures(failed)]
    return "\n\n".join(blocks) + "\n"


def _variants_by_family(boards: dict[str, list[Section]]) -> str:
    """A line a family of variants, with links to their pages."""
    links: dict[str, dict[str, None]] = defaultdict(dict)
    rows = (row for parts in boards.values() for section in parts for row in section.rows)
    for row in sorted(rows, key=lambda row: (row.family == "other", row.family, row.variant)):
        links[row.family][f"[{escape(row.variant)}]({variant_pages.page_file(row.variant)})"] = None
    return "\n".join(f"- {escape(family)}: {', '.join(names)}" for family, names in links.items())


def _index_link(dataset: str, parts: list[Section], number: int) -> str:
    anchor_of_section = anchor(section_heading(parts, number))
    return f"[{escape(parts[number].title)}]({board.page_file(dataset)}#{anchor_of_section})"


def _index_line(section: Section) -> list[str]:
    """A board's line in the table of boards, after its link."""
    everything = [*section.records, *section.failed]
    seeds = sorted({len(row.records) for row in section.rows})
    return [
        str(len(everything)),
        str(len(section.failed)),
        " to ".join(dict.fromkeys(str(count) for count in (seeds[:1] + seeds[-1:]))) or "–",
        escape(max(record.finished for record in everything)[:10]),
        escape("; ".join(sorted({str(record.environment.get("device", "unknown")) for record in everything}))),
    ]


def _tables_of_winners(linked: Sequence[tuple[Section, str]]) -> list[str]:
    """A line a section: for the questions in no group and, where there is a winner, for those of each group."""
    tables = []
    for group in groups():
        questions = board.questions(group)
        lines = [[link, *(_winner(section, metrics) for metrics in questions.values())] for section, link in linked]
        if group is None:
            speeds = [_fastest(section) for section, _ in linked]
            lines = [[*line, speed] for line, speed in zip(lines, speeds, strict=True)]
            tables.append(table(["board", *questions, "speed"], lines, "left"))
        elif lines := [line for line in lines if any(winner != "–" for winner in line[1:])]:
            tables += [f"### {escape(group.title)}", table(["board", *questions], lines, "left")]
    return tables


def _winner(section: Section, metrics: tuple[str, ...]) -> str:
    for name in metrics:
        if any(row.mean(name) is not None for row in section.rows):
            best = board.sorted_rows(section, name)[0]
            tied = len(board.best_labels(section, name)) - 1
            text = f"{board.row_link(best)}: {board.spread(best.values(name) or [], CATALOGUE[name].decimals)}"
            return text + (f" (and {tied} more)" if tied > 0 else "")
    return "–"


def _fastest(section: Section) -> str:
    rates = {row: statistics.fmean(values) for row in section.rows if (values := row.timing("train_images_per_second"))}
    if not rates:
        return "–"
    best = max(rates, key=lambda row: rates[row])
    return f"{board.row_link(best)}: {rates[best]:,.0f} images/s"
