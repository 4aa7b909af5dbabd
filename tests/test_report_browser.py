"""The report in a browser: nothing is fetched, sound plays, nothing is cut off, everything can be
read, light or dark.
"""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ROOT

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser on PATH (looked for {', '.join(NAMES)})"
)
PAGES = ("docs/report.html", "docs/report.zh-CN.html")

# The contrast of each text with the nearest paper behind it, texts in drawings included (those on
# cells apart).
CONTRASTS = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (numbers(colour).length === 3 || numbers(colour)[3] > 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const seen = {};
  for (const one of document.querySelectorAll('h1,h2,h3,h4,p,a,li,dt,dd,td,th,caption,figcaption,summary,code,span,text')) {
    if (!one.textContent.trim() || !one.getClientRects().length) continue;
    const style = getComputedStyle(one), ink = one.matches('text') ? style.fill : style.color;
    const [a, b] = [light(numbers(ink)), light(numbers(paper(one)))].sort((x, y) => y - x);
    seen[`${ink} on ${paper(one)}`] = (a + 0.05) / (b + 0.05);
  }
  return seen;
}"""
# The same for numbers on the cells of matrices, whose colour is thinned over the paper.
CELLS = """() => [...document.querySelectorAll('svg rect.heat')].filter((one) => one.getClientRects().length).map((one) => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const share = Number(one.getAttribute('fill-opacity')), body = getComputedStyle(document.body);
  const fill = numbers(getComputedStyle(one).fill), paper = numbers(body.backgroundColor);
  const mixed = fill.slice(0, 3).map((v, i) => share * v + (1 - share) * paper[i]);
  const [a, b] = [light(mixed), light(numbers(body.color))].sort((x, y) => y - x);
  return (a + 0.05) / (b + 0.05);
})"""
# Texts of drawings that reach beyond their drawing or the window.
CUT = """() => [...document.querySelectorAll('svg text')].filter((one) => one.getClientRects().length).filter((one) => {
  const own = one.getBoundingClientRect(), frame = one.ownerSVGElement.getBoundingClientRect();
  return own.left < frame.left - 4 || own.right > Math.min(frame.right + 4, innerWidth) || own.bottom > frame.bottom + 4;
}).map((one) => one.textContent)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        yield started
        started.close()


def visit(browser: Any, page: str, width: int, scheme: str) -> tuple[Any, list[str], list[str]]:
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
    opened.goto((ROOT / page).as_uri())
    return opened, faults, asked


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("width", "scheme"), [(390, "light"), (390, "dark"), (1440, "light"), (1440, "dark")]
)
def test_it_can_be_read_on_any_screen(browser: Any, page: str, width: int, scheme: str):
    opened, faults, asked = visit(browser, page, width, scheme)
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.evaluate(CUT) == []
    contrasts = opened.evaluate(CONTRASTS)
    assert len(contrasts) >= 4
    assert {pair: ratio for pair, ratio in contrasts.items() if ratio < 4.5} == {}
    assert min(opened.evaluate(CELLS)) >= 4.5
    assert faults == [] and asked == [(ROOT / page).as_uri()]
    opened.context.close()


def test_every_clip_plays(browser: Any):
    opened, faults, _ = visit(browser, PAGES[0], 1440, "light")
    players = opened.locator("audio")
    assert players.count() > 0
    for place in range(players.count()):
        player = players.nth(place)
        said = opened.locator(".item img").nth(place).get_attribute("alt")
        player.evaluate(
            "one => new Promise((done) => one.readyState ? done() : one.addEventListener('loadedmetadata', done))"
        )
        assert player.evaluate("one => one.duration") == pytest.approx(
            float(said.rsplit(", ", 1)[1].split()[0]), abs=0.2
        )
    player.evaluate("one => { one.muted = true; return one.play(); }")
    opened.wait_for_function("one => one.currentTime > 0.1", arg=player.element_handle())
    assert faults == []
    opened.context.close()


def test_wide_tables_can_be_reached_and_scrolled_by_keyboard(browser: Any):
    opened, _, _ = visit(browser, PAGES[0], 390, "light")
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
