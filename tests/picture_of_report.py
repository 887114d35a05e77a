"""Take pictures of a report in a headless chromium: a wide screen, a phone, dark, and the first sheet of paper.

Run as `python tests/picture_of_report.py --page results/demo/report/index.html --out FOLDER`, with chromium-driver
installed. It writes desktop.png, phone.png and dark.png, each the whole page, sheets.pdf, and top.png, the picture of
the documentation, with a palette, which makes it a quarter as large. The page is opened from the disk, and any other
address fails.
"""

import argparse
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from picture_of_page import pixels, with_palette
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = [
    "--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-dev-shm-usage", "--lang=en",
    "--host-resolver-rules=MAP * ~NOTFOUND",
]  # fmt: skip
TOP = (1400, 1180)


@contextmanager
def opened(page: Path, width: int, height: int, *flags: str) -> Iterator[webdriver.Chrome]:
    """Open a page in a window of this size and wait until it has drawn everything, the table of queries included."""
    options = webdriver.ChromeOptions()
    for flag in [*FLAGS, *flags, f"--window-size={width},{height}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.resolve().as_uri())
        drawn = WebDriverWait(browser, 120, poll_frequency=0.2)
        drawn.until(lambda b: b.execute_script("return document.body.dataset.drawn === 'yes'"))
        if browser.execute_script("return !!document.getElementById('query-table')"):
            browser.execute_script("document.getElementById('queries').scrollIntoView()")
            drawn.until(lambda b: b.execute_script("return document.getElementById('query-table').dataset.filled"))
        browser.execute_script("scrollTo({top: 0, behavior: 'instant'})")
        yield browser
    finally:
        browser.quit()


def whole(browser: webdriver.Chrome, width: int) -> bytes:
    """Return the page from top to bottom as a PNG file."""
    height = browser.execute_script("return document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return base64.b64decode(picture["data"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Take pictures of a report.")
    parser.add_argument("--page", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    with opened(a.page, *TOP) as browser:
        (a.out / "top.png").write_bytes(with_palette(pixels(browser.get_screenshot_as_png())))
        (a.out / "desktop.png").write_bytes(whole(browser, TOP[0]))
        sheets = browser.execute_cdp_cmd(
            "Page.printToPDF", {"printBackground": True, "paperWidth": 8.27, "paperHeight": 11.7}
        )
        (a.out / "sheets.pdf").write_bytes(base64.b64decode(sheets["data"]))
        for line in browser.get_log("browser"):
            print(line["level"], line["message"])
        wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
        print(f"desktop: {wide} pixels wider than the window")
    with opened(a.page, 390, 844) as browser:
        (a.out / "phone.png").write_bytes(whole(browser, 390))
        wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
        print(f"phone: {wide} pixels wider than the window")
    with opened(a.page, *TOP, "--blink-settings=preferredColorScheme=0") as browser:
        (a.out / "dark.png").write_bytes(whole(browser, TOP[0]))


if __name__ == "__main__":
    main()
