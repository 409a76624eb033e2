"""If the file of a user's own variant is edited between seeds, results of the versions are never averaged."""

import sys
from types import SimpleNamespace

import pytest

import variants
from benchmarks.records.record import OWN_CODE
from benchmarks.reporting.rows import sections
from benchmarks.sweep import cell
from benchmarks.training import identity
from tests.benchmarks.cells import configuration
from tests.benchmarks.reporting.test_reports import record
from variants import registry

MINE = """
from variants import Variant, register


@register("mine")
class Mine(Variant):
    factor = {}
"""


def code(folder, monkeypatch, factor):
    """The code digest of the variant with ``factor``, as in a new process, in which it is not yet imported."""
    (folder / "variant_of_the_code_test.py").write_text(MINE.format(factor))
    monkeypatch.setattr(registry, "_variants", {})
    monkeypatch.setattr(registry, "_discovered", set())
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "variant_of_the_code_test", raising=False)
    registry.load_folder(folder)
    identity._own_digest.cache_clear()
    return identity.own_code_digest(registry._variants["mine"])


def test_records_name_the_code_of_a_users_own_variant_and_not_that_of_the_suites(tmp_path, monkeypatch):
    vae = variants.lookup("vae")
    assert identity.own_code_digest(vae) is None
    assert OWN_CODE not in cell._known(configuration())
    first, second = code(tmp_path, monkeypatch, 1), code(tmp_path, monkeypatch, 1000)
    assert first
    assert second
    assert first != second
    monkeypatch.setattr(variants, "lookup", lambda name: registry._variants["mine"])
    assert cell._known(SimpleNamespace(variant_name="mine", overrides=()))[OWN_CODE] == second


def test_seeds_of_two_versions_of_a_variant_never_share_a_row():
    def made(seed, digest):
        return record("mine", seed, details={OWN_CODE: digest} if digest else {})

    (section,) = sections([made(0, "a" * 64), made(1, "b" * 64), made(2, "b" * 64)])
    assert {row.label: len(row.records) for row in section.rows} == {
        "mine (code aaaaaaaa)": 1,
        "mine (code bbbbbbbb)": 2,
    }
    (section,) = sections([made(0, None), made(1, "b" * 64)])
    assert [row.label for row in section.rows] == ["mine (code bbbbbbbb)", "mine (code unknown)"]


@pytest.mark.parametrize("digest", [None, "a" * 64])
def test_seeds_of_one_version_share_a_row_that_names_no_code(digest):
    details = {OWN_CODE: digest} if digest else {}
    (section,) = sections([record("mine", seed, details=details) for seed in (0, 1)])
    assert [(row.label, len(row.records)) for row in section.rows] == [("mine", 2)]
