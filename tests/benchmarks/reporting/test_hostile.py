"""Records are untrusted input: their content never becomes markup, is never executed, and breaks only its own row."""

import contextlib
import copy
import dataclasses
import hashlib
import html.parser
import itertools
import json
import re
import shlex
import subprocess
import unicodedata

import pytest

from benchmarks.records.identity import run_id
from benchmarks.records.record import Record, RecordError, read_records
from benchmarks.reporting import figures, write_reports
from benchmarks.reporting.html import PAGE, as_html
from benchmarks.reporting.markdown import GENERATED, argument, code, escape, quoted

from .test_html import CHROMIUM, needs_browser
from .test_reports import pages, record, store

PNG = b"\x89PNG\r\n\x1a\n"
SET = "document.documentElement.setAttribute('data-ran',1)"
# Pairs of texts for two fields: markup begins in one field and ends in the other.
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
        "code", "a", "img", "sup", "br", "script", "select", "option", "pre"}  # fmt: skip
ATTRIBUTES = {"lang", "charset", "http-equiv", "name", "content", "id", "class", "type", "placeholder", "autocomplete",
              "href", "src", "alt", "loading", "value", "aria-current"}  # fmt: skip


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Figures are not rendered, because these tests do not depend on their content."""
    with monkeypatch.context() as patch:
        patch.setattr(figures, "_packed", lambda figure, dpi: PNG)
        yield


# Fields that are checked when a record is read, so that they cannot contain arbitrary text.
CHECKED = ("run_id", "status", "variant", "dataset", "profile", "seed", "finished", "schema", "digest")


def texts_replaced(value, texts):
    """Plain data in which every string, except for keys, is replaced by the next of ``texts``."""
    if isinstance(value, str):
        return next(texts)
    if isinstance(value, dict):
        return {name: texts_replaced(entry, texts) for name, entry in value.items()}
    return [texts_replaced(entry, texts) for entry in value] if isinstance(value, list) else value


def free_texts(variant, one, other, **changes):
    """A readable record in which all fields of free text are replaced by ``one`` and ``other`` in turn."""
    texts = itertools.cycle([without_surrogates(one), without_surrogates(other)])
    network = {"name": "mlp", "activation": "relu"}
    details = {"overrides": ["a", "b"], "teacher": "t", "data_title": "d", "family": "f", "judge": "j", "notes": ["n"]}
    plain = dataclasses.asdict(record(variant, config={"network": network}, details=details, **changes))
    plain["metrics"] |= {"mutual_information": 2.0}
    plain["not_applicable"], plain["warnings"] = {"fid_features": "why", "kid_features": "why"}, []
    made = texts_replaced(plain, texts) | {name: plain[name] for name in CHECKED}
    made["details"]["overrides"] = [f"variant.a={next(texts)}", next(texts)]
    made["warnings"] = [f"mse {next(texts)}"]
    config = made["config"]
    for section in ("dataset", "variant"):
        config[section]["name"] = plain["config"][section]["name"]
    config["dataset"]["condition"] = next(texts)
    config["training"] |= {"precision": next(texts), "schedule": next(texts)}
    config["evaluation"] = {"information_images": next(texts), "samples": next(texts)}
    config["profile"] = plain["profile"]
    return Record(**made | {"run_id": run_id(config)})


def without_surrogates(text):
    """Remove the surrogate, which records must not contain."""
    return text.replace("\ud800", "")


def read_reports(folder, one, other):
    """Write reports of readable records with the two texts in all fields of free text, in both orders; one failed."""
    failed = {"status": "failed", "metrics": {}, "error": {"type": "E", "message": "m", "traceback": "t"}}
    made = [
        free_texts("vae", one, other),
        free_texts("iwae", other, one),
        free_texts("miwae", one, one),
        free_texts("swae", other, other),
        free_texts("ae", other, one, **failed),
    ]
    store(folder / "r", *made)
    read, messages = read_records(folder / "r")
    assert ({entry.run_id for entry in read}, messages) == ({entry.run_id for entry in made}, [])
    assert write_reports(folder / "r", folder / "read", html=True) == []
    for name in ("vae", "iwae", "miwae", "swae"):
        assert f'<h1 id="{name}">' in (folder / "read" / "variants" / f"{name}.html").read_text()
    return folder / "read"


def past_reading(folder, monkeypatch, one, other):
    """Write reports of records with the two texts in every field, including names and run ids.

    The records are passed directly to the reports, without the checks on reading.
    """
    one, other = without_surrogates(one), without_surrogates(other)
    error = {"type": other, "message": one, "traceback": one}
    made = []
    for first, second, changes in (
        (one, other, {}),
        (other, one, {"variant": f"{one} {other}"}),
        (one, one, {"dataset": other}),
        (other, other, {"dataset": other}),
        (other, one, {"status": "failed", "error": error}),
    ):
        plain = dataclasses.asdict(free_texts("vae", first, second))
        names = {"run_id": f"{first}{len(made)}", "variant": first, "dataset": second, "profile": first}
        made.append(Record(**plain | names | changes))
    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.reporting.pages.read_records", lambda results: (made, []))
        write_reports(folder / "none", folder / "past", html=True)
    return folder / "past"


def hostile_reports(folder, monkeypatch, one, other):
    """The folders of both reports: those of readable records, and those written without the checks on reading."""
    return [read_reports(folder, one, other), past_reading(folder, monkeypatch, one, other)]


class Seen(html.parser.HTMLParser):
    """Collects every element of a page, and the text of its scripts."""

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
    for reports in hostile_reports(tmp_path, monkeypatch, *pair):
        nothing_comes_from_a_record(reports)


def nothing_comes_from_a_record(reports):
    shown = sorted(reports.rglob("*.html"))
    assert len(shown) == len(list(reports.rglob("*.md")))
    for page in shown:
        seen = Seen()
        seen.feed(page.read_text())
        assert {tag for tag, _ in seen.elements} <= TAGS
        assert {name for _, attributes in seen.elements for name in attributes} <= ATTRIBUTES
        assert [text.strip() for text in seen.scripts] == [(PAGE / "page.js").read_text().strip()]
        for tag, attributes in seen.elements:
            if tag == "a":
                path, _, fragment = attributes["href"].partition("#")
                target = (page.parent / path).resolve() if path else page
                assert target in [other.resolve() for other in shown] or target == page
                assert not fragment or f'id="{fragment}"' in target.read_text(), attributes["href"]
            if tag == "img":
                assert re.fullmatch(r"(\.\./)?figures/[\w.-]+\.png", attributes["src"])
                assert (page.parent / attributes["src"]).is_file()
    for path in reports.rglob("*.md"):
        for letter in set(path.read_text()) - {"\n"}:
            assert unicodedata.category(letter) not in ("Cc", "Cf", "Cs"), path


@needs_browser
def test_nothing_of_a_record_runs_in_a_browser_even_without_the_policy(tmp_path, monkeypatch):
    folders = [hostile_reports(tmp_path / str(number), monkeypatch, *pair) for number, pair in enumerate(PAIRS)]
    shown = [page for both in folders for reports in both for page in sorted(reports.rglob("*.html"))]
    bodies = [re.sub(r"<meta http-equiv[^>]*>", "", page.read_text()) for page in shown]
    assert "data-ran" not in opened(tmp_path, "\n".join(bodies)).partition(">")[0]
    # Without escaping, the browser runs the script, unless the page has its content security policy.
    stolen = f"<script>{SET}</script><img src=x onerror={SET}></main>"
    assert "data-ran" in opened(tmp_path, bodies[0].replace("</main>", stolen)).partition("<head>")[0]
    guarded = shown[0].read_text().replace("</main>", stolen)
    assert "data-ran" not in opened(tmp_path, guarded).partition("<head>")[0]


def opened(folder, text):
    """The DOM of a page after a browser has loaded it."""
    (folder / "probe.html").write_text(text)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               f"--user-data-dir={folder / 'profile'}", "--dump-dom", (folder / "probe.html").as_uri()]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_raw_html_foreign_links_and_pictures_of_a_page_are_text():
    text = (
        f"{GENERATED}\n\n# T\n\n<script>x</script> <sup>1</sup> <sup>x</sup> [a](file:///etc/passwd) [b](../../c) "
        "[d](https://e.org) ![f](../../etc/passwd) ![g](figures/g.png)\n\n<div onclick=x>\n\n| a |\n|--:|\n| b |\n"
    )
    page = as_html({"README.md": text}, {"figures/other.png"})["index.html"]
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
    """The paths of all values in a nested record, as tuples of keys."""
    yield prefix
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from paths(entry, (*prefix, name))


def write_unchecked(results, data, folder=None):
    """Write any plain data as a record with a correct digest."""
    rest = {name: value for name, value in data.items() if name != "digest"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    path = results / "runs" / (folder or data["run_id"]) / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(rest | {"digest": digest}))


def mutated_records():
    """Yield folders and contents of records in which one field has one of ``VALUES``, for all fields and values.

    Each record has its own seed and, if possible, the run id that matches its configuration.
    """
    details = {"overrides": [], "limits_features": {"train": 1.0}, "judge_accuracy": 0.9, "peak_memory_bytes": 5,
               "information_images": 100, "teacher": "t", "judge_digest": "d"}  # fmt: skip
    metrics = {"elbo": -1.0, "mutual_information": 2.0}
    config = {"evaluation": {"information_images": 100}}
    seeds = itertools.count(1)
    for path in [path for path in paths(dataclasses.asdict(record(details=details, config=config))) if path]:
        for value in VALUES:
            made = record("vae", next(seeds), metrics, details=details, config=config)
            changed = copy.deepcopy(dataclasses.asdict(made))
            place = changed
            for name in path[:-1]:
                place = place[name]
            place[path[-1]] = value
            folder = made.run_id
            if path[0] == "config":
                with contextlib.suppress(ValueError, TypeError, LookupError, AttributeError):
                    folder = changed["run_id"] = run_id(changed["config"])
            is_name = isinstance(folder, str) and re.fullmatch(r"[\w.+-]{1,200}", folder)
            yield folder if is_name else made.run_id, changed


def test_a_mutated_record_costs_its_own_row_and_no_page(tmp_path):
    """Records that can be read break no report, and a message names each record that is refused."""
    store(tmp_path / "r", record("iwae"))
    mutated = list(mutated_records())
    for folder, data in mutated:
        write_unchecked(tmp_path / "r", data, folder)
    read, refused = read_records(tmp_path / "r")
    assert len(read) + len(refused) == len(mutated) + 1
    assert min(len(read), len(refused)) > 100
    messages = write_reports(tmp_path / "r", tmp_path / "reports")
    assert messages == refused
    assert all(message.startswith("left out: ") and "\n" not in message for message in messages)
    assert "[iwae](variants/iwae.md)" in (tmp_path / "reports" / "mnist.md").read_text()


def test_pages_stand_even_with_what_reading_refuses(tmp_path, monkeypatch):
    made = []
    for _, data in mutated_records():
        with contextlib.suppress(RecordError):
            made.append(Record(**data))
    assert len(made) > len(VALUES)
    monkeypatch.setattr("benchmarks.reporting.pages.read_records", lambda results: ([record("iwae"), *made], []))
    messages = write_reports(tmp_path / "none", tmp_path / "reports")
    assert all("\n" not in message for message in messages)
    assert "[iwae](variants/iwae.md)" in (tmp_path / "reports" / "mnist.md").read_text()


@pytest.mark.parametrize("text", ["".join(pair) for pair in PAIRS], ids=range(len(PAIRS)))
def test_a_hostile_name_is_refused_on_reading_and_costs_its_own_row_alone(tmp_path, text):
    store(tmp_path / "r", record("iwae"), record("vae"))
    assert write_reports(tmp_path / "r", tmp_path / "before") == []
    error = {"type": "E", "message": "m", "traceback": "t"}
    cases = {
        "variant must be a name": {"variant": text},
        "dataset must be a name": {"dataset": text},
        "profile must be a name": {"profile": text},
        "its run id is": {"run_id": text},
        "is not one of ok, failed, diverged": {"status": text},
        "is not a time": {"finished": text},
        "a name in metrics must be a name": {"metrics": {text: 1.0}},
        "a name in timing must be a name": {"timing": {text: 1.0}},
        "a name in not_applicable must be a name": {"not_applicable": {text: "why"}},
        "error must have": {"status": "failed", "error": error | {text: "more"}},
        "unknown fields": {text: 1},
    }
    for seed, changes in enumerate(cases.values(), 11):
        data = dataclasses.asdict(record("vae", seed)) | changes
        config = data["config"]
        for part in ("variant", "dataset"):
            config[part]["name"] = data[part]
        config["profile"] = data["profile"]
        if "run_id" not in changes:
            data["run_id"] = run_id(config)
        write_unchecked(tmp_path / "r", data, str(seed))
    messages = write_reports(tmp_path / "r", tmp_path / "after")
    for seed, (reason, message) in enumerate(zip(cases, messages, strict=True), 11):
        assert message.startswith(f"left out: {tmp_path / 'r' / 'runs' / str(seed) / 'record.json'}: ")
        assert reason in message or "is not Unicode" in message
        assert "\n" not in message
    # The reports are the same, byte for byte, as without these records.
    assert pages(tmp_path / "after") == pages(tmp_path / "before")


@pytest.mark.parametrize(
    "text", ["$(touch x)", "`touch x`", "a; touch x", '"; touch x; "', "'; touch x; '", "$(shell touch x)", "a\\", "!!",
             "`'; touch x; '`", "<(touch x)"]
)  # fmt: skip
def test_a_command_that_people_copy_runs_nothing_of_a_record(tmp_path, text):
    shown = code(f"make VARIANTS={argument(text)} OVERRIDES={quoted([text])}", 2000).strip("`")
    # As in the suite's Makefile, the values are passed to the shell in single quotes.
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
