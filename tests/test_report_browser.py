"""The report in a browser: nothing is fetched, sound plays, nothing is cut off."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import results
from matplotlib.colors import to_hex

from earshot.evaluation.figures import PALETTE
from earshot.workbench import report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason=f"no browser on PATH (looked for {', '.join(NAMES)})"
    ),
]
# Texts of pictures that reach beyond their picture or the window.
CUT = """() => {
  const texts = [...document.querySelectorAll('svg text')];
  return texts.filter((one) => one.getClientRects().length).filter((one) => {
    const box = one.getBoundingClientRect(), frame = one.ownerSVGElement.getBoundingClientRect();
    return box.left < frame.left - 4 || box.right > Math.min(frame.right + 4, innerWidth)
      || box.top < frame.top - 4 || box.bottom > frame.bottom + 4;
  }).map((one) => one.textContent);
}"""
# Shares of red, green, blue: the paper, then every text in a picture.
COLOURS = """() => {
  const style = (one) => getComputedStyle(one), body = style(document.body).backgroundColor;
  const fills = [...document.querySelectorAll('svg text')].map((one) => style(one).fill);
  return [body, ...new Set(fills)].map((one) => one.match(/\\d+/g).map((part) => part / 255));
}"""
PAGES = ("report.html", "report.zh-CN.html")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the report of made-up results, in both languages."""
    root = results.write(tmp_path_factory.mktemp("project"))
    report.write(root / PAGES[0], ("en", "zh"), root, root / "params.yaml")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield started
        started.close()


def visit(browser: Any, page: Path, width: int, scheme: str) -> tuple[Any, list[str], list[str]]:
    """Open a page; return it, what went wrong on it, and what it asked for beside itself."""
    opened = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
    ).new_page()
    faults, asked = list[str](), list[str]()
    opened.on("console", lambda message: faults.append(message.text))
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on(
        "request",
        lambda request: asked.append(request.url) if not request.url.startswith("data:") else None,
    )
    opened.goto(page.as_uri())
    return opened, faults, asked


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_can_be_read_on_any_screen(
    browser: Any, folder: Path, name: str, width: int, scheme: str
):
    opened, faults, asked = visit(browser, folder / name, width, scheme)
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.evaluate(CUT) == []
    side = ("light", "dark").index(scheme)
    ink, muted, paper = (to_hex(PALETTE[name][side]) for name in ("ink", "muted", "paper"))
    colours = [to_hex(colour) for colour in opened.evaluate(COLOURS)]
    assert colours[0] == paper and set(colours[1:]) == {ink, muted}
    assert faults == [] and asked == [(folder / name).as_uri()]
    opened.context.close()


def test_every_clip_plays(browser: Any, folder: Path):
    opened, faults, _ = visit(browser, folder / PAGES[0], 1440, "light")
    players = opened.locator("audio").all()
    assert len(players) == 2
    loaded = "one.readyState ? done() : one.addEventListener('loadedmetadata', done)"
    for player in players:
        player.evaluate(f"one => new Promise((done) => {loaded})")
        assert player.evaluate("one => one.duration") == pytest.approx(1.0, abs=0.2)
    player.evaluate("one => { one.muted = true; return one.play(); }")
    opened.wait_for_function("one => one.currentTime > 0.1", arg=player.element_handle())
    assert faults == []
    opened.context.close()


def test_wide_tables_can_be_reached_and_scrolled_by_keyboard(browser: Any, folder: Path):
    opened, _, _ = visit(browser, folder / PAGES[0], 390, "light")
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    opened.locator(".scroll").first.press("ArrowRight")
    for _ in range(50):  # the page's own policy forbids what would wait inside it
        if opened.evaluate("document.querySelector('.scroll').scrollLeft") > 0:
            break
        opened.wait_for_timeout(100)
    else:
        raise AssertionError("it has not moved in 5 s")
    opened.context.close()
