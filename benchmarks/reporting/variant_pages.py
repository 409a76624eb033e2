"""The pages of variants: a description from the docstring, and the results on every board from the records."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.records.catalogue import CATALOGUE, groups
from benchmarks.records.searches import Search
from benchmarks.reporting import board, figures
from benchmarks.reporting.boundary.output import Output
from benchmarks.reporting.boundary.side_files import SideFiles
from benchmarks.reporting.markdown import (
    GENERATED,
    anchor,
    argument,
    code,
    escape,
    file_name,
    inline,
    quoted,
    table,
)
from benchmarks.reporting.reading import glossary, guide
from benchmarks.reporting.reading.defaults import defaults_section, split_defaults
from benchmarks.reporting.rows import Row, Section, shows_originals

PICTURES = {
    "samples": "samples.png",
    "reconstructions": "reconstructions.png",
    "traversals": "traversals.png",
    "interpolations": "interpolations.png",
}
# Maximum number of rows per board whose pictures a variant's page shows, because drawing takes most of the time.
MOST_STRIPS = 12

# Added to the loss formula of a variant that uses r without defining it.
RECONSTRUCTION_TERM, KL_TERM = "r = -E_q log p(x|z), summed over pixels", "KL = KL(q(z|x) || p(z))"

EVERY_OPTION = (
    "Options that every variant has, such as `variant.samples` and `variant.kl_warmup`, are described under "
    "`VariantConfig` in the [API reference](../api.md)."
)

# Variant -> its docstring, "" if it has none; None if the variant is not registered.
Describe = Callable[[str], str | None]
# Variant -> its options that `make tune` searches, with the values that it tries.
Searched = Callable[[str], Mapping[str, Sequence[Any]]]


def page_file(variant: str) -> str:
    """The path of a variant's page."""
    return f"variants/{file_name(variant)}.md"


