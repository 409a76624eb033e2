"""A variant looks the same everywhere, and like no other."""

import variants
from benchmarks.reporting.style import look


def test_no_two_variants_share_colour_and_mark_or_colour_and_line():
    names = [name for name in variants.names() if variants.lookup(name).__module__.startswith("variants.")]
    looks = [look(name) for name in names]
    assert len({(entry["color"], entry["marker"]) for entry in looks}) == len(names)
    assert len({(entry["color"], entry["linestyle"]) for entry in looks}) == len(names)
    assert look("vae") == look("vae")
