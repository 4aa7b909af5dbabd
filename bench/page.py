"""The page in headless Chromium: from open to ready, an answer, memory after many, size.

python bench/page.py [docs/demo/earshot.html]
"""

import re
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

ANSWERS = 800
MEASURED = (20, 200, ANSWERS)  # answers behind which memory is taken: it should stay as it is
NAMES = ("chromium", "chromium-browser", "google-chrome")


def main(file: Path) -> None:
    browser_file = next(path for name in NAMES if (path := shutil.which(name)))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_file, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.set_default_timeout(600_000)
        page.goto(file.resolve().as_uri())
        page.wait_for_selector("body[data-ready]")
        print(f"size      {file.stat().st_size / 1e6:.2f} MB")
        print(f"ready     {page.evaluate('document.body.dataset.ready')} ms")
        page.click("#tab-ask")
        page.select_option("#ask .source select", index=1)
        page.wait_for_selector("#ask [name=send]:enabled")
        times, memory = [], {}
        for number in range(1, ANSWERS + 1):
            times.append(answer(page))
            if number in MEASURED:
                memory[number] = megabytes(browser, page)
        seconds = page.inner_text("#ask .source [role=status]").rpartition(", ")[2]
        median, slowest = statistics.median(times), max(times)
        print(f"answer    {median:.0f} ms, at most {slowest:.0f} ms, of a clip of {seconds}")
        for number, used in memory.items():
            print(f"memory    {used:.0f} MB behind {number} answers")
        browser.close()


def answer(page: Page) -> float:
    """Ask once; return the milliseconds that the page says it took."""
    page.evaluate("document.querySelector('#ask .reply').replaceChildren()")
    page.click("#ask [name=send]")
    page.locator("#ask .reply canvas").wait_for()  # a handle would keep it alive
    (note,) = page.locator("#ask .reply p.soft").all_inner_texts()[-1:]
    return float(re.search(r"(\d+) ms", note)[1])


def megabytes(browser: Any, page: Page) -> float:
    """Return the memory of the page's process, WebAssembly included, behind a collection."""
    page.context.new_cdp_session(page).send("HeapProfiler.collectGarbage")
    processes = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")["processInfo"]
    pages = [one["id"] for one in processes if one["type"] == "renderer"]
    maps = [Path(f"/proc/{one}/smaps_rollup").read_text() for one in pages]
    return max(int(re.search(r"Pss: +(\d+)", one)[1]) for one in maps) / 1e3


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/demo/earshot.html"))
