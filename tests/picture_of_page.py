"""Take the picture of the page in the documentation: a search of the demo's run in a headless chromium.

Run as `python tests/picture_of_page.py --results results/demo --out docs/pictures/page.png`, with chromium-driver
installed. The picture has a palette, which makes it a quarter as large.
"""

import argparse
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from numpy.typing import NDArray
from selenium import webdriver

SIZE = (1200, 760)
COLOURS = 256
QUERY = "Read all data from the file, returned as bytes."
SYSTEMS = ["bm25", "lex_continue", "led"]
FLAGS = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-dev-shm-usage", "--lang=en"]


def screenshot(address: str) -> bytes:
    """Return the page at an address as a PNG file of SIZE."""
    options = webdriver.ChromeOptions()
    for flag in [*FLAGS, f"--window-size={SIZE[0]},{SIZE[1]}"]:
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    metrics = {"width": SIZE[0], "height": SIZE[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for _ in range(2):  # the first search loads the models, and its times say so
            browser.get(address)
        return browser.get_screenshot_as_png()
    finally:
        browser.quit()


def pixels(png: bytes) -> NDArray[np.uint8]:
    """Return the colours (rows, columns, 3) of an 8-bit PNG file without interlacing."""
    chunks, place, data = {}, 8, b""
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        chunks[kind] = png[place + 8 : place + 8 + length]
        data += chunks[kind] if kind == b"IDAT" else b""
        place += 12 + length
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (depth, interlaced) == (8, 0) and colour in (2, 6), "an RGB or RGBA picture"
    step = 3 if colour == 2 else 4
    lines = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + width * step)
    above, rows = np.zeros(width * step, np.uint8), []
    for line in lines:
        above = np.frombuffer(_unfiltered(int(line[0]), line[1:].tolist(), above.tolist(), step), np.uint8)
        rows.append(above)
    return np.stack(rows).reshape(height, width, step)[:, :, :3]


def _unfiltered(kind: int, line: list[int], above: list[int], step: int) -> bytes:
    """Undo the filter of a line (the PNG specification, 9.2)."""
    for i, value in enumerate(line):
        left, up = line[i - step] if i >= step else 0, above[i]
        corner = above[i - step] if i >= step else 0
        nearest = min((left, up, corner), key=lambda each: abs(left + up - corner - each))
        line[i] = (value + (0, left, up, (left + up) // 2, nearest)[kind]) % 256
    return bytes(line)


def with_palette(image: NDArray[np.uint8]) -> bytes:
    """Return a PNG file with the most frequent colours, others as the nearest of them."""
    height, width, _ = image.shape
    colours, inverse, counts = np.unique(image.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    palette = colours[np.argsort(-counts, kind="stable")[:COLOURS]]
    distance = ((colours[:, None].astype(np.int32) - palette[None].astype(np.int32)) ** 2).sum(axis=2)
    indices = distance.argmin(axis=1)[inverse.ravel()].reshape(height, width).astype(np.uint8)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), indices], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", header), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    chunks = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take the picture of the page in the documentation.")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--query", default=QUERY)
    parser.add_argument("--systems", nargs="+", default=SYSTEMS)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    command = [sys.executable, "-m", "led_pipeline.cli", "serve", str(a.results), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as server:
        assert server.stdout is not None
        line = next((line for line in server.stdout if line.startswith("Serving ")), "")
        try:
            address = line.split(" at ")[1].split(" ")[0]
            query = urlencode([("q", a.query), *(("system", name) for name in a.systems)])
            a.out.write_bytes(with_palette(pixels(screenshot(f"{address}?{query}"))))
        finally:
            server.terminate()
    print(f"{a.out}: {a.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
