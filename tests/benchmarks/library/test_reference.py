"""The API reference contains the signature and docstring of every public name."""

import re
from pathlib import Path

import pytest

import benchmarks
import variants
from benchmarks.errors import UserError
from benchmarks.library.reference import FILE, as_markdown, public_names, reference, write_reference

ROOT = Path(__file__).resolve().parents[3]


def test_the_committed_reference_is_that_of_the_docstrings():
    assert (ROOT / "reports" / FILE).read_text() == reference(), "run `make api`"


def test_every_public_name_has_an_entry_with_its_signature_and_its_text():
    missing = {f"benchmarks.{name}" for name in benchmarks.__all__} - public_names()
    # These are constants, which the docstrings of the contract explain.
    missing |= {f"variants.{name}" for name in variants.__all__} - public_names() - {
        "variants.FAMILIES", "variants.PROPERTIES",
    }  # fmt: skip
    assert not missing
    page = reference()
    for name in public_names():
        assert re.search(
            rf"^### {re.escape(name)}\n\n```python\n\w+\(.*?```\n\n\w|`", page, re.MULTILINE | re.DOTALL
        ), name


def test_links_of_the_contents_lead_to_headings():
    page = reference()
    links = re.findall(r"\]\(#([\w-]+)\)", page)
    headings: list[str] = []
    for line in page.splitlines():
        if line.startswith("#"):
            text = re.sub(r"[^\w-]", "", line.lower().lstrip("# ").replace(" ", "-"))
            # As GitHub does: the second heading of the same text in lower case is numbered.
            earlier = [heading for heading in headings if re.fullmatch(rf"{text}(-\d+)?", heading)]
            headings.append(f"{text}-{len(earlier)}" if earlier else text)
    assert len(set(links)) == len(links) == len(public_names())
    assert set(links) <= set(headings)


def test_nothing_on_the_page_depends_on_the_process():
    page = reference()
    assert page == reference()
    assert not re.search(r"0x[0-9a-f]{6}|<factory>|ForwardRef|<function|/home|/root", page)


def test_a_docstring_becomes_markdown():
    documentation = (
        "One line of :class:`Thing`.\n\nSome ``code`` of shape (*samples, batch):\n\n    x = 1\n\nReferences:\n"
        "    Someone, *A Title*, 2020.\n    https://example.org\n\nExample:\n    >>> 1 + 1\n    2"
    )
    assert as_markdown(documentation) == (
        "One line of `Thing`.\n\nSome `code` of shape (\\*samples, batch):\n\n```text\nx = 1\n```\n\n*References*\n\n"
        "Someone, *A Title*, 2020. https://example.org\n\n*Example*\n\n```python\n>>> 1 + 1\n2\n```"
    )


def test_a_page_of_the_users_is_not_overwritten(tmp_path):
    path = write_reference(tmp_path)
    assert path.read_text() == write_reference(tmp_path).read_text() == reference()
    path.write_text("my notes")
    with pytest.raises(UserError, match="was not written by this suite"):
        write_reference(tmp_path)
    assert path.read_text() == "my notes"
