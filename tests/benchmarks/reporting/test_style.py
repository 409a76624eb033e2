"""A variant looks the same on every board, and on each like no other."""

import random

import pytest

import variants
from benchmarks.reporting.figures import row_looks
from benchmarks.reporting.rows import sections
from benchmarks.reporting.style import looks

from .test_reports import record

BUILT_IN = [name for name in variants.names() if variants.lookup(name).__module__.startswith("variants.")]
WORDS = ("vae", "beta", "my", "deep", "new", "flow", "hier", "nvae", "vq", "test", "big", "tc", "ladder", "gan", "mine")


def triples(found):
    return [(entry["color"], entry["marker"], entry["linestyle"]) for entry in found.values()]


def random_names(generator, count):
    """Names such as people give, some of them built-in ones."""
    names = set(generator.sample(BUILT_IN, generator.randint(0, min(12, count))))
    while len(names) < count:
        names.add("_".join(generator.choices(WORDS, k=generator.randint(1, 4))) + generator.choice(["", "2", "_v3"]))
    return sorted(names)


def test_built_in_variants_differ_in_colour_and_mark_and_in_colour_and_line():
    found = looks(BUILT_IN)
    assert len({(entry["color"], entry["marker"]) for entry in found.values()}) == len(BUILT_IN)
    assert len({(entry["color"], entry["linestyle"]) for entry in found.values()}) == len(BUILT_IN)


@pytest.mark.parametrize("seed", range(5))
def test_thirty_names_never_share_a_look_whatever_they_are_and_in_whatever_order(seed):
    generator = random.Random(seed)
    for _ in range(100):
        names = random_names(generator, 30)
        found = looks(names)
        assert found.keys() == set(names)
        # Even without lines, as in a figure of points.
        assert len({(entry["color"], entry["marker"]) for entry in found.values()}) == 30
        shuffled = generator.sample(names, 30)
        assert looks(shuffled) == looks(shuffled * 2) == found
        for name in set(names) & set(BUILT_IN):
            assert found[name] == looks([name])[name]


def test_many_names_from_outside_differ_in_colour_mark_or_line():
    names = [f"mine_{number}" for number in range(200)]
    assert len(set(triples(looks([*names, *BUILT_IN])))) == 200 + len(BUILT_IN)


def test_a_name_from_outside_keeps_its_look_beside_any_built_in_variant():
    assert looks(["mine", *BUILT_IN])["mine"] == looks(["mine"])["mine"]


def test_settings_of_one_variant_are_told_apart_and_the_plain_one_looks_as_ever():
    def setting(beta, overrides):
        config = record().config | {"variant": {"name": "beta_vae", "beta": beta}}
        return record("beta_vae", config=config, details={"overrides": overrides})

    given = [setting(8, ["variant.beta=8"]), setting(4, []), setting(2, ["variant.beta=2"]), record("vae")]
    (section,) = sections(given)
    found = {row.label: look for row, look in row_looks(section).items()}
    assert len(set(triples(found))) == 4
    assert {name: found[name] for name in ("beta_vae", "vae")} == looks(["beta_vae", "vae"])