def add_pages(
    sections: Sequence[Section],
    files: SideFiles,
    output: Output,
    describe: Describe,
    searched: Searched,
    searches: Sequence[Search] = (),
) -> None:
    """Add the page of every variant that has a row to ``output``, with its pictures and hyperparameter searches."""
    found: dict[str, dict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for number, section in enumerate(sections):
        for row in section.rows:
            found[row.variant][number].append(row)
    for name, own in sorted(found.items()):
        rows = [(sections[number], rows) for number, rows in own.items()]
        of_variant = [search for search in searches if search.variant == name]
        described = _described(describe(name), searched(name), of_variant)
        output.page(page_file(name), _page(name, rows, sections, files, output, described, of_variant))


def _page(
    name: str,
    own: Sequence[tuple[Section, list[Row]]],
    sections: Sequence[Section],
    files: SideFiles,
    output: Output,
    described: Sequence[str],
    searches: Sequence[Search],
) -> str:
    blocks = [GENERATED, f"# {escape(name)}", "[All boards](../README.md)", *described]
    blocks += [block for search in searches for block in _tried(search)]
    if tables := _tables_of_places(own, sections):
        blocks += [
            "## Ranks",
            f"Rank among the rows with three seeds, by the metric that the [guide](../{guide.FILE}) uses for the data "
            f"set (definitions: [glossary](../{glossary.FILE})). Rows are ordered by their mean and compared with the "
            "best row of the current group; a row that differs significantly begins the next group. ~ marks a rank by "
            "the mean alone among all rows with a result, where there are fewer than three seeds in common.",
            *tables,
        ]
    for section, rows in own:
        blocks += [f"## {escape(section.title)}", f"{_board_link(section, sections, 'On the board')}:"]
        metrics = [
            m for m, entry in CATALOGUE.items() if entry.summary and any(row.mean(m) is not None for row in rows)
        ]
        lines = [[escape(row.label), *(board.number(row, m) for m in metrics), str(len(row.records))] for row in rows]
        blocks.append(
            table(["", *(f"{escape(section.label(m))} ({CATALOGUE[m].unit})" for m in metrics), "seeds"], lines)
        )
        if len(rows) > MOST_STRIPS:
            blocks.append(f"Pictures of the first {MOST_STRIPS} of {len(rows):,} rows.")
        blocks += board.errors_over_images(rows, metrics)
        for number, row in enumerate(rows):
            run_id, drawn = row.first.run_id, None
            panels = _panels(run_id, files) if number < MOST_STRIPS else {}
            if panels:
                drawn = output.drawn(f"pictures of {run_id}", figures.strip, panels)
            if drawn is not None:
                suffix = (f"-{section.condition}" if section.given else "") + (f"-{number}" if number else "")
                picture = output.picture(f"{section.dataset}-{section.profile}-{name}{suffix}", drawn)
                blocks += [f"![{escape(row.label)}](../figures/{picture})", f"*{_caption(row, section, panels)}*"]
            blocks.append(f"Command: {board.command(section, row)}")
    return "\n\n".join(block for block in blocks if block) + "\n"


def _described(
    documentation: str | None, searched: Mapping[str, Sequence[Any]], searches: Sequence[Search]
) -> list[str]:
    """The blocks of a docstring; its defaults become a table."""
    if not documentation:
        return ["This variant is not registered here." if documentation is None else "This variant has no docstring."]
    text, defaults = split_defaults(documentation)
    what, references, rest = text.partition("\nReferences:")
    formulas = "\n".join(line for line in what.splitlines() if line.startswith("    "))
    terms = [RECONSTRUCTION_TERM] if re.search(r"= r\b", formulas) and not re.search(r"\br += ", formulas) else []
    terms += [KL_TERM] if re.search(r"\bKL\b(?!\()", formulas) and not re.search(r"\bKL = ", formulas) else []
    if terms:
        text = f"{what.rstrip()}\n\nHere, {', and '.join(terms)}.\n{references}{rest}"
    return [as_markdown(text), *defaults_section(defaults, searched, searches), EVERY_OPTION]


def _tried(search: Search) -> list[str]:
    """The blocks of a hyperparameter search, with its trials from best to worst."""
    words = {"best": search.best, "default": search.default}
    trials = sorted(search.trials, key=lambda trial: -math.inf if trial.score is None else -trial.score)
    lines = [
        [
            ", ".join(f"{escape(name)} = {escape(value)}" for name, value in trial.options.items()),
            "failed or diverged" if trial.score is None else f"{trial.score:.2f}",
            ", ".join(word for word, options in words.items() if options == trial.options),
        ]
        for trial in trials
    ]
    command = (
        f"make tune VARIANTS={argument(search.variant)} DATASETS={argument(search.dataset)} "
        f"PROFILE={argument(search.profile)} TRIALS={len(trials)} CRITERION={argument(search.criterion)}"
    )
    if search.overrides:
        command += f" OVERRIDES={quoted(search.overrides)}"
    return [
        f"## Tuning on {escape(search.dataset)}",
        f"{len(trials)} runs of the profile {code(search.profile)}, seed 0 only: the board shows how much seeds "
        f"differ. The score is {code(search.criterion)} after the last epoch; higher is better. Defaults are not "
        "changed automatically, because the score is not always what a variant is designed for. Command: "
        f"{code(command, 2000)}",
        table(["options", "score", ""], lines, "left"),
    ]


def _panels(run_id: str, files: SideFiles) -> dict[str, np.ndarray]:
    """The available pictures of a run: title -> pixels."""
    found = {title: files.picture(run_id, name) for title, name in PICTURES.items()}
    return {title: pixels for title, pixels in found.items() if pixels is not None}


def _caption(row: Row, section: Section, panels: Collection[str]) -> str:
    """The caption that explains the ``panels``."""
    originals, given = shows_originals(section), f" given {escape(section.given)}" if section.given else ""
    ends = "the codes of two test images" if originals else "two draws from the prior"
    words = {
        "samples": f"Samples: mean images of draws from the prior{given}.",
        "reconstructions": "Reconstructions: below the test images.",
        "traversals": "Traversals: the eight dimensions that vary most, a line each, from -3 to 3 standard deviations.",
        "interpolations": f"Interpolations: linear between {ends}.",
    }
    shown = [text for title, text in words.items() if title in panels]
    if section.given and ("traversals" in panels or "interpolations" in panels):
        white = ", and the pixels that it gives are white" if section.condition.startswith("quadrants") else ""
        shown.append(f"Traversals and interpolations are decoded with the condition of the first test image{white}.")
    return " ".join([f"{escape(row.label)}, seed {row.first.seed}, not selected.", *shown])


def _tables_of_places(own: Sequence[tuple[Section, list[Row]]], sections: Sequence[Section]) -> list[str]:
    """Tables of ranks: one for the questions of families without a group, one for each group.

    Questions and boards for which the variant has no rank are left out.
    """
    tables = []
    for group in groups():
        questions = board.questions(group)
        lines = [line for section, rows in own for line in _places(section, rows, questions, sections)]
        lines = [line for line in lines if any(place != "–" for place in line[1:])]
        if lines:
            columns = zip(["board", *questions], *lines, strict=True)
            kept = [column for column in columns if any(place != "–" for place in column[1:])]
            header, *ranks = (list(line) for line in zip(*kept, strict=True))
            tables.append(table(header, ranks, "left"))
    return tables


def _board_link(section: Section, sections: Sequence[Section], text: str) -> str:
    """A link from a variant's page to a section of a board."""
    return f"[{text}](../{board.page_file(section.dataset)}#{anchor(board.heading(sections, section))})"


def _places(
    section: Section, rows: Sequence[Row], questions: Iterable[str], sections: Sequence[Section]
) -> list[list[str]]:
    link = _board_link(section, sections, escape(section.title))
    return [
        [
            link if row.label == row.variant else f"{link}: {escape(row.label)}",
            *(_place(section, row, question) for question in questions),
        ]
        for row in rows
    ]


def _place(section: Section, row: Row, question: str) -> str:
    """A row's rank for a question, and the reference value that its result does not reach, if there is one."""
    place, metric = guide.place(section, row, question), guide.answering_metric(section, question)
    if place is None or metric is None:
        return "–"
    reference = guide.unreached(section, row, metric)
    return f"{place} (worse than {reference})" if reference else place


# Matches the beginning of a table, a list, a heading or a quotation in Markdown, whose lines must not be joined.
_BLOCK = re.compile(r"\||[-*+] |\d+[.)] |#{1,6} |>")


def as_markdown(documentation: str) -> str:
    """Convert a docstring to Markdown.

    The first line becomes bold, indented formulas become code, and sections such as "References:" and "Deviations:"
    become headings with lists. Markdown in the docstring is kept, and an unclosed code fence is closed.
    """
    summary, _, rest = documentation.partition("\n")
    blocks = [f"**{inline(summary)}**"]
    for number, part in enumerate(re.split(r"^```", rest, flags=re.MULTILINE)):
        # Parts with an odd index are between two code fences.
        blocks += [f"```{part.rstrip()}\n```"] if number % 2 else _paragraphs(part)
    return "\n\n".join(blocks)


def _paragraphs(text: str) -> list[str]:
    blocks = []
    heading = None
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.splitlines()
        if not lines:
            continue
        if found := re.fullmatch(r"(\w[\w ]*):", lines[0].strip()):
            heading = found[1]
            blocks.append(f"## {heading}")
            lines = lines[1:]
        if not lines:
            continue
        if heading is not None and all(line.startswith("    ") for line in lines):
            blocks.append(_list([line[4:] for line in lines]))
        elif all(line.startswith("    ") for line in lines):
            blocks.append("```\n" + "\n".join(line[4:].replace("```", "'''") for line in lines) + "\n```")
        else:
            heading = None
            keeps_lines = _BLOCK.match(lines[0].strip())
            blocks.append(inline("\n".join(lines) if keeps_lines else " ".join(line.strip() for line in lines)))
    return blocks


def _list(lines: list[str]) -> str:
    """A Markdown list: numbered entries are kept; otherwise each entry is a reference that ends with its address."""
    if re.match(r"\d+\. ", lines[0]):
        return inline("\n".join(line if re.match(r"\d+\. ", line) else f"   {line.strip()}" for line in lines))
    entries, entry = [], ""
    for line in lines:
        entry = f"{entry} {line.strip()}".strip()
        if re.search(r"https?://\S+$", entry):
            entries.append(entry)
            entry = ""
    return "\n".join(f"- {inline(text)}" for text in [*entries, *([entry] if entry else [])])
