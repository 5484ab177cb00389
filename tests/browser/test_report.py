"""The rendered page in a real browser: Debian's chromium, headless, from a file, without a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "report"))
import fabricated  # the invented report lives with the report's own tests

from wsis.report.render import render_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed (extra: dev)")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM.exists() and DRIVER.exists()),
    reason="needs /usr/bin/chromium and /usr/bin/chromedriver (apt-get install chromium chromium-driver)",
)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report = fabricated.report()
    roots = fabricated.results(folder / "results", report)
    return render_report(report, folder / "results", folder / "out", roots).as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def open_page(browser, page: str, width: int = 1280, scheme: str = "light") -> None:
    """Load the page afresh at `width` CSS pixels."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get("about:blank")
    browser.get(page)


def column(browser, table: str, index: int) -> list[str]:
    """What the first line of each cell of a column says, from top to bottom; column 0 holds the labels."""
    script = """return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]
        .map((row) => row.cells[arguments[1]])
        .map((cell) => (cell.querySelector(".value, .none") || cell).innerText)"""
    return browser.execute_script(script, table, index)


@pytest.mark.parametrize("width", [1280, 800, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_errors_and_without_sideways_scrolling(browser, page, width, scheme):
    open_page(browser, page, width, scheme)
    assert browser.execute_script("return innerWidth") == width
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    loaded = """const done = arguments[arguments.length - 1];
        for (const image of document.images) image.loading = "eager";
        Promise.all([...document.images].map((image) => image.decode()))
          .then(() => done([...document.images].map((image) => image.naturalWidth)), () => done([0]));"""
    widths = browser.execute_async_script(loaded)
    assert widths and all(widths)
    assert browser.get_log("browser") == []


def test_text_is_legible_in_both_colour_schemes(browser, page):
    """Contrast of at least 4.5 (WCAG AA) for body text, and the schemes really differ."""
    script = """
        const luminance = (colour) => {
          const [r, g, b] = colour.match(/[0-9.]+/g).map((v) => v / 255)
            .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const back = luminance(getComputedStyle(document.body).backgroundColor);
        const names = [".card p", ".published", "td.measured .value", ".notrun", "a", "figcaption"];
        const found = names.map((name) => {
          const text = luminance(getComputedStyle(document.querySelector(`main ${name}`)).color);
          return (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05);
        });
        return [back, ...found];"""
    backs = {}
    for scheme in ("light", "dark"):
        open_page(browser, page, scheme=scheme)
        backs[scheme], *contrasts = browser.execute_script(script)
        assert min(contrasts) >= 4.5
    assert backs["light"] > 0.8 and backs["dark"] < 0.1


def test_a_header_sorts_by_number_both_ways_and_back(browser, page):
    open_page(browser, page)
    table = "table-boxinst-table-3"
    order = column(browser, table, 0)
    button = browser.find_elements(By.CSS_SELECTOR, f"#{table} thead button")[1]

    def measured() -> list[float]:
        script = """return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]
            .map((row) => row.cells[1].dataset.measured).filter((key) => key !== undefined)"""
        return [float(text) for text in browser.execute_script(script, table)]

    assert len(measured()) == 3 and measured() != sorted(measured(), reverse=True)
    button.click()
    assert measured() == sorted(measured())
    assert browser.execute_script("return arguments[0].parentElement.ariaSort", button) == "ascending"
    assert "not run" in column(browser, table, 1)[-1]  # rows without a measured number come last ...
    button.click()
    assert measured() == sorted(measured(), reverse=True)
    assert "not run" in column(browser, table, 1)[3]  # ... in both directions, by their published one
    button.click()
    assert column(browser, table, 0) == order


def test_columns_of_ours_sort_too(browser, page):
    """They stand under a header of their own, which does not shift what a button sorts."""
    open_page(browser, page)
    table = "table-sim-table-3"
    result = fabricated.measures_table()
    measure = "instance_AUC_overlap"
    means = {label: result.cells[label, measure].mean for label in result.table.labels}
    wanted = sorted((label for label in means if means[label] is not None), key=lambda label: means[label])
    buttons = browser.find_elements(By.CSS_SELECTOR, f"#{table} thead button")
    assert len(buttons) == 1 + len(result.table.metrics)
    buttons[1 + result.table.metrics.index(measure)].click()
    labels = [
        text.split("\n")[0].removesuffix(" ours").removesuffix(" reference").strip()
        for text in column(browser, table, 0)
    ]
    assert labels[: len(wanted)] == wanted


@pytest.mark.parametrize("width", [1280, 400])
def test_pictures_are_readable_at_any_width(browser, page, width):
    """A sheet is not shrunk below 34 rem: on a narrow page it scrolls in a frame of its own."""
    open_page(browser, page, width)
    script = """
        const images = [...document.querySelectorAll(".picture img")];
        return images.map((image) => {
          const frame = image.closest(".scroll");
          const drawn = image.getBoundingClientRect().width;
          return [Number(image.getAttribute("width")), drawn, frame.clientWidth, frame.scrollWidth];
        });"""
    found = browser.execute_script(script)
    assert len(found) == 2
    for natural, drawn, frame, inner in found:
        assert min(natural, 500) - 1 <= drawn <= natural and inner >= drawn - 1
        assert (inner > frame) == (width == 400)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_numbers_sort_as_numbers_and_by_keyboard(browser, page):
    """As text 12 stands before 2; the expected order comes from the report, not from the page."""
    open_page(browser, page)
    result = fabricated.systems_table()
    means = {label: result.cells[label, "APL"].mean for label in result.table.labels}
    wanted = sorted((label for label in means if means[label] is not None), key=lambda label: means[label])
    button = browser.find_elements(By.CSS_SELECTOR, "#table-boxinst-table-3 thead button")[6]
    button.send_keys(Keys.ENTER)
    texts = column(browser, "table-boxinst-table-3", 0)
    shown = [text.split("\n")[0].removesuffix(" reference") for text in texts]
    assert [text.strip() for text in shown][:3] == wanted


def test_claims_filter_by_verdict_and_words(browser, page):
    open_page(browser, page)
    rows = "return [...document.querySelectorAll('#claims-table tr.claim')].filter((r) => !r.hidden)"
    verdicts = rows + ".map((r) => r.dataset.verdict)"
    assert sorted(browser.execute_script(verdicts)) == [
        "contradicted",
        "inconclusive",
        "reproduced",
        "reproduced",
        "reproduced",
    ]
    browser.find_element(By.CSS_SELECTOR, "button[data-verdict='not run']").click()
    assert set(browser.execute_script(verdicts)) == {"not run"}
    browser.find_element(By.CSS_SELECTOR, "button[data-verdict='']").click()
    browser.find_element(By.CSS_SELECTOR, ".filters input").send_keys("threshold")
    assert browser.execute_script(verdicts) == ["inconclusive"]
    groups = "return [...document.querySelectorAll('#claims-table tbody')].filter((g) => !g.hidden).length"
    assert browser.execute_script(groups) == 1


def test_a_link_opens_a_collapsed_table(browser, page):
    open_page(browser, page)
    browser.find_element(By.CSS_SELECTOR, "nav a[href='#sim-table-1']").click()
    assert browser.execute_script("return document.getElementById('sim-table-1').open")


def test_the_answer_comes_before_the_tables_and_the_legend_before_the_first_cell(browser, page):
    """Cards, legend, tables, claims, errata and provenance stand below each other in this order."""
    open_page(browser, page)
    places = browser.execute_script("""
        const of = (name) => document.querySelector(name).getBoundingClientRect().top + scrollY;
        return ["#card-boxinst", "#card-sim", "details.reading", "table.data", "#claims", "#errata",
                "#provenance"].map(of);""")
    assert places == sorted(places) and places[0] < 900
    assert len(browser.find_elements(By.CSS_SELECTOR, "details.reading")) == 1


def test_a_link_to_claims_that_are_filtered_away_shows_them(browser, page):
    open_page(browser, page)
    group = "claims-boxinst-table-5"
    assert browser.execute_script("return document.getElementById(arguments[0]).hidden", group)
    browser.execute_script("location.hash = arguments[0]", group)
    shown = "return !document.getElementById(arguments[0]).hidden"
    WebDriverWait(browser, 5).until(lambda b: b.execute_script(shown, group))


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_no_text_overlaps(browser, page, width):
    """Boxes of words outside of drawings don't intersect, line by line, on the cards and in a table."""
    open_page(browser, page, width)
    script = """
        const boxes = [];
        for (const root of document.querySelectorAll("header, .card, #boxinst-table-1a, #claims")) {
          const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const node = walker.currentNode;
            const unseen = node.parentElement.closest("svg, [hidden], details:not([open]), .scroll");
            if (!node.textContent.trim() || unseen && !unseen.matches(".scroll")) continue;
            const range = document.createRange();
            range.selectNodeContents(node);
            for (const r of range.getClientRects()) if (r.width > 1) boxes.push([r, node.textContent.trim()]);
          }
        }
        const bad = [];
        for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
          const [a, b] = [boxes[i][0], boxes[j][0]];
          const w = Math.min(a.right, b.right) - Math.max(a.left, b.left);
          const h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
          if (w > 2 && h > 0.5 * Math.min(a.height, b.height)) bad.push([boxes[i][1], boxes[j][1]]);
        }
        return bad;"""
    assert browser.execute_script(script) == []
