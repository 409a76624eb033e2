"""Write the pages: one board per data set, one page per variant, and the index."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import UserError
from benchmarks.records.catalogue import CATALOGUE, Family, families, grouped, groups
from benchmarks.records.record import DENOISED_FILE, FACTOR_LINES_FILE, REPRODUCTION, read_missing_data, read_records
from benchmarks.records.searches import read_searches
from benchmarks.reporting import board, figures, reproduction, variant_pages
from benchmarks.reporting.board import Table
from benchmarks.reporting.boundary.output import Output
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.comparison import compared
from benchmarks.reporting.factors.pictures import factor_lines, scores
from benchmarks.reporting.factors.spread import EXPLANATION, facts, spread_table
from benchmarks.reporting.html import as_html
from benchmarks.reporting.markdown import GENERATED, anchor, escape, table
from benchmarks.reporting.marks import times
from benchmarks.reporting.reading import glossary, guide, published
from benchmarks.reporting.rows import Row, Section, data_title, sections, shows_originals
from benchmarks.reporting.style import own_settings
from benchmarks.reproduction.targets import Plan, Published

# Pages written by `make speed`, one for each kind of device, and their descriptions.
SPEED = {
    "speed.md": "training speed, compared with a hand-written loop and pythae",
    "speed-gpu.md": "training steps captured as CUDA graphs, on a GPU",
}
CONDITIONAL = (
    "These models are conditional. Their likelihoods are those of x given the condition, which are not comparable with "
    "log p(x)."
)


# Shown instead of reconstructions if a data set does not allow pictures of its images.
HIDDEN_RECONSTRUCTIONS = (
    "Not shown, because people could be recognised in reconstructions of test images. The table of reconstruction "
    "metrics is above."
)
# A block of a page. Tables have a different form in the HTML page.
Block = str | Table


@dataclass(frozen=True)
class Beside:
    """What a board shows in addition to its own results.

    ``before`` are the sections of the baseline, ``published`` the published numbers, and ``recipes`` is the page with
    their recipes, if there is one.
    """

    before: list[Section]
    published: Sequence[Published]
    recipes: str | None


@own_settings()
def write_reports(
    results: Path,
    reports: Path,
    baseline: Path | None = None,
    html: bool = False,
    describe: variant_pages.Describe = lambda name: None,
    plans: Sequence[Plan] = (),
    searched: variant_pages.Searched = lambda name: {},
    find_published: published.Find = lambda dataset: (),
) -> list[str]:
    """Write all pages and pictures to the folder ``reports``; returns messages about anything that was left out.

    The pages are README.md, one page per data set, one per variant, the guide and the glossary, and the page of paper
    targets if there are ``plans``. With a ``baseline``, another results folder, boards say what changed against it. If
    ``html`` is set, an HTML file is also written for each page. ``describe`` returns the docstring of a variant,
    ``searched`` the values that ``make tune`` tries for its options, and ``find_published`` what papers report on a
    data set. The same records give the same bytes. Raises :class:`UserError`, before anything is written, if a file of
    the user would be overwritten or ``reports`` is not writable.
    """
    output, files = Output(reports), SideFiles(results)
    records, messages = read_records(results)
    boards: dict[str, list[Section]] = defaultdict(list)
    for section in sections(records):
        boards[section.dataset].append(section)
    boards = dict(sorted(boards.items(), key=lambda entry: (*_evidence(entry[1]), entry[0])))
    every = [section for parts in boards.values() for section in parts]
    variant_files = {variant_pages.page_file(row.variant) for section in every for row in section.rows}
    # Drawing takes a while, so files of the user that would be overwritten are reported before it.
    output.check(["README.md", *map(board.page_file, boards), *sorted(variant_files)])
    before: list[Section] = []
    if baseline is not None:
        earlier, more = read_records(baseline)
        before, messages = sections(earlier), messages + more
    if plans:
        messages += reproduction.add_page(results / REPRODUCTION, output, plans)
    measured = _measured(reports)
    output.page("README.md", _index(boards, read_missing_data(results), list(measured), bool(plans)))
    if every:
        output.page(guide.FILE, guide.page(every, describe))
        output.page(glossary.FILE, glossary.page(every))
    wide = {}
    for dataset, parts in boards.items():
        name = board.page_file(dataset)
        reported, more = _found(find_published, dataset)
        messages += more
        beside = Beside(before, reported, reproduction.FILE if plans else None)
        blocks = _board_blocks(dataset, parts, beside, files, output)
        output.page(name, _page([block.markdown if isinstance(block, Table) else block for block in blocks]))
        wide[name] = _page([block.html if isinstance(block, Table) else block for block in blocks])
    searches, more = read_searches(results)
    messages += more
    variant_pages.add_pages(every, files, output, describe, searched, searches)
    pictures = output.pictures.keys() | _pictures_of(reports, measured)
    output.write(as_html(output.pages | wide | measured, pictures) if html else None)
    return messages + files.messages + output.messages


def _found(find: published.Find, dataset: str) -> tuple[Sequence[Published], list[str]]:
    """What papers report on a data set; a mistake in a target gives a message instead of an error."""
    try:
        return find(dataset), []
    except UserError as error:
        return (), [f"published numbers of {dataset} left out: {error}"]


def _evidence(parts: list[Section]) -> tuple[int, int]:
    """A sort key: boards with many seeds come first, because they can distinguish variants, then those of many runs."""
    return -_most_seeds(parts), -sum(len(section.records) for section in parts)


def _most_seeds(parts: list[Section]) -> int:
    return max((len(row.records) for section in parts for row in section.rows), default=0)


def _measured(reports: Path) -> dict[str, str]:
    """The existing pages of ``make speed``, which are not generated from records: file name -> text."""
    found = {}
    for name in SPEED:
        with contextlib.suppress(OSError, ValueError):
            found[name] = (reports / name).read_text(encoding="utf-8")
    return found


def _pictures_of(reports: Path, measured: dict[str, str]) -> set[str]:
    """The existing pictures that the pages of ``make speed`` show."""
    names = {name for text in measured.values() for name in re.findall(r"\]\((figures/[\w.-]+\.png)\)", text)}
    return {name for name in names if (reports / name).is_file()}


def _page(blocks: Sequence[str]) -> str:
    return "\n\n".join(block for block in blocks if block) + "\n"


def _board_blocks(dataset: str, parts: list[Section], beside: Beside, files: SideFiles, output: Output) -> list[Block]:
    """The blocks of a data set's page. The page with the pictures of all its rows is added to ``output``."""
    blocks: list[Block] = [GENERATED, f"# {escape(data_title(parts[0].any_record))}", "[All boards](README.md)"]
    if len(parts) > 1:
        blocks.append(_contents(parts))
    every: list[str] = []
    for number, section in enumerate(parts):
        # The number counts sections of the same profile only, so that pictures keep their names when the board gets a
        # section of another profile.
        alike = sum(other.profile == section.profile for other in parts[:number])
        name = f"{dataset}-{section.profile}" + (f"-{alike}" if alike else "")
        heading = f"## {escape(board.heading(parts, section))}"
        shown, of_all = _section_blocks(section, name, beside, files, output)
        blocks += [heading, board.protocol(section), *shown, *compared(section, beside.before)]
        every += [heading, *of_all] if of_all else []
    if every:
        title = f"# {escape(data_title(parts[0].any_record))}: pictures of every row"
        back = f"[The board](../{board.page_file(dataset)})"
        output.page(board.pictures_file(dataset), _page([GENERATED, title, back, *every]))
    return blocks


