"""The guide: which variant for what. The best rows of each board for every question, and how they differ."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from benchmarks.records.catalogue import CATALOGUE
from benchmarks.records.significance import FEWEST_SEEDS
from benchmarks.reporting import board
from benchmarks.reporting.markdown import GENERATED, anchor, escape, table
from benchmarks.reporting.rows import Row, Section, once

FILE = "guide.md"
# Rows that are named for each question and board.
NAMED = 3
SPEED = "training speed"


def page(sections: Sequence[Section], describe: Callable[[str], str | None]) -> str:
    """A part for each question: the best rows of each data set, of models without a condition."""
    shown = [section for section in leading(sections) if not section.given]
    blocks = [
        GENERATED,
        "# Which variant for what",
        "[All boards](README.md)",
        f"The {NAMED} best variants of every board for each criterion, by the mean (± standard deviation over seeds), "
        "with their ranks by the other criteria. ~ marks a rank by the mean alone: with fewer than three seeds, "
        "differences between variants may be due to chance.",
    ]
    for question in [*board.all_questions(), SPEED]:
        parts = [part for section in shown if (part := _answers(section, question, describe))]
        if parts:
            blocks += [
                f"## {escape(question[:1].upper() + question[1:])}",
                *(block for part in parts for block in part),
            ]
    return "\n\n".join(blocks) + "\n"


def leading(sections: Sequence[Section]) -> list[Section]:
    """Of each data set and condition, the section to read first: that of the largest budget, or where its seeds are too
    few to tell variants apart, of the largest that has winners."""
    found: dict[tuple[str, str], Section] = {}
    tells: dict[tuple[str, str], bool] = {}
    for section in sections:
        key = section.dataset, section.condition
        # Winners take tests over seeds: only of sections that may still lead.
        if section.rows and not tells.get(key) and ((told := bool(winners(section))) or key not in found):
            found[key], tells[key] = section, told
    return list(found.values())


def _answers(section: Section, question: str, describe: Callable[[str], str | None]) -> list[str]:
    rows = answering(section, question)[:NAMED]
    if not rows:
        return []
    link = f"[{escape(section.title)}]({board.page_file(section.dataset)}{_heading(section, question)})"
    lines = [[board.row_link(row), _number(section, row, question), _difference(section, row, question, describe)]
             for row in rows]  # fmt: skip
    return [
        f"### {link}",
        table(["variant", _unit(section, question), "description and ranks by other criteria"], lines, "left"),
    ]


def _heading(section: Section, question: str) -> str:
    """The place on a board with the rows that answer a question, where the board has one section of a profile."""
    metric = answering_metric(section, question)
    if question == SPEED:
        return f"#{anchor('Cost')}"
    return "#leaderboard" if metric == board.sort_metric(section) else f"#{anchor(question)}"


@once
def answering_metric(section: Section, question: str) -> str | None:
    """The metric that answers a question on this board; None where no row has one."""
    return next(iter(board.measured(section, board.all_questions().get(question, ()))), None)


@once
def answering(section: Section, question: str) -> list[Row]:
    """The rows that have an answer to a question, best first."""
    if question == SPEED:
        rates = {row: _rate(row) for row in section.rows if row.timing("train_images_per_second")}
        return sorted(rates, key=lambda row: (-rates[row], row.label))
    metric = answering_metric(section, question)
    if metric is None:
        return []
    return [row for row in board.sorted_rows(section, metric) if row.mean(metric) is not None]


def _rate(row: Row) -> float:
    return statistics.fmean(row.timing("train_images_per_second") or [0.0])


def _unit(section: Section, question: str) -> str:
    metric = answering_metric(section, question)
    if metric is None:
        return "images/s"
    return f"{escape(section.label(metric))} ({escape(CATALOGUE[metric].unit)})"


def _number(section: Section, row: Row, question: str) -> str:
    metric = answering_metric(section, question)
    if metric is None:
        return f"{_rate(row):,.0f}"
    return board.spread(row.values(metric) or [], CATALOGUE[metric].decimals)


def place(section: Section, row: Row, question: str) -> str:
    """ "2 of 12": the rank among the rows that have an answer; "~2 of 12" by the mean alone, where seeds are too
    few."""
    rows = answering(section, question)
    metric = answering_metric(section, question)
    ranks = {} if metric is None else board.ranks_of(section, metric)
    if row.label in ranks:
        return f"{ranks[row.label]} of {len(rows)}"
    return f"~{rows.index(row) + 1} of {len(rows)}"


def elsewhere(section: Section, row: Row, question: str) -> str:
    """The row's place for every other question that it has an answer to; tasks are in the guide."""
    found = [
        f"{escape(other)} {place(section, row, other)}"
        for other in [*board.questions(), SPEED]
        if other != question and row in answering(section, other)
    ]
    return "; ".join(found) or "–"


def _difference(section: Section, row: Row, question: str, describe: Callable[[str], str | None]) -> str:
    """What the variant is, and its place elsewhere."""
    what = (describe(row.variant) or "").strip().partition("\n")[0].replace("``", "").rstrip(".")
    return f"{escape(what)}. Ranks: {elsewhere(section, row, question)}" if what else elsewhere(section, row, question)


def winners(section: Section) -> list[list[str]]:
    """A line a question: the best of the rows with seeds enough, its result, those that seeds cannot tell from it, what
    its training takes, rows of fewer seeds with a better mean, and its place elsewhere."""
    lines = []
    for question in board.all_questions():
        metric = answering_metric(section, question)
        if metric is None:
            continue
        rows = answering(section, question)
        having = [row for row in rows if len(row.by_seed(metric)) >= FEWEST_SEEDS]
        if not having:
            continue
        best = having[0]
        tied = [row for row in having if row.label in board.best_labels(section, metric) and row is not best]
        number = f"{escape(section.label(metric))}: {_number(section, best, question)} {escape(CATALOGUE[metric].unit)}"
        number += f", {len(best.by_seed(metric))} seeds"
        seconds = best.timing("train_seconds")
        line = board.pca_distance(section) if metric == "fid_features" else None
        if line is not None and (best.mean(metric) or 0.0) > line:
            number += f" (PCA reconstructions: {line:.2f})"
        ahead = rows[: rows.index(best)][:NAMED]
        lines.append([
            escape(question), board.row_link(best), number, ", ".join(board.row_link(row) for row in tied) or "–",
            "–" if not seconds else f"{statistics.fmean(seconds):,.0f} s",
            ", ".join(f"{board.row_link(row)}: {_number(section, row, question)}" for row in ahead) or "–",
            elsewhere(section, best, question),
        ])  # fmt: skip
    return lines
