"""A variant has the same look on every board, and no two variants on a board share a look."""

import random

import pytest

import variants
from benchmarks.reporting.figures import row_looks
from benchmarks.reporting.rows import sections
from benchmarks.reporting.style import label_plainly, looks, new_figure, own_settings

from .test_reports import record

BUILT_IN = {
    name: variants.lookup(name).family
    for name in variants.names()
    if variants.lookup(name).__module__.startswith("variants.")
}
WORDS = ("vae", "beta", "my", "deep", "new", "flow", "hier", "nvae", "vq", "test", "big", "tc", "ladder", "gan", "mine")


def triples(found):
    return [(entry["color"], entry["marker"], entry["linestyle"]) for entry in found.values()]


def random_names(generator, count):
    """Random plausible names of variants with their families; some of the names are built-in variants."""
    names = {name: BUILT_IN[name] for name in generator.sample(sorted(BUILT_IN), generator.randint(0, min(12, count)))}
    while len(names) < count:
        name = "_".join(generator.choices(WORDS, k=generator.randint(1, 4))) + generator.choice(["", "2", "_v3"])
        names.setdefault(name, BUILT_IN.get(name) or generator.choice(["other", "other", "bounds", "no such family"]))
    return names


def test_a_family_has_a_colour_and_its_built_in_variants_differ_in_mark_and_in_line_or_mark():
    found = looks(BUILT_IN)
    assert len({(look["color"], look["marker"]) for look in found.values()}) == len(BUILT_IN)
    assert len({(BUILT_IN[name], look["color"]) for name, look in found.items()}) == len(set(BUILT_IN.values()))
    assert len({look["color"] for look in found.values()}) == len(set(BUILT_IN.values()))


@pytest.mark.parametrize("seed", range(5))
def test_thirty_names_never_share_a_look_whatever_they_are_and_in_whatever_order(seed):
    generator = random.Random(seed)
    for _ in range(100):
        names = random_names(generator, 30)
        found = looks(names)
        assert found.keys() == names.keys()
        assert len(set(triples(found))) == 30
        assert looks(dict(generator.sample(sorted(names.items()), 30))) == found
        for name in names.keys() & BUILT_IN.keys():
            assert found[name] == looks({name: BUILT_IN[name]})[name]


def test_as_many_names_from_outside_as_marks_and_lines_allow_differ():
    names = {f"mine_{number}": "other" for number in range(48)}
    assert len(set(triples(looks(names | BUILT_IN)))) == 48 + len(BUILT_IN)


def test_a_name_from_outside_keeps_its_look_beside_any_built_in_variant():
    assert looks({"mine": "bounds"} | BUILT_IN)["mine"] == looks({"mine": "bounds"})["mine"]


def test_settings_of_one_variant_are_told_apart_and_the_plain_one_looks_as_ever():
    def setting(beta, overrides):
        config = record().config | {"variant": {"name": "beta_vae", "beta": beta}}
        return record("beta_vae", config=config, details={"overrides": overrides})

    given = [setting(8, ["variant.beta=8"]), setting(4, []), setting(2, ["variant.beta=2"]), record("vae")]
    (section,) = sections(given)
    found = {row.label: look for row, look in row_looks(section).items()}
    assert len(set(triples(found))) == 4
    assert {name: found[name] for name in ("beta_vae", "vae")} == looks({"beta_vae": "disentangling", "vae": "bounds"})


@pytest.mark.parametrize(
    ("ends", "expected"), [((40, 400), ["50", "100", "200"]), ((0.007, 0.06), ["0.01", "0.02", "0.05"])]
)
def test_a_logarithmic_axis_has_plain_numbers(ends, expected):
    with own_settings():
        figure, (axis,) = new_figure(4, 4)
        axis.plot(ends, ends)
        axis.set_yscale("log")
        axis.set_ylim(ends)
        label_plainly(axis.yaxis)
        figure.draw_without_rendering()
        low, high = ends
        shown = [tick.label1.get_text() for tick in axis.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
        assert shown == expected
        assert not any(tick.label1.get_text() for tick in axis.yaxis.get_minor_ticks())
