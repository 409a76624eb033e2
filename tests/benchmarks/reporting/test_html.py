"""The page in a browser: it opens without errors or requests, sorts and filters its tables, and fits narrow screens."""

import base64
import hashlib
import json
import re
import shutil
import subprocess

import pytest

from benchmarks.reporting import write_reports

from .test_reports import NATS, record, store

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def page(tmp_path):
    values = {"vae": -94.0, "iwae": -91.5, "beta_vae": -109.0, "logcosh_vae": -230.0}
    for name, value in values.items():
        store(tmp_path / "r", *(record(name, s, NATS | {"log_likelihood": value + s, "mse": 0.02}) for s in (0, 1, 2)))
    store(tmp_path / "r", record("wae_mmd", 0, {"mse": 0.01}))
    write_reports(tmp_path / "r", tmp_path / "reports", html=True)
    return tmp_path / "reports" / "mnist.html"


def test_pages_need_no_network_and_their_links_lead_to_each_other(page):
    reports = page.parent
    for path in sorted(reports.rglob("*.html")):
        text = path.read_text()
        # Pages may link to papers, but the only files that they load are the pictures of the reports.
        for source in re.findall(r'(?:src|srcset)="([^"]*)"', text):
            assert (path.parent / source).resolve().parent == (reports / "figures").resolve()
        assert "<link" not in text
        assert "@import" not in text
        assert "url(" not in text
        for link in re.findall(r'href="([^"]+)"', text):
            if not link.startswith("https://"):
                name, _, fragment = link.partition("#")
                target = (path.parent / name).read_text() if name else text
                assert not fragment or f'id="{fragment}"' in target, (path, link)
    assert 'href="mnist.html#profile-quick"' in (reports / "index.html").read_text()
    assert 'href="variants/iwae.html"' in page.read_text()


def in_browser(page, script, width=1440):
    """Evaluate ``script``, a JavaScript expression, at the end of the page.

    Returns its value, passed on as JSON, and the messages of the console.
    """
    probe = page.with_name("probe.html")
    program = f"document.body.dataset.found = JSON.stringify({script});"
    # The content security policy allows only the page's own script, so the hash of this one is added.
    allowed = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    text = page.read_text().replace("script-src ", f"script-src &#x27;sha256-{allowed}&#x27; ")
    probe.write_text(text.replace("</body>", f"<script>{program}</script></body>"))
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--hide-scrollbars",
        f"--window-size={width},900", f"--user-data-dir={page.parent / 'profile'}", "--dump-dom", probe.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    (found,) = re.findall(r'<body data-found="([^"]*)"', done.stdout)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return json.loads(found.replace("&quot;", '"')), console


needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


@needs_browser
def test_a_click_on_a_heading_sorts_and_a_second_one_turns_the_order(page):
    script = """(() => {
      const table = [...document.querySelectorAll("table.rows")]
        .find((t) => t.tHead.textContent.includes("log p(x)"));
      const heads = [...table.tHead.rows[0].cells];
      const column = heads.findIndex((h) => h.textContent.startsWith("log p(x)"));
      const order = () => [...table.tBodies[0].rows].map((r) => r.cells[0].textContent);
      heads[column].querySelector("button").click();
      const up = order();
      heads[column].querySelector("button").click();
      return [up, order(), heads[column].getAttribute("aria-sort")];
    })()"""
    (first, second, state), console = in_browser(page, script)
    # Higher is better, so the first click sorts the highest value to the top.
    assert first == ["iwae", "vae", "beta_vae", "logcosh_vae", "wae_mmd"]
    assert second == ["logcosh_vae", "beta_vae", "vae", "iwae", "wae_mmd"]
    assert state == "ascending"
    assert console == []


@needs_browser
def test_dates_are_sorted_as_dates(page):
    script = """(() => {
      const cell = (text) => Object.assign(document.createElement("td"), {textContent: text});
      const dates = ["2026-11-26", "2026-03-01", "2025-12-31"].map((text) => key(cell(text)));
      return [[...dates].sort((a, b) => compare(a, b, 1)), key(cell("1,024.5 ± 2"))];
    })()"""
    (dates, number), console = in_browser(page, script)
    assert dates == ["2025-12-31", "2026-03-01", "2026-11-26"]
    assert number == 1024.5
    assert console == []


@needs_browser
def test_the_filter_filters(page):
    script = """(() => {
      const box = document.getElementById("filter");
      const shown = () => [...document.querySelectorAll("table.rows")].map((t) =>
        [...t.tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[0].textContent));
      box.value = "beta";
      box.dispatchEvent(new Event("input"));
      const some = shown();
      box.value = "";
      box.dispatchEvent(new Event("input"));
      return [some, shown()];
    })()"""
    (some, every), console = in_browser(page, script)
    assert len(some) == len(every) > 0
    assert all(rows == ["beta_vae"] for rows in some)
    assert all(len(rows) >= 4 for rows in every)
    assert console == []


@needs_browser
def test_a_family_can_be_chosen_columns_hidden_and_the_table_saved(page):
    script = """(() => {
      const table = document.querySelector("table.rows");
      const family = document.getElementById("family");
      family.value = "bounds";
      family.dispatchEvent(new Event("change"));
      const bar = table.closest(".scroll").previousElementSibling;
      const box = [...bar.querySelectorAll("label")].find((l) => l.textContent.includes("ELBO")).firstChild;
      box.click();
      return [[...family.options].map((o) => o.value), csv(table), budget.parentElement.hidden];
    })()"""
    (families, text, one_budget), console = in_browser(page, script)
    assert families == ["", "autoencoders", "bounds", "disentangling", "reconstruction losses"]
    header, *lines = text.strip().split("\r\n")
    assert header.startswith('"variant","family","rank","parameters","log p(x) ↑"')
    assert [line.split(",")[0] for line in lines] == ['"iwae"', '"vae"']
    assert one_budget
    assert console == []


@needs_browser
def test_sections_of_one_budget_can_be_shown_alone(page):
    store(page.parents[1] / "r", record("vae", 7, NATS, profile="standard", config={"training": {"epochs": 100}}))
    write_reports(page.parents[1] / "r", page.parent, html=True)
    script = """(() => {
      budget.value = "quick";
      budget.dispatchEvent(new Event("change"));
      return [...document.querySelectorAll("h2")].map((h) => [h.textContent, h.offsetParent !== null]);
    })()"""
    found, console = in_browser(page, script)
    assert found == [["Profile standard", False], ["Profile quick", True]]
    assert console == []


@needs_browser
@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_is_no_wider_than_the_screen(page, width):
    # Headless windows have a minimum width, so the page is put into an element of the tested width.
    script = """(() => {
      const frame = document.createElement("div");
      frame.style.width = "WIDTHpx";
      frame.append(document.querySelector("nav"), document.querySelector("main"));
      document.body.prepend(frame);
      const wide = [...frame.querySelectorAll("*")].filter((e) => !e.closest(".scroll") && !e.closest("pre") &&
        e.getBoundingClientRect().right > WIDTH + 1).map((e) => e.outerHTML.slice(0, 80));
      return wide;
    })()""".replace("WIDTH", str(width))
    wide, console = in_browser(page, script)
    assert wide == []
    assert console == []