def _contents(parts: Sequence[Section]) -> str:
    """A list of links to the sections of a page."""
    lines = []
    for section in parts:
        heading, seeds = board.heading(parts, section), _seeds(section)
        having = {row.variant for row in section.rows} | {record.variant for record in section.failed}
        lacking = [name for name in _variants(parts, section.condition) if name not in having]
        missing = f"; not run: {', '.join(map(escape, lacking))}" if lacking else ""
        lines.append(f"- [{escape(heading)}](#{anchor(heading)}): rows: {len(section.rows)}, seeds: {seeds}{missing}")
    return "\n".join(lines)


def _seeds(section: Section) -> str:
    """The number of seeds per row in words, such as "3" or "2 to 3"; "–" if the section has no rows."""
    counts = sorted({len(row.records) for row in section.rows})
    return " to ".join(dict.fromkeys(str(count) for count in (*counts[:1], *counts[-1:]))) or "–"


def _variants(parts: Sequence[Section], condition: str) -> list[str]:
    """The variants with a row in any section of a board that has this condition, sorted."""
    return sorted({row.variant for section in parts if section.condition == condition for row in section.rows})


def _section_blocks(
    section: Section, name: str, beside: Beside, files: SideFiles, output: Output
) -> tuple[list[Block], list[str]]:
    """The blocks of a section, and its blocks on the page with the pictures of all rows."""
    blocks: list[Block] = []
    every: list[str] = []
    if section.rows:
        by = board.sort_metric(section)
        pictures, every = _pictures(section, name, files, output)
        blocks += [
            "### Leaderboard",
            CONDITIONAL if section.given else "",
            f"Sorted by {escape(section.label(by))} ({CATALOGUE[by].unit}); if rows are grouped by family, the "
            "families by their best row. Mean ± standard deviation over seeds; "
            f"↑ higher is better, ↓ lower is better. What each column means: [glossary]({glossary.FILE}). "
            f"{board.ranking_sentence(section)}",
            board.leaderboard(section),
            *published.blocks(section, beside.published, beside.recipes),
            *_further_tables(section, name, files, output),
            *pictures,
            "### Commands",
            "These commands run the rows again.",
            board.commands(section),
        ]
    if section.failed:
        blocks += ["### Failed or diverged runs", board.failures(section.failed)]
    return blocks, every


