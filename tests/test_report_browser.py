"""The report in a browser: nothing is fetched, sound plays, nothing is cut off, everything can be
read, light or dark.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import results

from earshot.workbench import report

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser on PATH (looked for {', '.join(NAMES)})"
)
# What the following are written with: how bright a colour is, and the contrast of two.
HELP = """
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const contrast = (one, other) => {
    const [a, b] = [light(one), light(other)].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const shown = (selector) => [...document.querySelectorAll(selector)]
    .filter((one) => one.getClientRects().length);
"""
# The contrast of each text with the nearest paper behind it, texts in pictures included.
CONTRASTS = """
  const paper = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const colour = getComputedStyle(one).backgroundColor;
      if (numbers(colour).length === 3 || numbers(colour)[3] > 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const seen = {}, tags = 'h1,h2,h3,h4,p,a,li,td,th,caption,figcaption,summary,code,span,text';
  for (const one of shown(tags).filter((one) => one.textContent.trim())) {
    const style = getComputedStyle(one), ink = one.matches('text') ? style.fill : style.color;
    seen[`${ink} on ${paper(one)}`] = contrast(numbers(ink), numbers(paper(one)));
  }
  return seen;
"""
# The same for ink on the cells of matrices, whose colour is thinned over the paper.
CELLS = """
  const body = getComputedStyle(document.body), paper = numbers(body.backgroundColor);
  return shown('svg path[style*="--heat"]').map((one) => {
    const style = getComputedStyle(one), share = Number(style.fillOpacity);
    const mixed = numbers(style.fill).slice(0, 3).map((v, i) => share * v + (1 - share) * paper[i]);
    return contrast(mixed, numbers(body.color));
  });
"""
# Texts of pictures that reach beyond their picture or the window.
CUT = """
  return shown('svg text').filter((one) => {
    const box = one.getBoundingClientRect(), frame = one.ownerSVGElement.getBoundingClientRect();
    return box.left < frame.left - 4 || box.right > Math.min(frame.right + 4, innerWidth)
      || box.top < frame.top - 4 || box.bottom > frame.bottom + 4;
  }).map((one) => one.textContent);
"""
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


def look(opened: Any, body: str) -> Any:
    """Return what a function with this body returns on a page."""
    return opened.evaluate("() => {" + HELP + body + "}")


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_it_can_be_read_on_any_screen(
    browser: Any, folder: Path, name: str, width: int, scheme: str
):
    opened, faults, asked = visit(browser, folder / name, width, scheme)
    opened.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    assert look(opened, CUT) == []
    contrasts = look(opened, CONTRASTS)
    assert len(contrasts) >= 4
    assert {pair: ratio for pair, ratio in contrasts.items() if ratio < 4.5} == {}
    assert min(look(opened, CELLS)) >= 4.5
    assert faults == [] and asked == [(folder / name).as_uri()]
    opened.context.close()


def test_a_picture_alone_follows_light_and_dark(browser: Any, folder: Path):
    picture, papers = folder / "plots/scenes/test/accuracy.svg", []
    for scheme in ("light", "dark"):
        opened, faults, _ = visit(browser, picture, 1440, scheme)
        papers.append(opened.evaluate("getComputedStyle(document.documentElement).backgroundColor"))
        assert min(look(opened, CONTRASTS).values()) >= 4.5
        assert look(opened, CUT) == [] and faults == []
        opened.context.close()
    assert papers == ["rgb(252, 251, 248)", "rgb(20, 23, 27)"]


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
