"""Boards of conditional models, and lists of variants by family."""

import dataclasses

import pytest

import variants
from benchmarks.data import CONDITIONS as DATA_CONDITIONS
from benchmarks.reporting import variant_pages, write_reports
from benchmarks.reporting.rows import CONDITIONS, EARLIER_FAMILIES, sections

from .test_reports import NATS, record, store


def conditional(variant, seed, condition, **metrics):
    plain = record(variant, seed).config["dataset"]
    details = {"overrides": [], "family": "conditional"}
    return record(variant, seed, NATS | metrics, config={"dataset": plain | {"condition": condition}}, details=details)


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results"
    store(
        folder,
        *(record("vae", seed, NATS) for seed in (0, 1, 2)),
        *(conditional("cvae", seed, "label", log_likelihood=-50.0) for seed in (0, 1, 2)),
        *(
            conditional("cvae", seed, "quadrants-2", log_likelihood=-20.0, log_likelihood_by_prior=-21.5)
            for seed in (0, 1, 2)
        ),
        *(
            conditional("another", seed, "quadrants-2", log_likelihood=-30.0, log_likelihood_by_prior=-31.5)
            for seed in (0, 1, 2)
        ),
    )
    return folder


def test_every_condition_has_words():
    assert {"none", *CONDITIONS} == set(DATA_CONDITIONS)


def test_conditional_models_have_sections_of_their_own_after_the_others(results, tmp_path):
    write_reports(results, tmp_path)
    page = (tmp_path / "mnist.md").read_text()
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == [
        "## Profile quick", "## Given the class: profile quick", "## Given the left half: profile quick",
    ]  # fmt: skip
    unconditional, by_class, by_half = page.split("\n## ")[1:]
    assert "[vae](" in unconditional
    assert "cvae" not in unconditional
    assert "condition" not in unconditional
    for part, number in ((by_class, "-50.00"), (by_half, "-20.00")):
        assert "[vae](" not in part
        assert number in part
        assert "log p(x\\|condition)" in part
        assert "not comparable with log p(x)" in part
        assert "| log p(x) " not in part
    assert "-21.50" in by_half
    assert "Conditional likelihood by the prior" in by_half
    assert "Conditional likelihood by the prior" not in unconditional


def test_the_page_of_a_variant_without_ranks_has_no_section_of_them(tmp_path):
    store(tmp_path / "results", *(conditional("cvae", seed, "label") for seed in (0, 1, 2)))
    write_reports(tmp_path / "results", tmp_path / "reports")
    assert "## Ranks" not in (tmp_path / "reports" / "variants" / "cvae.md").read_text()


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ("label", "are decoded with the condition of the first test image."),
        (
            "quadrants-2",
            "are decoded with the condition of the first test image, and the pixels that it gives are white.",
        ),
    ],
)
def test_the_caption_of_pictures_says_which_condition_they_are_decoded_with(condition, words):
    (section,) = sections([conditional("cvae", 0, condition)])
    (row,) = section.rows
    assert words in variant_pages._caption(row, section, {"samples", "traversals"})
    assert "decoded with" not in variant_pages._caption(row, section, {"samples"})


def test_the_index_has_winners_among_conditional_models_apart(results, tmp_path):
    write_reports(results, tmp_path)
    page = (tmp_path / "README.md").read_text()
    winners, among_conditional = page.partition("## Winners among conditional models")[::2]
    assert "cvae" not in winners.partition("## Winners")[2]
    assert "[cvae](variants/cvae.md) | log p(x\\|condition): -20.00 " in " ".join(among_conditional.split())
    # A single variant has no winners.
    assert "given the left half" in among_conditional
    assert "given the class" not in among_conditional


def test_a_number_of_a_conditional_model_is_not_compared_with_an_unconditional_ones(tmp_path):
    store(tmp_path / "then", record("cvae", 0, NATS))
    store(tmp_path / "now", conditional("cvae", 0, "label"))
    write_reports(tmp_path / "now", tmp_path / "reports", baseline=tmp_path / "then")
    assert "Against the baseline" not in (tmp_path / "reports" / "mnist.md").read_text()
    write_reports(tmp_path / "now", tmp_path / "reports", baseline=tmp_path / "now")
    assert "Against the baseline" in (tmp_path / "reports" / "mnist.md").read_text()


def test_a_board_lists_its_variants_by_family(tmp_path):
    named = dataclasses.replace(record("theirs", 0, NATS), details={"overrides": [], "family": "discrete"})
    store(tmp_path / "results", record("vae", 0, NATS), record("iwae", 0, NATS), named, record("unknown", 0, NATS))
    (section,) = sections([record("vae", 0, NATS), record("iwae", 0, NATS), named, record("unknown", 0, NATS)])
    assert {row.variant: row.family for row in section.rows} == {
        "vae": "bounds", "iwae": "bounds", "theirs": "discrete", "unknown": "other",
    }  # fmt: skip
    write_reports(tmp_path / "results", tmp_path / "reports")
    page, index = ((tmp_path / "reports" / name).read_text() for name in ("mnist.md", "README.md"))
    board = page.partition("### Leaderboard")[2].partition("###")[0]
    firsts = [line.split("|")[1].strip().partition("]")[0] for line in board.splitlines() if line.startswith("| ")][1:]
    assert firsts == ["**bounds**", "[iwae", "[vae", "**discrete**", "[theirs", "**other**", "[unknown"]
    assert "- discrete: [theirs](variants/theirs.md)" in index
    assert index.index("- discrete:") < index.index("- other:")


def test_families_of_earlier_records_are_those_of_their_variants():
    assert {name: variants.lookup(name).family for name in EARLIER_FAMILIES} == EARLIER_FAMILIES