def _further_tables(section: Section, name: str, files: SideFiles, output: Output) -> list[Block]:
    """The tables of all families except the leaderboard's, and the table of cost.

    Families without any number of their own are left out. The families of a group are placed below the heading of the
    group.
    """
    blocks: list[Block] = []
    for group, members in grouped(families()[1:]):
        shown = [
            (family, metrics)
            for family in members
            if not family.metrics.keys().isdisjoint(metrics := board.measured(section, board.columns(section, family)))
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
        "Times are those of the fastest seed on the device of most of the row's seeds. Peak memory is that of the "
        "process on a CPU, and that of the allocated tensors on a GPU.",
        board.cost(section),
    ]
    return blocks


def _family_table(section: Section, family: Family, by: str, shown: Sequence[str]) -> list[Block]:
    options = defaultdict(lambda: "?", _evaluation_options(section))
    blocks: list[Block] = [
        family.sentence.format_map(options),
        board.metric_table(section, by, shown),
        board.absent(section, family),
        board.reference(section, family),
    ]
    if family.explains_distances:
        blocks += [board.judge(section), "Distances for comparison:", board.limits(section), board.below(section)]
    return blocks


def _family_picture(
    section: Section, family: Family, by: str, name: str, files: SideFiles, output: Output
) -> list[str]:
    """The picture below a family's table. ``by`` is the metric that the table is sorted by."""
    heading = family.title
    file = f"{name}-{anchor(heading)}"
    rows = board.sorted_rows(section, by)
    if family.name == "denoising" and shows_originals(section):
        best = board.best_of_each_family(section, by, files.with_picture(rows, DENOISED_FILE))
        noises = ", ".join(escape(board.setting(metric)) for metric in family.metrics)
        caption = (
            f"Test images and, for each kind of noise ({noises}), a line of corrupted images above a line of "
            f"reconstructions. The best row of each family by {escape(section.label(by))} is shown, with its lowest "
            "seed."
        )
        return _picture(file, heading, lambda: figures.sheet(best, files, DENOISED_FILE, 4.3), output, caption, best)
    if family.name == "outliers":
        caption = (
            "ROC curves of each score for telling outliers from test images. The best row of each family is in colour, "
            "with its AUROC; all others are grey. The dotted line is chance level. The lowest seed of each row is "
            "shown."
        )
        return _picture(file, heading, lambda: figures.roc_curves(section, rows, files), output, caption, rows)
    if family.name == "disentanglement":
        return _of_factors(section, by, file, files, output)
    if family.name == "compression":
        caption = (
            "Squared error of test images against the number k of components of the code that they are decoded from. "
            "The lowest seed of each row is shown; a curve ends where all components are used. Dashed: PCA of the "
            "images."
        )
        return _picture(file, heading, lambda: figures.compression(section, rows, files), output, caption, rows)
    return []


