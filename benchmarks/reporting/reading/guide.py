"""The guide: the best rows of each board for every question, and how they differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.significance import FEWEST_SEEDS
from benchmarks.reporting import board
from benchmarks.reporting.markdown import GENERATED, anchor, escape, table
from benchmarks.reporting.marks import times
from benchmarks.reporting.rows import Row, Section, once

FILE = "guide.md"
# Number of rows that are listed for each question and board.
NAMED = 3
# Units that describe a number without a unit; in a sentence they are left out.
UNITLESS = {"distance", "fraction", "ratio", "0 to 1", "-1 to 1"}
# The AUROC of a random score.
CHANCE = 0.5
# About a row whose loss also compares features of a classifier.
FEATURE_LOSS = "its loss compares features, too"
SPEED, RATE, FID = "training speed", "train_images_per_second", "fid_features"


def page(sections: Sequence[Section], describe: Callable[[str], str | None]) -> str:
    """The page: for each question, the best rows of each data set among unconditional models."""
    shown = [section for section in leading(sections) if not section.given]
    headings = {section: board.heading(sections, section) for section in shown}
    blocks = [
        GENERATED,
        "# Which variant for what",
        "[All boards](README.md)",
        f"For each data set and criterion, the {NAMED} variants with the best mean (± standard deviation over seeds), "
        "and their ranks by the other criteria. Conditional models are left out. The results are those of the largest "
        "budget in which most variants have three seeds; if there is none, of the largest budget. Ranks compare "
        "variants with three seeds or more; ~ marks a rank by the mean alone, among all variants, which may be due to "
        "chance. Training speed is that of the fastest seed on the most frequent device of a board, and has ranks "
        f"only if none of these times was measured on a busy machine. {times.MARKS} {board.OVER_IMAGES}",
    ]
    for question in [*board.all_questions(), SPEED]:
        parts = [part for section in shown if (part := _answers(section, headings[section], question, describe))]
        if parts:
            blocks += [
                f"## {escape(question[:1].upper() + question[1:])}",
                *(block for part in parts for block in part),
            ]
    return "\n\n".join(blocks) + "\n"


def leading(sections: Sequence[Section]) -> list[Section]:
    """The section to read first of each data set and condition.

    This is the one with the largest budget among those that have winners and in which most variants have enough seeds
    for a test. Otherwise it is the largest with winners, and if there are none, the largest.
    """
    found: dict[tuple[str, str], Section] = {}
    tells: dict[tuple[str, str], int] = {}
    for section in sections:
        key = section.dataset, section.condition
        # Winners need tests over seeds, so they are computed only for sections that may still be chosen.
        if section.rows and tells.get(key, -1) < 2:
            most = 2 * sum(map(has_enough_seeds, section.rows)) > len(section.rows)
            told = 1 + most if winners(section) else 0
            if told > tells.get(key, -1):
                found[key], tells[key] = section, told
    return list(found.values())


def has_enough_seeds(row: Row) -> bool:
    """Whether a row has enough seeds for a test."""
    return len(row.records) >= FEWEST_SEEDS


def _answers(section: Section, heading: str, question: str, describe: Callable[[str], str | None]) -> list[str]:
    rows = answering(section, question)[:NAMED]
    if not rows:
        return []
    link = f"[{escape(section.title)}]({board.page_file(section.dataset)}#{anchor(heading)})"
    lines = [[board.row_link(row), _number(section, row, question), _difference(section, row, question, describe)]
             for row in rows]  # fmt: skip
    return [
        f"### {link}",
        table(["variant", _unit(section, question), "description and ranks by other criteria"], lines, "left"),
        *_all_unreached(section, question, rows),
        *([times.UNCERTAIN] if question == SPEED and not _comparable_times(section) else []),
    ]


@once
def _comparable_times(section: Section) -> bool:
    """Whether no time on the section's most frequent device was measured on a busy machine."""
    return not any(row.is_busy for row in answering(section, SPEED))


def unreached(section: Section, row: Row, metric: str) -> str | None:
    """The reference value that a row's result does not reach, in words: the distance of reconstructions by PCA, or the
    AUROC of a guess. None if there is no such value or the row reaches it."""
    mean = row.mean(metric) or 0.0
    if metric == FID and (line := board.pca_distance(section)) is not None and mean > line:
        return f"PCA reconstructions: {line:.2f}"
    if CATALOGUE[metric].unit == "AUROC" and mean < CHANCE:
        return f"chance: {CHANCE}"
    return None


def _all_unreached(section: Section, question: str, rows: Sequence[Row]) -> list[str]:
    """A sentence if no row reaches the reference value of the question's metric."""
    metric = answering_metric(section, question)
    references = [unreached(section, row, metric) if metric else None for row in rows]
    if None in references:
        return []
    see = "" if metric == FID else ": this score does not detect these outliers. See the other scores on the board"
    return [f"All of these results are worse than {references[0]}{see}."]


@once
def answering_metric(section: Section, question: str) -> str | None:
    """The metric that answers a question on this board; None if no row has such a metric."""
    return next(iter(board.measured(section, board.all_questions().get(question, ()))), None)


