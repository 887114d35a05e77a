"""The page in a real browser: Debian's chromium with chromedriver, headless.

Most tests use a small hand-made session in this process; the last ones start `led serve` on a run with tiny models.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from page_run import SmallSession
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

sys.path.append(str(Path(__file__).parents[1] / "unit" / "use"))
import small_run

from led_pipeline.serve.app import make_app
from led_pipeline.serve.server import LONGEST_ADDRESS, listen
from led_pipeline.serve.site import Site
from led_pipeline.serve.view import LONGEST_QUERY

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.pipeline,
    pytest.mark.skipif(not (DRIVER and BROWSER), reason="needs chromium and chromedriver: apt install chromium-driver"),
]


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> SmallSession:
    return SmallSession(tmp_path_factory.mktemp("page") / "small")


@pytest.fixture(scope="module")
def base(session) -> Iterator[str]:
    """The address of a server in a thread of this process."""
    with listen("127.0.0.1", 0) as listening:
        settings = {"log_level": "warning", "lifespan": "off", "h11_max_incomplete_event_size": LONGEST_ADDRESS}
        server = uvicorn.Server(uvicorn.Config(make_app(Site(session)), http="h11", ws="none", **settings))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


def start_browser(width: int = 1280, height: int = 900, load: str = "normal"):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.page_load_strategy = load
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    # A page that loads anything from elsewhere would show it in the log as an error.
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--window-size={width},{height}"]
    for flag in flags:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="module")
def chrome():
    driver = start_browser()
    yield driver
    driver.quit()


@pytest.fixture
def browser(chrome):
    """A browser that logs no error, and asks nobody but the server of the page."""
    chrome.get_log("browser"), chrome.get_log("performance")
    yield chrome
    assert [line for line in chrome.get_log("browser") if line["level"] == "SEVERE"] == []
    messages = [json.loads(line["message"])["message"] for line in chrome.get_log("performance")]
    sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert {urlsplit(url).hostname for url in sent if not url.startswith(("chrome", "about", "data:"))} <= {"127.0.0.1"}


def wait(browser, condition: Callable, seconds: float = 60):
    return WebDriverWait(browser, seconds, poll_frequency=0.05).until(lambda _: condition())


def every(browser, css: str) -> list:
    return browser.find_elements(By.CSS_SELECTOR, css)


def texts(browser, css: str) -> list[str]:
    return [element.text for element in every(browser, css)]


def press(browser, *keys: str) -> None:
    webdriver.ActionChains(browser).send_keys(*keys).perform()


def focused(browser):
    return browser.switch_to.active_element


def columns(browser) -> list[str]:
    return texts(browser, ".column h2")


def test_a_typed_query_gives_columns_side_by_side(browser, base):
    browser.get(f"{base}/?system=bm25&system=den")
    press(browser, "heap queue", Keys.ENTER)  # the box has the focus
    wait(browser, lambda: columns(browser) == ["bm25", "den"])
    left, right = (column.rect for column in every(browser, ".column"))
    assert left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
    assert texts(browser, "#column-1 .hit h3 a")[0] == "heap queue"
    assert any("+" in move for move in texts(browser, "#column-2 .move"))
    assert "relevant" in every(browser, ".hit")[0].get_attribute("class"), "d0 of the dev queries"


def test_systems_are_added_with_a_click_and_back_and_forward_work(browser, base):
    browser.get(f"{base}/?q=queue&system=bm25")
    every(browser, ".chip")[-1].click()  # lex
    wait(browser, lambda: columns(browser) == ["bm25", "lex"])
    assert "system=bm25&system=lex" in browser.current_url
    every(browser, ".chip")[0].click()
    wait(browser, lambda: columns(browser) == ["lex"])
    checked = "return [...document.querySelectorAll('.chip input:checked')].map(e => e.value)"
    for step, expected in (("back", ["bm25", "lex"]), ("back", ["bm25"]), ("forward", ["bm25", "lex"])):
        getattr(browser, step)()
        wait(browser, lambda expected=expected: columns(browser) == expected)
        wait(browser, lambda expected=expected: browser.execute_script(checked) == expected)


def test_no_fifth_system_can_be_chosen(browser, base):
    browser.get(f"{base}/?q=queue&system=bm25&system=twin&system=more")
    every(browser, ".chip")[3].click()
    wait(browser, lambda: len(columns(browser)) == 4)
    boxes = every(browser, ".chip input")
    assert [box.get_attribute("value") for box in boxes if not box.is_enabled()] == ["lex"]


def test_a_passage_is_opened_and_left_with_the_keyboard(browser, base):
    browser.get(f"{base}/?q=heap+queue&system=bm25&system=lex")
    press(browser, "j", Keys.ENTER)
    wait(browser, lambda: every(browser, ".passage"))
    assert texts(browser, ".passage .grade") == ["relevant for this query, grade 2"]
    assert "A heap queue gives the smallest item first." in texts(browser, ".passage .body")
    assert texts(browser, ".scored mark")
    assert texts(browser, ".panel h2")[1:] == [
        "Around it in the collection",
        "Judged for",
        "In the trainsets",
        "Nearest by den",
    ]
    press(browser, "u")
    wait(browser, lambda: columns(browser) == ["bm25", "lex"])


def test_an_empty_query_stays_on_the_first_page_with_its_hint(browser, base):
    browser.get(f"{base}/?system=bm25&system=den")
    press(browser, "   ", Keys.ENTER)
    wait(browser, lambda: "q=" in browser.current_url)
    assert "Type a query" in every(browser, "h1")[0].text
    every(browser, ".examples a")[0].click()
    wait(browser, lambda: columns(browser) == ["bm25", "den"])
    assert every(browser, "#q")[0].get_attribute("value") == "heap queue"


def test_a_passage_with_a_script_is_text(browser, base):
    for path in (
        "/?q=mind&system=bm25&system=lex",
        "/passages/2?q=mind&system=lex",
        "/?q=<script>window.broken=2</script>",
    ):
        browser.get(base + path)
        assert browser.execute_script("return [window.broken, document.images.length]") == [None, 0]
    browser.get(f"{base}/?q=mind&system=bm25")
    assert "<script>window.broken = 1</script>" in texts(browser, ".hit .text")[0]
    assert texts(browser, ".hit h3 a") == ["<b>bold</b> & co"]


def test_a_very_long_query_is_refused_before_it_is_sent_and_by_the_server(browser, base, session):
    browser.get(f"{base}/?system=bm25")
    browser.execute_script("document.getElementById('q').value = 'word '.repeat(100000)")
    session.searched.clear()
    press(browser, "x", Keys.ENTER)
    message = every(browser, "#too-long")[0]
    assert message.is_displayed() and "500,001" in message.text and f"{LONGEST_QUERY:,}" in message.text
    every(browser, "#q")[0].clear()
    every(browser, "#q")[0].send_keys("queue")
    assert not message.is_displayed()
    press(browser, Keys.ENTER)
    wait(browser, lambda: columns(browser) == ["bm25"])


def test_the_server_answers_an_address_of_a_megabyte_with_a_sentence(base):
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{base}/?q={'a' * 1_000_000}")
    assert error.value.code == 414 and b"1,000,000 characters; at most" in error.value.read()


def test_two_tabs_search_at_once(base, session):
    driver = start_browser(load="none")
    try:
        driver.get(f"{base}/?system=bm25")
        wait(driver, lambda: every(driver, "#q"))
        session.slow = {"den": 3.0}
        started = time.monotonic()
        driver.execute_script("window.open(arguments[0])", f"{base}/?q=queue&system=den")
        driver.get(f"{base}/?q=queue&system=bm25")
        wait(driver, lambda: len(every(driver, ".hit")) == 10)
        assert time.monotonic() - started < 3, "the other tab still searches"
        driver.switch_to.window(driver.window_handles[1])
        wait(driver, lambda: len(every(driver, ".hit")) == 10)
        assert time.monotonic() - started > 3
    finally:
        session.slow = {}
        driver.quit()


def test_keys_move_between_results_and_columns(browser, base):
    browser.get(f"{base}/?q=heap+queue&system=bm25&system=den")
    row = "return document.activeElement.closest('li')?.dataset.row"
    rows = {n: [e.get_attribute("data-row") for e in every(browser, f"#column-{n} .hit")] for n in (1, 2)}
    press(browser, "j", "j", Keys.ARROW_DOWN, "k")
    assert browser.execute_script(row) == rows[1][1]
    press(browser, Keys.ARROW_RIGHT)
    same = rows[1][1] if rows[1][1] in rows[2] else rows[2][1]
    assert browser.execute_script(row) == same and focused(browser).find_elements(
        By.XPATH, "ancestor::*[@id='column-2']"
    )
    assert {e.get_attribute("data-row") for e in every(browser, ".twin")} in ({same}, set())
    press(browser, *["j"] * 20)
    assert browser.execute_script(row) == rows[2][-1], "the end of a column is the end"
    press(browser, "/")
    assert focused(browser).get_attribute("id") == "q"
    press(browser, Keys.ESCAPE, "?")
    dialog = every(browser, "dialog")[0]
    assert dialog.is_displayed() and "go to the query box" in dialog.text
    press(browser, Keys.ESCAPE)
    wait(browser, lambda: not dialog.is_displayed())
    browser.get(f"{base}/queries?system=bm25&system=den")
    press(browser, "j", "j", Keys.ENTER)
    wait(browser, lambda: every(browser, "#q")[0].get_attribute("value") == "stack of items")


def test_the_list_of_queries_is_filtered_and_sorted(browser, base):
    browser.get(f"{base}/queries?system=bm25&system=den")
    Select(browser.find_element(By.NAME, "order")).select_by_value("first")
    wait(browser, lambda: texts(browser, "tbody a")[0] == "stack of items")
    browser.find_element(By.NAME, "words").send_keys("filler 99", Keys.ENTER)
    wait(browser, lambda: texts(browser, "tbody a") == ["filler 99 of the list"])


PAGES = [
    "/",
    "/?q=heap+queue&system=bm25&system=den&system=lex&system=rank",
    "/queries",
    "/passages/0?q=heap&system=lex",
    "/help",
]


def emulate(browser, width: int = 0, dark: bool = False) -> None:
    if width:
        metrics = {"width": width, "height": 800, "deviceScaleFactor": 2, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    else:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


@pytest.fixture
def emulated(browser):
    yield browser
    emulate(browser)


@pytest.mark.parametrize("width", [320, 390, 768])
def test_pages_fit_on_a_phone_without_horizontal_scrolling(emulated, base, width):
    emulate(emulated, width)
    for path in PAGES:
        emulated.get(base + path)
        assert emulated.execute_script("return document.documentElement.scrollWidth") <= width, path


def test_columns_are_tabs_on_a_phone(emulated, base):
    emulate(emulated, 390)
    emulated.get(f"{base}/?q=queue&system=bm25&system=den")
    assert [column.is_displayed() for column in every(emulated, ".column")] == [True, False]
    every(emulated, ".tabs a")[1].click()
    assert [column.is_displayed() for column in every(emulated, ".column")] == [False, True]


# The contrast of texts with what is behind them, by WCAG 2; colours are painted, so that every notation works.
CONTRAST = """
const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
const context = canvas.getContext('2d', {willReadFrequently: true});
const linear = (v) => (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
function luminance(layers) {
  context.clearRect(0, 0, 1, 1);
  for (const colour of layers) { context.fillStyle = colour; context.fillRect(0, 0, 1, 1); }
  const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((v) => linear(v / 255));
  return .2126 * r + .7152 * g + .0722 * b;
}
const low = [];
for (const element of document.querySelectorAll('body *')) {
  const speaks = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!speaks || !element.checkVisibility({opacityProperty: true})) continue;
  if (element.closest('.hidden, .skip, .chip:has(:disabled)')) continue;
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.unshift(getComputedStyle(e).backgroundColor);
  const [back, front] = [luminance(layers), luminance([...layers, getComputedStyle(element).color])];
  const ratio = (Math.max(back, front) + .05) / (Math.min(back, front) + .05);
  if (ratio < 4.5) low.push([element.tagName, element.className, element.textContent.slice(0, 30), ratio.toFixed(2)]);
}
return low;
"""


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast_in_light_and_dark(emulated, base, dark):
    emulate(emulated, dark=dark)
    for path in PAGES:
        emulated.get(base + path)
        assert emulated.execute_script(CONTRAST) == [], path
    red, *_ = emulated.execute_script(
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert (red < 60) == dark


def test_printing_leaves_out_the_controls(emulated, base):
    emulated.get(f"{base}/?q=queue&system=bm25&system=den")
    emulated.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert [every(emulated, css)[0].is_displayed() for css in (".top", ".bar", ".hit")] == [False, False, True]
    emulated.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


# --- the command, on a run with models


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """`led serve` on a run with tiny models; its process and its address."""
    results = small_run.write_run(tmp_path_factory.mktemp("served"))
    command = [sys.executable, "-m", "led_pipeline.cli", "serve", str(results), "--port", "0", "--threads", "1"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    hearing = {
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    }  # the shell of the tests may ignore it
    process = subprocess.Popen(command, env=os.environ | {"DISPLAY": ""}, **streams, **hearing)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Serving "):
            break
    else:
        raise AssertionError("".join(lines))
    yield process, line.split(" at ")[1].split("/ ")[0], "".join(lines)
    process.kill()


def test_the_command_serves_the_models_of_a_run(browser, served):
    _, url, output = served
    assert "not available: bm25: its index" in output, "each with its reason"
    query = small_run.QUERIES[0].replace(" ", "+")
    browser.get(f"{url}/?q={query}&system=den&system=lex&system=judge")
    assert columns(browser) == ["den", "lex", "judge"]
    assert [len(every(browser, f"#column-{n} .hit")) for n in (1, 2, 3)] == [10, 10, 7]
    assert texts(browser, "#column-2 mark") and not texts(browser, "#column-1 mark")
    every(browser, "#column-1 .hit h3 a")[0].click()
    wait(browser, lambda: texts(browser, ".panel h2")[-1:] == ["Nearest by den"])
    assert len(every(browser, ".scored .number")) > 0


def test_ctrl_c_ends_the_command_at_once(served):
    process, url, _ = served
    assert url.startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=15)
    assert process.returncode == 0 and "Traceback" not in rest
