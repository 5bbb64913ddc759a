"""The report as its reader meets it: in a browser, without a network, one click after the other."""

import base64
import contextlib
import csv
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from playwright.sync_api import Browser, Download, Locator, Page, TimeoutError, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DEADLINE_MS = 30_000  # of one click, or one wait for what it brings
LOST_CLICKS = 3
LOCAL = ("file:", "data:", "blob:", "about:")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on PATH; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=executable, chromium_sandbox=os.getuid() != 0, timeout=2 * DEADLINE_MS
        )
        yield started
        started.close()


def opened(browser: Browser, path: Path) -> tuple[Page, list[str]]:
    """The page without a network, and the list that fills with its faults: errors, and what it asks of others."""
    page, faults = browser.new_page(viewport={"width": 1600, "height": 1000}), []
    page.set_default_timeout(DEADLINE_MS)
    page.context.set_offline(True)
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith(LOCAL) else faults.append(request.url))
    page.goto(path.as_uri())
    return page, faults


@pytest.fixture
def report(made, browser) -> Iterator[Page]:
    page, faults = opened(browser, made / "report.html")
    yield page
    page.close()
    assert faults == []


def results(page: Page) -> dict[str, list[str]]:
    """Category -> the files that it should offer."""
    return {
        category: [path for paths in subcategories.values() for path in paths]
        for category, subcategories in page.evaluate("categories").items()
    }


def entries(page: Page, category: str):
    """The category's entries, once it was clicked in the menu: each has an eye, and an i for its caption."""
    page.reload()
    page.locator("nav").get_by_text(category, exact=True).click()
    return page.locator("nav tbody tr")


def download(page: Page, link: Locator) -> Download:
    """What a click on the link saves. A Chromium that was just started loses first clicks, for up to a minute."""
    for _ in range(LOST_CLICKS):
        with contextlib.suppress(TimeoutError):
            with page.expect_download() as started:
                link.click()
            return started.value
    with page.expect_download() as started:
        link.click()
    return started.value


def is_drawn(element) -> bool:
    """Whether what the screen shows at this element is more than one flat colour."""
    darkest, lightest = Image.open(io.BytesIO(element.screenshot())).convert("L").getextrema()
    return lightest - darkest > 100


@pytest.mark.parametrize(
    "body",
    ["<script>missing()</script>", "<script>console.error('no')</script>", "<img src='http://192.0.2.1/a.png'>"],
    ids=["exception", "console", "network"],
)
def test_a_fault_of_a_page_is_seen(body, browser, tmp_path):
    """In the page itself, and in one that it frames, as the report frames the notebook."""
    (tmp_path / "plain.html").write_text(body)
    (tmp_path / "framed.html").write_text(f'<iframe src="data:text/html,{quote(body)}"></iframe>')
    for name in ("plain.html", "framed.html"):
        page, faults = opened(browser, tmp_path / name)
        page.wait_for_load_state("load")
        page.close()
        assert faults, name


def test_every_figure_is_shown_with_its_caption(report, made):
    wanted = {base64.b64encode(path.read_bytes()).decode(): path.stem for path in (made / "figures").glob("*.svg")}
    shown = set()
    for category, paths in results(report).items():
        if not any(path.endswith(".svg") for path in paths):
            continue
        rows = entries(report, category)
        assert rows.count() == len(paths)
        for number, _ in enumerate(paths):
            row = rows.nth(number)
            links = row.get_by_role("link").or_(row.locator("a"))
            if links.first.get_attribute("download"):
                continue  # a table
            links.first.click()
            image = report.locator("#app img:not(nav img)")
            image.wait_for()
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
            assert is_drawn(image)
            name = wanted[image.get_attribute("src").split("base64,")[1]]
            links.nth(1).click()
            report.locator("nav").get_by_text("Held fixed").wait_for()
            shown.add(name)
            rows = entries(report, category)
    assert shown == set(wanted.values()) and shown


def test_every_table_can_be_saved(report, made):
    wanted = {path.name: path.read_bytes() for path in (made / "tables").glob("*.csv")}
    saved = {}
    for category, paths in results(report).items():
        links = entries(report, category).locator("a[download$='.csv']")
        for number in range(sum(path.endswith(".csv") for path in paths)):
            file = download(report, links.nth(number))
            saved[file.suggested_filename] = Path(file.path()).read_bytes()
    assert saved == wanted and "runs.csv" in saved


@pytest.mark.parametrize("category", ["Analysis", "Configuration", "Runs"])
def test_a_page_is_shown_within_the_report(category, report, made):
    entries(report, category).locator("a").first.click()
    framed = report.frame_locator("iframe")
    framed.locator("h1").wait_for()
    text = framed.locator("body").inner_text()
    images = framed.locator("img")
    for number in range(images.count()):
        assert images.nth(number).evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    if category == "Analysis":
        assert images.count() == len(list((made / "figures").glob("*.png")))
        assert "Not run" in text and "published numbers have a counterpart" in text
    elif category == "Configuration":
        assert "results: results/test" in text and "kind: backlog" in text
    else:
        with (made / "tables/runs.csv").open(newline="") as file:
            assert {f"{row['run']}/{row['repetition']}" for row in csv.DictReader(file)} <= set(text.split())
        framed.locator("summary").first.click()
        assert '"accounting"' in framed.locator("details").first.inner_text()
