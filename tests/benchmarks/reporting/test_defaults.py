"""The defaults on a variant's page, which come from its docstring, agree with its configuration."""

import dataclasses
import inspect

import pytest

import variants
from benchmarks.records.searches import Search, Trial
from benchmarks.reporting import figures, write_reports
from benchmarks.reporting.reading.defaults import Default, as_written, defaults_section, split_defaults
from benchmarks.tuning.search import searched

from ...variants.outside import OUTSIDE
from .test_reports import record, store

DOCSTRING = (
    "A model.\n\nReferences:\n    One. https://a.org/1\n\n"
    "Defaults:\n    beta = 4.0 (celeba 2.0, digits 1.0): the paper,\n        eq. 2: where ``x`` | y.\n"
    "    form = one two: chosen here.\n\nAfterwards."
)
ENTRIES = [
    Default("beta", "4.0", {"celeba": "2.0", "digits": "1.0"}, "the paper, eq. 2: where ``x`` | y."),
    Default("form", "one two", {}, "chosen here."),
]
# How the source of a default begins: it names where the value can be found, or says that it is the suite's own choice.
SOURCES = (
    "the paper",
    "the author's code",
    "the authors' code",
    "open in the paper; ",
    "chosen here",
    "a search of ours",
)

# Only the suite's own variants need a section of defaults, not those of users.
OWN = [name for name in variants.names() if variants.lookup(name).__module__.startswith("variants.")]


@pytest.mark.parametrize("name", OWN)
def test_a_docstring_has_every_option_of_its_variant_with_the_value_of_its_configuration(name):
    cls = variants.lookup(name)
    shared, values = (dataclasses.asdict(config()) for config in (variants.VariantConfig, cls.Config))
    missing = object()
    expected = {option: as_written(value) for option, value in values.items() if shared.get(option, missing) != value}
    _, defaults = split_defaults(inspect.getdoc(cls) or "")
    assert {default.option: default.value for default in defaults} == expected
    elsewhere = {
        default.option: {dataset: float(value) for dataset, value in default.on.items()}
        for default in defaults
        if default.on
    }
    on = {option for options in cls.dataset_defaults.values() for option in options}
    assert elsewhere == {
        option: {d: options[option] for d, options in cls.dataset_defaults.items() if option in options}
        for option in on
    }
    assert cls.search.keys() <= expected.keys()
    for default in defaults:
        assert default.source.startswith(SOURCES), default
        assert default.source.endswith("."), default


def test_a_section_becomes_its_entries_and_the_rest_of_the_docstring_stays():
    text, defaults = split_defaults(DOCSTRING)
    assert text == "A model.\n\nReferences:\n    One. https://a.org/1\n\nAfterwards."
    assert defaults == ENTRIES


@pytest.mark.parametrize(
    "docstring",
    [
        "",
        "A model.",
        "A model.\n\nDefaults:\n",
        "A model.\n\nDefaults:\n    Those of the VAE.",
        "A model.\n\nDefaults:\n    beta = 4.0: here.\n    and nothing else",
        "A model.\n\nDefaults:\n    beta = 4.0: here.\n    beta = 2.0: there.",
        "A model.\n\nDefaults:\n    beta = 4.0 (celeba): here.",
        *(inspect.getdoc(cls) or "" for cls in OUTSIDE),
    ],
)
def test_a_docstring_without_a_section_of_this_form_stays_as_it_is(docstring):
    assert split_defaults(docstring) == (docstring, [])
    assert defaults_section([], {"beta": (1.0,)}, []) == []


def search(dataset, best):
    trials = [Trial({"beta": beta}, -100.0 - beta, f"run{beta}") for beta in (1.0, 2.0, 4.0)]
    return Search(
        "mine", dataset, "quick", "validation_elbo", {"beta": [4.0, 1.0, 2.0]}, {"beta": 4.0}, trials, {"beta": best},
        "2026-01-01", "abc",
    )  # fmt: skip


def test_the_table_says_what_is_searched_what_was_found_and_whether_that_is_the_default():
    searches = [search("mnist", 1.0), search("celeba", 2.0)]
    *_, table = defaults_section(ENTRIES, {"beta": (1.0, 2.0)}, searches)
    _, _, beta, form = ([cell.strip() for cell in line[1:-1].split(" | ")] for line in table.splitlines())
    assert beta == [
        "`beta`",
        "`4.0` (celeba: `2.0`, digits: `1.0`)",
        r"the paper, eq. 2: where `x` \| y.",
        "tries `1.0`, `2.0`; on mnist best `1.0` of 3 trials, not the default; on celeba best `2.0` of 3 trials, the "
        "default",
    ]
    assert form == ["`form`", "`one two`", "chosen here.", "–"]


def test_a_variants_page_has_the_table_once_and_that_of_a_variant_without_the_section_none(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"")
    store(tmp_path / "r", record("mine", 0), record("beta_vae", 0), record("gone", 0))
    docstrings = {"mine": "A model.\n\nReferences:\n    One. https://a.org/1", "beta_vae": DOCSTRING}
    write_reports(tmp_path / "r", tmp_path, describe=docstrings.get, searched=searched)
    pages = {name: (tmp_path / "variants" / f"{name}.md").read_text() for name in ("mine", "beta_vae", "gone")}
    assert pages["beta_vae"].count("Defaults") == 1
    assert "| `form`   | `one two`" in pages["beta_vae"]
    assert "tries `1.0`, `2.0`, `4.0`, `8.0`" in pages["beta_vae"]
    assert "Defaults" not in pages["mine"] + pages["gone"]