def _of_factors(section: Section, by: str, file: str, files: SideFiles, output: Output) -> list[str]:
    """The blocks below the table of disentanglement scores."""
    rows = board.sorted_rows(section, by)
    best = board.best_of_each_family(section, by, files.with_picture(rows, FACTOR_LINES_FILE))
    metrics = board.measured(section, list(next(f for f in families() if f.name == "disentanglement").metrics))
    spread = spread_table(section, metrics)
    lines = (
        "Lines decoded from the code of a test image with one dimension changed, from -3 to 3 standard deviations. "
        "They show the dimensions with the most mutual information with a factor, each labelled with this factor and "
        "the information as a share of its entropy (in 20 bins). The best row of each family of variants by "
        f"{escape(section.label(by))}, its lowest seed."
    )
    against = (
        "Scores against the squared error of reconstructions: every run a mark, joined to the mean of its row; thick "
        "lines join rows of one variant in the order of the option that was varied."
    )
    return [
        facts(section),
        *([EXPLANATION, spread] if spread else []),
        *_picture(f"{file}-lines", "Lines by factor", lambda: factor_lines(best, files), output, lines, best),
        *_picture(f"{file}-scores", "Scores", lambda: scores(section, rows, metrics), output, against, rows),
    ]


def _evaluation_options(section: Section) -> dict[str, str]:
    """The options of the evaluation: name -> value, or all values if records differ. Sentences of families use them."""
    found: dict[str, set[str]] = defaultdict(set)
    for record in section.records:
        for name, value in record.config.get("evaluation", {}).items():
            found[name].add(f"{value:,}" if type(value) is int else str(value))
    return {name: escape(" or ".join(sorted(values))) for name, values in found.items()}


