"""Times in tables, with marks of what makes them hard to compare: a busy machine, or another device."""

from __future__ import annotations

from benchmarks.records.load import highest_load
from benchmarks.reporting.markdown import escape
from benchmarks.reporting.rows import Row, Section, device_of, most_frequent, once

BUSY = "§"
# Repeated for a third and every further device.
OTHER_DEVICE = "¶"
MARKS = (
    f"{BUSY} marks times that were measured while other processes were running, {OTHER_DEVICE} those on another device "
    "than most of the board's."
)

# Below times of which some were measured on a busy machine.
UNCERTAIN = (
    f"The order of all rows is uncertain: some times of this board (marked {BUSY} there) were measured while other "
    "processes were running."
)


@once
def devices(section: Section) -> list[str]:
    """The devices on which the times of a section were measured, the most frequent first."""
    return most_frequent(map(device, section.rows))


def device(row: Row) -> str:
    """The device on which the times of a row were measured."""
    return device_of(row.fastest)


def on_usual_device(section: Section, row: Row) -> bool:
    """Whether the times of a row were measured on the section's most frequent device, and can be compared."""
    return device(row) == devices(section)[0]


def marks(section: Section, row: Row) -> str:
    """The marks of a row's times, after a space; "" if they have none."""
    found = (BUSY if row.is_busy else "") + OTHER_DEVICE * devices(section).index(device(row))
    return f" {found}" if found else ""


def timing(section: Section, row: Row, name: str, unit: str = "") -> str:
    """A field of a row's ``timing`` as a cell of a table, followed by ``unit``."""
    value = row.timing(name)
    return "–" if value is None else f"{value:,.0f}{unit}{marks(section, row)}"


def notes(section: Section) -> list[str]:
    """The explanations of the marks that the times of a section have."""
    lines = []
    loads = [highest_load(row.fastest) for row in section.rows if row.is_busy]
    if loads:
        load, own = max(loads)
        lines.append(
            f"{BUSY} Timed while other processes were running, so perhaps slower than on an idle machine: the load per "
            f"core was up to {load:.1f}, of which this suite's runs account for {own:.1f}."
        )
    first, *others = devices(section) or [""]
    lines += [
        f"{OTHER_DEVICE * number} Timed on {escape(name)}; not comparable with the times without this mark, on "
        f"{escape(first)}."
        for number, name in enumerate(others, 1)
    ]
    return lines
