"""Variants by family on the command line, and which variants "all" includes."""

import pytest

import variants
from benchmarks.__main__ import main
from benchmarks.config import fitting, split_list, variant_families
from benchmarks.errors import UserError

NAMES = ["alpha", "beta", "gamma"]
GROUPS = {"bounds": ["alpha"], "posteriors and priors": ["beta", "gamma"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("all", NAMES),
        ("bounds", ["alpha"]),
        ("posteriors and priors", ["beta", "gamma"]),
        ("posteriors-and-priors, alpha", ["beta", "gamma", "alpha"]),
        ("gamma,posteriors-and-priors", ["gamma", "beta"]),
    ],
)
def test_a_familys_name_stands_for_its_variants(text, expected):
    assert split_list(text, "variant", NAMES, GROUPS) == expected


def test_an_unknown_family_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match="unknown variant 'bound'; did you mean 'bounds'"):
        split_list("bound", "variant", NAMES, GROUPS)


def test_every_variant_is_in_one_family_and_none_is_a_familys_name():
    families = variant_families()
    assert sorted(name for names in families.values() for name in names) == variants.names()
    assert not {family.replace(" ", "-") for family in families} & set(variants.names())


def test_all_is_what_the_data_sets_configuration_suits():
    names = variants.names()
    without, line = fitting(names, "digits", "smoke", [])
    assert "cvae" not in without
    assert len(without) == len([name for name in names if not variants.lookup(name).conditional])
    assert line == ["digits: skipping cvae: needs dataset.condition"]
    given, line = fitting(names, "digits", "smoke", ["variant.features=8", "dataset.condition=label"])
    assert given == ["cvae"]
    (line,) = line
    assert line.startswith("digits: skipping ae, auxiliary_vae, ")
    assert line.endswith(", wae_mmd: takes no condition, but dataset.condition is label")


def test_all_is_what_takes_the_options_that_are_set():
    kept, lines = fitting(["beta_vae", "cvae", "miwae", "vae"], "digits", "smoke", ["variant.beta=8"])
    assert kept == ["beta_vae"]
    assert lines == [
        "digits: skipping cvae: needs dataset.condition",
        "digits: skipping miwae: variant.beta must be between 0 and 1, got 8.0",
        "digits: skipping vae: no option 'beta'",
    ]
    # An option that no variant has is refused by name when the configuration is composed.
    assert fitting(["miwae", "vae"], "digits", "smoke", ["variant.betta=8"]) == (["miwae", "vae"], [])
    # The same holds for a value that none accepts; the error must then be of a variant that suits the data.
    wrong = ["dataset.condition=label", "training.epochs=0"]
    assert fitting(["ae", "cvae"], "digits", "smoke", wrong) == (["cvae"], [])


@pytest.mark.parametrize(
    ("override", "kept", "line"),
    [
        (
            "variant.kl_warmup=0.2",
            ["vae"],
            "digits: skipping iwae: variant.kl_warmup must stay 0, got 0.2: the loss of",
        ),
        ("+variant.kl_warmup=0.2", ["vae"], "digits: skipping iwae: variant.kl_warmup must stay 0, got 0.2: the loss "),
        ("training.batch_size=1", ["iwae", "vae"], "digits: skipping wae_mmd: training.batch_size must be 2 or above"),
        ("network=linear", ["vae"], "digits: skipping vq_vae: network linear has no grid of codes"),
        (
            "network.latent_size=200",
            ["iwae", "vae"],
            "digits: skipping iaf_vae: variant.hidden must be at least network.",
        ),
    ],
)
def test_all_leaves_out_variants_that_refuse_an_option_together_with_others(override, kept, line):
    names = ["iaf_vae", "iwae", "vae", "vq_vae", "wae_mmd"]
    found, lines = fitting(names, "digits", "smoke", [override])
    assert set(kept) <= set(found)
    assert any(one.startswith(line) for one in lines)
    assert not any(name in found for name in names if any(f"skipping {name}:" in one for one in lines))


def test_a_sweep_over_all_is_not_refused_with_or_without_a_condition(tmp_path, capsys):
    sweep = ["bench", "--datasets", "digits", "--profile", "smoke", "--dry", "--results", str(tmp_path)]
    assert main(sweep) == 0
    out, err = capsys.readouterr()
    assert "digits-vae-smoke" in out
    assert "digits-cvae" not in out
    assert err.count("\n") == 1
    assert main([*sweep, "dataset.condition=quadrants-2"]) == 0
    assert capsys.readouterr().out.startswith("digits-cvae-smoke")
    # If its family is named, the variant is refused with a message that says what is missing.
    assert main([*sweep, "--variants", "conditional"]) == 2
    assert "cvae needs a condition: set dataset.condition=label" in capsys.readouterr().err


def test_the_list_describes_data_sets_and_profiles(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert "  digits                scikit-learn digits, 8x8, binarised\n" in listed
    assert "  quick                 epochs = 12, K = 50\n" in listed


def test_the_list_has_a_heading_a_family(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.index("variants, family conditional:") + 1 == next(
        number for number, line in enumerate(lines) if line.startswith("  cvae ")
    )