def _pictures(section: Section, name: str, files: SideFiles, output: Output) -> tuple[list[Block], list[str]]:
    """The blocks of a section's pictures, and those of the page with the pictures of all rows.

    Pictures of samples and reconstructions show only the best row of each family on the board.
    """
    rows = board.sorted_rows(section, board.sort_metric(section))
    dots = [metric for group in groups() for metric in board.headlines(section, group)]
    drawn = figures.trade_offs(section, rows, board.plots(section))
    lowest = "the lowest seed of each row"

    def sheet_of(file: str) -> Callable[[Sequence[Row]], bytes | None]:
        return lambda of: figures.sheet(of, files, file, 2.9)

    # Figures with one picture per row: heading, function that draws the given rows, caption, and the rows for which
    # the board also shows the figure, if it does. The separate page shows it for all rows.
    a_row: list[tuple[str, Callable[[Sequence[Row]], bytes | None], str, _Best | None]] = [
        ("Samples", sheet_of("samples.png"), f"{_sample_caption(section)}, {lowest}; not selected.",
         _best(section, "samples.png", ("fid_features", "fid_inception"), files)),
        ("Reconstructions", sheet_of("reconstructions.png"),
         "The first test images, and below each its reconstruction from the posterior mean.",
         _best(section, "reconstructions.png", ("mse",), files)),
        ("Latent space", lambda of: figures.codes(of, files),
         f"{_codes(section, files)}; {lowest}.", None),
        ("Latent plane", sheet_of("plane.png"),
         f"Images decoded from a grid on the same plane, up to three standard deviations to each side; {lowest}.",
         None),
        ("Interpolations", sheet_of("interpolations.png"),
         f"Each line interpolates linearly between two latent vectors: {_ends(section)}; {lowest}.", None),
    ]  # fmt: skip
    a_board: list[tuple[str, Callable[[], bytes | None], str]] = [
        ("Training", lambda: figures.training_curves(section, rows, files),
         f"{_validations(section)}, one line per seed."),
        ("Seeds", lambda: figures.seeds(section, rows, dots),
         "One marker per seed, and a bar at the mean. The best row of each panel is at the top."),
        ("Trade-offs", lambda: figures.fronts(section, drawn),
         _trade_offs(section, rows, drawn)),
    ]  # fmt: skip
    blocks: list[Block] = []
    every: list[str] = []
    for heading, draw, caption, best in a_row:
        if heading == "Reconstructions" and not shows_originals(section):
            blocks += ["### Reconstructions", HIDDEN_RECONSTRUCTIONS]
            continue
        shown = _picture(f"{name}-{anchor(heading)}", heading, lambda draw=draw: draw(rows), output, caption, rows)  # type: ignore[misc]
        if not shown:
            continue
        every += [f"### {heading}", shown[0].replace("](figures/", "](../figures/"), *shown[1:]]
        if best and best.is_choice:
            page = f"[Pictures of all rows]({board.pictures_file(section.dataset)})."
            shown = _picture(
                f"{name}-{anchor(heading)}-best", heading, lambda draw=draw, best=best: draw(best.rows), output,  # type: ignore[misc]
                f"{best.sentence} {caption}", best.rows,
            )  # fmt: skip
            blocks += [f"### {heading}", *shown, page] if shown else []
        elif best:
            blocks += [f"### {heading}", *shown]
    for heading, draw_board, caption in a_board:
        if shown := _picture(f"{name}-{anchor(heading)}", heading, draw_board, output, caption, rows):
            blocks += [f"### {heading}", *shown]
    if every:
        blocks.append(
            f"Latent spaces, interpolations and samples of every row are on "
            f"[a separate page]({board.pictures_file(section.dataset)})."
        )
    return blocks, every


@dataclass(frozen=True)
class _Best:
    """The rows that a board shows a picture of: the best one of each family, among those that have the picture.

    ``sentence`` says how they were chosen. ``is_choice``: whether other rows have the picture, too.
    """

    rows: Sequence[Row]
    sentence: str
    is_choice: bool


def _best(section: Section, file: str, metrics: Sequence[str], files: SideFiles) -> _Best:
    """The best rows by the first of ``metrics`` that the section has, in families without it by the leaderboard's."""
    having = files.with_picture(section.rows, file)
    by, other = next(iter(board.measured(section, metrics)), metrics[0]), board.sort_metric(section)
    best = board.best_of_each_family(section, by, having)
    named = dict.fromkeys(by if row.mean(by) is not None else other for row in best)
    words = " or, in families without it, by ".join(escape(section.label(metric)) for metric in named)
    return _Best(best, f"The best row of each family by {words}.", len(best) < len(having))


def _picture(
    name: str, heading: str, draw: Callable[[], bytes | None], output: Output, caption: str, rows: Sequence[Row]
) -> list[str]:
    """The blocks of a picture and its caption; empty if there is nothing to draw."""
    png = output.drawn(f"picture {name}", draw)
    if png is None:
        return []
    if len(rows) > figures.MOST_ROWS:
        caption += f" Only the first {figures.MOST_ROWS} of {len(rows):,} rows are shown."
    return [f"![{heading}](figures/{output.picture(name, png)})", f"*{caption}*"]


def _trade_offs(section: Section, rows: Sequence[Row], drawn: Sequence[figures.TradeOff]) -> str:
    """The caption of the trade-offs: the questions (and the training time) that are plotted against each other."""
    titles = {name: family.title.lower() for family in families() for name in family.metrics}
    plotted = ", and ".join(f"{titles[one.y]} against {titles.get(one.x, 'training time')}" for one in drawn)
    timed = any(one.x not in titles for one in drawn)
    device = escape(times.devices(section)[0])
    busy = timed and any(row.is_busy and times.on_usual_device(section, row) for row in rows)
    return (
        f"{plotted[:1].upper()}{plotted[1:]}; means over seeds"
        + (f", times of the fastest seed, only of rows on {device}" if timed else "")
        + ". Rings mark the Pareto front: no other row is at least as good in both and better in one."
        + (f" {times.UNCERTAIN}" if busy else "")
    )