@once
def answering(section: Section, question: str) -> list[Row]:
    """The rows with a result for a question, best first; for speed, those on the section's most frequent device."""
    if question == SPEED:
        comparable = [row for row in section.rows if times.on_usual_device(section, row)]
        rates = {row: rate for row in comparable if (rate := row.timing(RATE))}
        return sorted(rates, key=lambda row: (-rates[row], row.label))
    metric = answering_metric(section, question)
    if metric is None:
        return []
    return [row for row in board.sorted_rows(section, metric) if row.mean(metric) is not None]


def _unit(section: Section, question: str) -> str:
    metric = answering_metric(section, question)
    if metric is None:
        return f"images/s on {escape(times.devices(section)[0])}"
    return f"{escape(section.label(metric))} ({escape(CATALOGUE[metric].unit)})"


def _number(section: Section, row: Row, question: str) -> str:
    metric = answering_metric(section, question)
    if metric is None:
        return times.timing(section, row, RATE)
    return board.number(row, metric) + (f" ({FEATURE_LOSS})" if board.shares_features(row, metric) else "")


@once
def _order(section: Section, question: str) -> dict[Row, int]:
    """Map each row with a result for a question to its rank by the mean alone."""
    return {row: number for number, row in enumerate(answering(section, question), 1)}


def place(section: Section, row: Row, question: str) -> str | None:
    """The rank among the rows that can be tested, such as "2 of 12"; None if the row or all others have no result.

    "~2 of 12" is a rank by the mean alone among all rows with a result, if the row cannot be tested, for example with
    too few seeds. Speed has no tests, and no rank where a time was measured on a busy machine.
    """
    order = _order(section, question)
    # A single row has nothing to be compared with.
    if row not in order or len(order) < 2:
        return None
    metric = answering_metric(section, question)
    if metric is None:
        return f"~{order[row]} of {len(order)}" if _comparable_times(section) else None
    ranks = board.ranks_of(section, metric)
    return f"{ranks[row.label]} of {len(ranks)}" if row.label in ranks else f"~{order[row]} of {len(order)}"


def elsewhere(section: Section, row: Row, question: str) -> str:
    """The row's rank for every other question of families without a group, and for training speed."""
    found = [
        f"{escape(other)} {rank}"
        for other in [*board.questions(), SPEED]
        if other != question and (rank := place(section, row, other))
    ]
    return "; ".join(found) or "–"


def _difference(section: Section, row: Row, question: str, describe: Callable[[str], str | None]) -> str:
    """The summary of the variant's docstring, and the row's ranks for other questions."""
    what = (describe(row.variant) or "").strip().partition("\n")[0].replace("``", "").rstrip(".")
    return f"{escape(what)}. Ranks: {elsewhere(section, row, question)}" if what else elsewhere(section, row, question)


def _result(section: Section, row: Row, metric: str) -> str:
    """A row's result for a metric, and the reference value that it does not reach, if there is one."""
    unit = CATALOGUE[metric].unit
    unit = "" if unit in UNITLESS else f" {escape(unit)}"
    number = f"{escape(section.label(metric))}: {board.number(row, metric)}{unit}"
    seeds = len(row.by_seed(metric))
    reference = unreached(section, row, metric)
    remarks = [f"worse than {reference}"] if reference else []
    remarks += [FEATURE_LOSS] if board.shares_features(row, metric) else []
    return number + (f", {seeds} seeds" if seeds > 1 else "") + "".join(f" ({remark})" for remark in remarks)


def best_means(section: Section) -> list[list[str]]:
    """The row with the best mean for each question, its result and its training time: for sections in which few rows
    can be tested."""
    found = {question: answering_metric(section, question) for question in board.all_questions()}
    return [
        [
            escape(question),
            board.row_link(rows[0]),
            _result(section, rows[0], metric),
            times.timing(section, rows[0], "train_seconds", " s"),
        ]
        for question, metric in found.items()
        if metric is not None and len(rows := answering(section, question)) > 1
    ]


@once
def winners(section: Section) -> list[list[str]]:
    """The lines of the table of winners, one per question.

    A line contains the best row among those with enough seeds, its result, the rows that share its rank, its training
    time, rows with a better mean but too few seeds, and its ranks for other questions.
    """
    lines = []
    for question in board.all_questions():
        metric = answering_metric(section, question)
        if metric is None:
            continue
        rows = answering(section, question)
        having = [row for row in rows if len(row.by_seed(metric)) >= FEWEST_SEEDS]
        # A single row that can be tested has no competitors.
        if len(having) < 2:
            continue
        best = having[0]
        tied = board.tied_with_best(section, best, metric)
        ahead = rows[: rows.index(best)]
        named = [f"{board.row_link(row)}: {_number(section, row, question)}" for row in ahead[:NAMED]]
        more = [f"and {len(ahead) - NAMED} more"] if len(ahead) > NAMED else []
        lines.append([
            escape(question), board.row_link(best), _result(section, best, metric),
            ", ".join(board.row_link(row) for row in tied) or "–",
            times.timing(section, best, "train_seconds", " s"),
            ", ".join([*named, *more]) or "–",
            elsewhere(section, best, question),
        ])  # fmt: skip
    return lines
