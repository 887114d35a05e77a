"""The report in a real browser: opened from the disk without network, and used as a reader would."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait
from test_page import start_browser

from led_pipeline.report.contents import read_report
from led_pipeline.report.page import write_page

SMALL_RUN = Path(__file__).parents[1] / "unit" / "inspection" / "conftest.py"

pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(
        not (shutil.which("chromedriver") and (shutil.which("chromium") or shutil.which("google-chrome"))),
        reason="needs chromium and chromedriver: apt install chromium-driver",
    ),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    specification = importlib.util.spec_from_file_location("small_run_of_inspection", SMALL_RUN)
    small = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(small)
    run = small.write_run_folder(tmp_path_factory.mktemp("results") / "small")
    log = Path(run.layout.train_log("led"))
    log.parent.mkdir(parents=True)
    lines = [{"step": i, "loss": 2.0 / i, "learning_rate": 1e-4, "seconds": float(i)} for i in range(1, 40)]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    path = Path(run.layout.page)
    write_page(path, read_report(run.recipe, run.folder, None))
    return path


@pytest.fixture(scope="module")
def chrome():
    driver = start_browser(1300, 900)
    yield driver
    driver.quit()


@pytest.fixture
def browser(page, chrome):
    """The page in a browser, which has logged nothing and asked for no other address at the end."""
    chrome.get_log("browser"), chrome.get_log("performance")
    chrome.get(page.as_uri())
    drawn(chrome)
    yield chrome
    assert chrome.get_log("browser") == []
    messages = [json.loads(line["message"])["message"] for line in chrome.get_log("performance")]
    sent = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url for url in sent if not url.startswith(("blob:", "data:", "chrome"))} == {page.as_uri()}


def wait(browser, condition):
    return WebDriverWait(browser, 60, poll_frequency=0.1).until(lambda _: condition())


def drawn(browser):
    wait(browser, lambda: browser.execute_script("return document.body.dataset.drawn === 'yes'"))


def ranks(browser) -> list[list[str]]:
    rows = browser.find_elements(By.CSS_SELECTOR, "#query-table tbody tr")
    return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in rows]


def test_every_chart_is_drawn_and_says_what_it_shows(browser):
    views = browser.find_elements(By.CSS_SELECTOR, ".view")
    assert len(views) >= 8
    for view in views:
        assert view.find_elements(By.TAG_NAME, "svg"), view.get_attribute("id")
        assert len(view.get_attribute("aria-label")) > 20


def test_two_systems_are_chosen_with_the_keyboard(browser):
    sentence = lambda: browser.find_element(By.ID, "pair").text  # noqa: E731
    bars = lambda: browser.find_element(By.CSS_SELECTOR, "#chart-where-queries svg").get_attribute("innerHTML")  # noqa: E731
    assert sentence().startswith("MRR@10 of led minus bm25")
    before = bars()
    box = browser.find_element(By.ID, "second")
    box.send_keys("lex", Keys.ENTER)
    wait(browser, lambda: sentence().startswith("MRR@10 of led minus lex"))
    wait(browser, lambda: bars() != before)
    assert Select(box).first_selected_option.text == "lex"
    assert "equal on" in sentence()


def test_the_table_of_queries_is_filled_when_a_reader_comes_to_it_and_is_searched(browser):
    assert ranks(browser) == []
    browser.execute_script("document.getElementById('queries').scrollIntoView()")
    wait(browser, lambda: len(ranks(browser)) == 15)
    assert browser.find_element(By.CSS_SELECTOR, ".dt-info").text == "Showing 1 to 15 of 20 entries"
    browser.find_element(By.CSS_SELECTOR, ".dt-search input").send_keys("dev17")
    wait(browser, lambda: len(ranks(browser)) == 1)
    (row,) = ranks(browser)
    assert row[:2] == ["question dev17", "dev17"]


@pytest.mark.parametrize("width", [390, 1300])
def test_the_page_is_no_wider_than_the_window(browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.refresh()
    drawn(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