def _sample_caption(section: Section) -> str:
    if section.condition == "label":
        return "Mean images of draws from the prior, one line per class"
    if section.given and shows_originals(section):
        return "One line per test image: the given part, then completions from draws of the prior (mean images)"
    if section.given:
        return "One line per test image: pixels predicted from draws of the prior (mean images); given pixels are white"
    return "Mean images of draws from the prior"


def _codes(section: Section, files: SideFiles) -> str:
    """What the picture of codes shows: the number of images and whether they have classes, the same for all rows."""
    tables = (figures.table_of_codes(row, files) for row in section.rows)
    points = next((found for found in tables if found is not None), None)
    count = "" if points is None else f"{len(points):,} "
    colours = " and coloured by class" if points is not None and points["class"].notna().any() else ""
    return (
        f"Posterior means of the first {count}test images, projected onto their first two principal components{colours}"
    )


def _validations(section: Section) -> str:
    """What is measured in validations, and when. Options that a record lacks have their defaults."""
    training = section.any_record.config.get("training", {})
    samples, epochs, steps = (training.get(name) for name in
                              ("validation_samples", "validate_every", "validate_every_steps"))  # fmt: skip
    draws = "one posterior sample" if samples in (None, 1) else f"{board.count(samples)} posterior samples"
    if steps is not None:
        when = f"every {board.count(steps)} steps and at the end of training"
    elif epochs in (None, 1):
        when = "after every epoch"
    else:
        when = f"every {board.count(epochs)} epochs and at the end of training"
    return f"Validation ELBO ({draws} per image) {when}"


def _ends(section: Section) -> str:
    if shows_originals(section):
        return "those of two test images, whose reconstructions are at the ends"
    return "two draws from the prior"


def _index(
    boards: dict[str, list[Section]], missing_data: dict[str, str], measured: list[str], has_reproduction: bool
) -> str:
    blocks = [
        GENERATED,
        "# Reports",
        "All results come from the same evaluation code, applied to the weights at the end of a fixed training budget "
        "or, if the protocol of a board says so, to those of the best validation. Each is stored in a record under "
        "`results/`, with the configuration, the commit and the hardware. A table only contains results with the same "
        "data set, protocol and profile.",
    ]
    if boards:
        lines = [_index_line(parts, section) for parts in boards.values() for section in parts]
        header = ["board", "runs", "failed", "seeds", "hours", "hardware", "finished"]
        blocks += [
            "## Boards",
            table(header, lines, "left"),
            "Seeds: the number of seeds per variant. Hours: the total time of all runs, for training and evaluation.",
            f"**Which variant for what: [guide]({guide.FILE}).** Definitions of the metrics: "
            f"[glossary]({glossary.FILE}).",
            *_winners(boards),
            "## Variants",
            "Each page describes a variant and lists its results on all boards.",
            _variants_by_family(boards),
        ]
    else:
        blocks.append("There are no records yet. `make bench` creates them.")
    others = {reproduction.FILE: "our results compared with published ones"} if has_reproduction else {}
    if others := others | {name: SPEED[name] for name in measured}:
        listed = [f"- [{name.removesuffix('.md')}]({name}): {text}" for name, text in others.items()]
        blocks += ["## Other reports", "\n".join(listed)]
    failed = [record for parts in boards.values() for section in parts for record in section.failed]
    if missing_data:
        missing = [f"- {escape(name)}: **data missing**: {escape(why)}" for name, why in sorted(missing_data.items())]
        blocks += ["## Not run", "\n".join(missing)]
    if failed:
        blocks += ["## Failed or diverged runs", board.failures(failed)]
    return "\n\n".join(blocks) + "\n"


