"""Records are other people's input: nothing in one becomes markup, runs, or costs more than its own row."""

import copy
import dataclasses
import html.parser
import json
import re
import shlex
import subprocess
import unicodedata

import pytest

from benchmarks.records.record import Record, RecordError
from benchmarks.reporting import figures, write_reports
from benchmarks.reporting.boundary.intake import usable
from benchmarks.reporting.html import PAGE, as_html
from benchmarks.reporting.markdown import GENERATED, argument, code, escape, quoted

from .test_html import CHROMIUM, needs_browser
from .test_reports import record, store

SET = "document.documentElement.setAttribute('data-ran',1)"
# What opens in one field and what closes it in another.
PAIRS = [
    ("<script>`", f"`;{SET}</script>"),
    (f"`<script>{SET}</script>", "`"),
    ("<!-- `", f"`--><img src=x onerror={SET}>"),
    (f"[a](javascript:{SET}", ")`![b](https://example.org/x.png)"),
    ("</td></tr></table><svg onload=", f"{SET}>"),
    (f'"><iframe srcdoc="<script>parent.{SET}</script>">', "\\"),
    (f"``<a href=javascript:{SET}>", "</a>``\u202e\u2066\x00\x1b[31m\ud800"),
    ("<sup>", f"<b style=x onclick={SET}>1</sup>"),
]
TAGS = {"html", "head", "meta", "title", "style", "body", "nav", "label", "input", "details", "summary", "main",
        "section", "h1", "h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "em", "strong",
        "code", "a", "img", "sup", "br", "script"}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "name", "content", "id", "class", "type", "placeholder", "autocomplete",
              "href", "src", "alt"}  # fmt: skip


def fields(one, other):
    """A record with every string replaced by ``one`` and ``other`` in turn."""
    texts = iter([one, other] * 40)

    def replaced(value):
        if isinstance(value, str):
            return next(texts)
        if isinstance(value, dict):
            return {name: replaced(entry) for name, entry in value.items()}
        return [replaced(entry) for entry in value] if isinstance(value, list) else value

    plain = dataclasses.asdict(record(details={"overrides": ["a", "b"], "teacher": "t", "data_title": "d"}))
    plain["not_applicable"], plain["warnings"] = {"fid_features": "why", "kid_features": "why"}, ["mse much"]
    kept = {name: plain[name] for name in ("run_id", "status", "metrics", "seed", "schema")}
    return replaced(plain) | kept | {"warnings": [f"mse {next(texts)}"], "dataset": next(texts)}


def hostile_reports(tmp_path, one, other):
    """Reports of records that hold the two texts in every field, in both orders, one of them failed."""
    error = {"type": other, "message": one, "traceback": one}
    made = [
        Record(**fields(one, other) | {"run_id": "run1"}),
        Record(**fields(other, one) | {"run_id": "run2", "variant": f"{one} {other}"}),
        Record(**fields(one, one) | {"run_id": "run3", "dataset": other}),
        Record(**fields(other, other) | {"run_id": "run4", "dataset": other}),
        Record(**fields(other, one) | {"run_id": "run5", "status": "failed", "error": error}),
    ]
    kept, messages = usable(made, [])
    assert (len(kept), messages) == (5, [])
    for entry in made:
        store(tmp_path / "r", clean(entry))
    write_reports(tmp_path / "r", tmp_path / "reports", html=True)
    return tmp_path / "reports"


def clean(entry):
    """The record as one can be written: without lone surrogates."""
    text = json.dumps(dataclasses.asdict(entry)).replace("\\ud800", "")
    return Record(**json.loads(text))


class Seen(html.parser.HTMLParser):
    """Every element of a page, and the text of its scripts."""

    def __init__(self):
        super().__init__()
        self.elements, self.scripts, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside = tag == "script"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts.append(data)

    def handle_comment(self, data):
        raise AssertionError(data)


@pytest.mark.parametrize("pair", PAIRS, ids=range(len(PAIRS)))
def test_no_element_and_no_attribute_comes_from_a_record(tmp_path, monkeypatch, pair):
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"\x89PNG\r\n\x1a\n")
    reports = hostile_reports(tmp_path, *pair)
    seen = Seen()
    seen.feed((reports / "index.html").read_text())
    assert {tag for tag, _ in seen.elements} <= TAGS
    assert {name for _, attributes in seen.elements for name in attributes} <= ATTRIBUTES
    assert [text.strip() for text in seen.scripts] == [(PAGE / "page.js").read_text().strip()]
    ids = [attributes["id"] for _, attributes in seen.elements if "id" in attributes]
    for tag, attributes in seen.elements:
        if tag == "a":
            assert attributes["href"][0] == "#"
            assert attributes["href"][1:] in ids
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
    for path in reports.rglob("*.md"):
        for letter in set(path.read_text()) - {"\n"}:
            assert unicodedata.category(letter) not in ("Cc", "Cf", "Cs"), path