def _winners(boards: dict[str, list[Section]]) -> list[str]:
    """Tables of the best row for each question, one for each board; boards of conditional models come separately."""
    plain: list[str] = []
    conditional: list[str] = []
    for dataset, parts in boards.items():
        for led in guide.leading(parts):
            for section in [*_larger(led, parts), led]:
                # A single row has nothing to be compared with.
                if len(section.rows) < 2:
                    continue
                heading = board.heading(parts, section)
                link = f"[{escape(section.title)}]({board.page_file(dataset)}#{anchor(heading)})"
                (conditional if section.given else plain).extend([f"### {link}", *_best_of(section, section is led)])
    sentence = (
        "The best mean for each criterion among variants with at least three seeds, ± standard deviation over seeds. "
        "*Tied*: variants that share the rank of the best one (paired t-test over seeds, 5% level). *Training time*: "
        f"of the fastest seed, on the device of most of its seeds. {times.MARKS} *Better mean, too few seeds*: "
        f"variants with a better mean but fewer than three seeds. {board.OVER_IMAGES} *Ranks*: among the variants with "
        "three seeds; ~ marks a rank by the mean alone, among all variants with a result."
    )
    return [
        *(["## Winners", sentence, *plain] if plain else []),
        *(["## Winners among conditional models", CONDITIONAL, *conditional] if conditional else []),
    ]


def _best_of(section: Section, leads: bool) -> list[str]:
    """The winners of a section and the command that runs the first one again. Without winners, or if the section does
    not lead its board because few of its variants have enough seeds, the best numbers."""
    lines = guide.winners(section) if leads else []
    rows = board.sorted_rows(section, board.sort_metric(section))
    tested = [row for row in rows if guide.has_enough_seeds(row)]
    if lines:
        header = [
            "criterion", "best variant", "result", "tied", "training time", "better mean, too few seeds",
            "ranks by other criteria",
        ]  # fmt: skip
        first, shown = tested[0], [table(header, lines, "left")]
    elif numbers := guide.best_means(section):
        header = ["criterion", "variant", "result", "training time"]
        first, shown = rows[0], [
            f"No winners. Variants with three or more seeds: {len(tested)} of {len(rows)}. The best numbers, without a "
            "test:",
            table(header, numbers, "left"),
        ]  # fmt: skip
    else:
        return ["No winners. No criterion has results of two variants."]
    return [
        *shown,
        f"To run {escape(first.label)} again: {board.command(section, first)}. The board lists the commands of all "
        "rows under *Commands*.",
    ]


def _larger(section: Section, parts: Sequence[Section]) -> list[Section]:
    """The sections of a board with the same condition and a larger budget; boards show these first."""
    before = parts[: list(parts).index(section)]
    return [one for one in before if one.condition == section.condition]


def _variants_by_family(boards: dict[str, list[Section]]) -> str:
    """A list with one line per family of variants, with links to the variants' pages."""
    links: dict[str, dict[str, None]] = defaultdict(dict)
    rows = (row for parts in boards.values() for section in parts for row in section.rows)
    for row in sorted(rows, key=lambda row: (row.family == "other", row.family, row.variant)):
        links[row.family][f"[{escape(row.variant)}]({variant_pages.page_file(row.variant)})"] = None
    return "\n".join(f"- {escape(family)}: {', '.join(names)}" for family, names in links.items())


def _index_line(parts: list[Section], section: Section) -> list[str]:
    """A section's line in the table of boards."""
    everything = [*section.records, *section.failed]
    heading = board.heading(parts, section)
    hours = sum(record.timing.get("total_seconds", 0.0) for record in everything) / 3600
    return [
        f"[{escape(section.title)}]({board.page_file(section.dataset)}#{anchor(heading)})",
        str(len(everything)),
        str(len(section.failed)),
        _seeds(section),
        f"{hours:.1f}",
        escape("; ".join(sorted({str(record.environment.get("device", "unknown")) for record in everything}))),
        escape(max(record.finished for record in everything)[:10]),
    ]