@needs_browser
def test_nothing_of_a_record_runs_in_a_browser_even_without_the_policy(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"\x89PNG\r\n\x1a\n")
    shown = [hostile_reports(tmp_path / str(number), *pair) / "index.html" for number, pair in enumerate(PAIRS)]
    bodies = [re.sub(r"<meta http-equiv[^>]*>", "", page.read_text()) for page in shown]
    assert "data-ran" not in opened(tmp_path, "\n".join(bodies)).partition(">")[0]
    # The same browser runs what is not escaped, unless the page has its policy.
    stolen = f"<script>{SET}</script><img src=x onerror={SET}></main>"
    assert "data-ran" in opened(tmp_path, bodies[0].replace("</main>", stolen)).partition("<head>")[0]
    guarded = shown[0].read_text().replace("</main>", stolen)
    assert "data-ran" not in opened(tmp_path, guarded).partition("<head>")[0]


def opened(folder, text):
    """What a browser makes of a page."""
    (folder / "probe.html").write_text(text)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               f"--user-data-dir={folder / 'profile'}", "--dump-dom", (folder / "probe.html").as_uri()]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_raw_html_foreign_links_and_pictures_of_a_page_are_text():
    text = (
        f"{GENERATED}\n\n# T\n\n<script>x</script> <sup>1</sup> <sup>x</sup> [a](file:///etc/passwd) [b](../../c) "
        "[d](https://e.org) ![f](../../etc/passwd) ![g](figures/g.png)\n\n<div onclick=x>\n\n| a |\n|--:|\n| b |\n"
    )
    page = as_html({"README.md": text}, {"figures/g.png": b"<svg onload=x>"})
    body = page.partition("<main>")[2].partition("</main>")[0]
    seen = Seen()
    seen.feed(body)
    found = [tag for tag, _ in seen.elements]
    assert not set(found) & {"script", "div", "img"}
    assert found.count("sup") == 1
    assert [attributes["href"] for tag, attributes in seen.elements if tag == "a"] == ["https://e.org"]
    assert 'class="right"' in body
    assert "style=" not in body


VALUES = [None, [], {}, "", "x" * 5000, 0, -1, True, 10**400, -(10**40), 1e308, [1], {"a": [None]}, ["x", 2], 1.5,
          "\ud800", float("nan"), {"train": 10**400}, "../../up", "."]  # fmt: skip


def paths(value, prefix=()):
    """Where the values of a nested record stand."""
    yield prefix
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from paths(entry, (*prefix, name))


def test_a_mutated_record_costs_its_own_row_and_no_page(tmp_path, monkeypatch):
    """Every field, given every value, one at a time: what the record's own checks let through breaks no report."""
    monkeypatch.setattr(figures, "_packed", lambda figure, dpi: b"")
    details = {"overrides": [], "limits_features": {"train": 1.0}, "judge_accuracy": 0.9, "peak_memory_bytes": 5,
               "information_images": 100, "teacher": "t", "judge_digest": "d"}  # fmt: skip
    plain = dataclasses.asdict(record("vae", details=details, metrics={"elbo": -1.0, "mutual_information": 2.0}))
    plain["config"]["evaluation"] = {"information_images": 100}
    mutated = []
    for path in [path for path in paths(plain) if path]:
        for value in VALUES:
            changed = copy.deepcopy(plain)
            place = changed
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = value
            try:
                mutated.append(Record(**changed))
            except (RecordError, OverflowError):
                continue
    assert len(mutated) > 300
    good = record("iwae")
    monkeypatch.setattr("benchmarks.reporting.pages.read_records", lambda results: ([good, *mutated], []))
    messages = write_reports(tmp_path / "none", tmp_path / "reports")
    assert len(messages) > 100
    assert all(message.startswith("left out: record ") and "\n" not in message for message in messages)
    assert "iwae" in (tmp_path / "reports" / "mnist.md").read_text()


@pytest.mark.parametrize(
    "text", ["$(touch x)", "`touch x`", "a; touch x", '"; touch x; "', "'; touch x; '", "$(shell touch x)", "a\\", "!!",
             "`'; touch x; '`", "<(touch x)"]
)  # fmt: skip
def test_a_command_that_people_copy_runs_nothing_of_a_record(tmp_path, text):
    shown = code(f"make VARIANTS={argument(text)} OVERRIDES={quoted([text])}", 2000).strip("`")
    # As in the suite's own Makefile: what was given reaches a shell in single quotes.
    (tmp_path / "Makefile").write_text("all:\n\t@: '$(subst ','\\'',$(VARIANTS))' '$(subst ','\\'',$(OVERRIDES))'\n")
    words = shlex.split(shown)
    assert len(words) == 3
    subprocess.run(["bash", "-c", shown], cwd=tmp_path, check=True, capture_output=True)
    assert not (tmp_path / "x").exists()


def test_text_is_one_line_of_visible_characters():
    assert escape("a\u202eb\u2066c\x00d\x1b[1m\u200be\ud800") == "abcd\\[1me"
    assert escape("- a") == "\\- a"
    assert escape("1. a") == "1\\. a"
    assert escape("0.001") == "0.001"
    assert escape("$x$") == "\\$x\\$"
    assert code("") == "`–`"
