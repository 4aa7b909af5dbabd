"""The page in a browser, opened from a file and offline: what a person does in each tab, and
whether the answers are those of Python.
"""

import base64
import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import made_run
import numpy as np
import pytest
import soundfile
import soxr
import tones
from server import Server

from earshot import predict
from earshot.corpora.partial import FetchError
from earshot.features import audio
from earshot.workbench import page
from earshot.workbench.page import npm

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None, reason=f"no browser on PATH (looked for {', '.join(NAMES)})"
    ),
]
AXE = npm.Package(
    "axe-core",
    "4.14.1",
    708405,
    "87e44efbd0b3fd87a30cbb37ae5ccc4b",
    "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
)
# Notes what the page's thread answers, and every file that the page makes.
WATCH = """
window.answers = []; window.made = [];
const Native = Worker, make = URL.createObjectURL;
window.Worker = class extends Native {
  constructor(...given) {
    super(...given);
    this.addEventListener('message', ({data: {result}}) => {
      const {mel} = result ?? {};
      if (result) window.answers.push({...result, mel: mel && [mel.frames, mel.bands]});
    });
  }
};
URL.createObjectURL = (blob) => { window.made.push(blob); return make(blob); };
"""
READ = """() => new Promise((done) => {
  const reader = new FileReader();
  reader.onload = () => done(reader.result.split(',')[1]);
  reader.readAsDataURL(window.made.filter(({type}) => type === 'audio/wav').at(-1));
})"""
SMALL = """() => {
  const inner = '.button input, label.option input';  // their labels are what is pressed
  const all = [...document.querySelectorAll('button, select, input, summary, .button, .option')];
  return all.filter((one) => one.checkVisibility() && !one.matches(inner))
    .map((one) => [one.outerHTML.slice(0, 60), one.getBoundingClientRect().height])
    .filter(([, height]) => height < 44);
}"""
STATUS = "(text) => document.querySelector('#{} .source [role=status]').textContent.includes(text)"
EXAMINE = """async () => {
  const {violations} = await axe.run();
  return violations.map(({id, impact, nodes}) => [id, impact, nodes[0].html]);
}"""
CLOSE = 0.05  # of logits


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run.write(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def built(run: Path) -> page.Built:
    """The page of a made-up run; skipped where the npm registry cannot be reached."""
    try:
        return page.write(run / "demo", run)
    except FetchError as error:
        pytest.skip(f"npm registry: {str(error).splitlines()[0]}")


@pytest.fixture(scope="module")
def browser(run: Path) -> Iterator[Any]:
    """A browser whose microphone hears letters, over and over."""
    heard = run / "microphone.wav"
    sound = tones.recording(tones.spelled("ab ba b", 0.2), 2.0)
    soundfile.write(heard, soxr.resample(sound, tones.RATE, 48_000), 48_000)
    flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
    flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    flags += [f"--use-file-for-fake-audio-capture={heard}"]
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=BROWSER, args=flags)
        yield started
        started.close()


class Visit:
    """The page, open; what went wrong on it, and what it asked for beside itself."""

    def __init__(self, browser: Any, address: str, scheme: str = "light", offline: bool = True):
        context = browser.new_context(
            viewport={"width": 390, "height": 844},
            color_scheme=scheme,
            offline=offline,
            accept_downloads=True,
            locale="en-GB",
        )
        context.add_init_script(WATCH)
        self.page, self.faults, self.asked = context.new_page(), list[str](), list[str]()
        self.page.set_default_timeout(30_000)
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", self._note)
        self.page.goto(address, timeout=120_000)
        self.page.wait_for_selector("body[data-ready]")
        self.from_now()

    def _note(self, request: Any) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.asked.append(request.url)

    def until(self, script: str, given: Any = None) -> None:
        """Wait until a function is true; the page's own policy forbids waiting inside it."""
        for _ in range(1200):
            if self.page.evaluate(script, given):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"still not: {script} {given}")

    def from_now(self) -> None:
        """Leave out what was answered so far."""
        self.first = self.page.evaluate("window.answers.length")

    def answer(self) -> dict[str, Any]:
        """Return the next answer of the thread."""
        self.until("(n) => window.answers.length > n", self.first)
        self.first += 1
        return self.page.evaluate("(n) => window.answers[n]", self.first - 1)

    def open(self, tab: str) -> None:
        self.page.click(f"#tab-{tab}")

    def give(self, tab: str, *files: Path) -> None:
        """Hand files to a tab."""
        self.page.set_input_files(f"#{tab} input[type=file]", [str(one) for one in files])

    def fault(self, tab: str) -> str:
        self.until("(tab) => document.querySelector(`#${tab} .fault`).textContent", tab)
        return self.page.inner_text(f"#{tab} .fault")


@pytest.fixture(scope="module")
def shared(browser: Any, built: page.Built) -> Iterator[Visit]:
    """The page, opened from a file; it asked for nothing, and nothing went wrong."""
    opened = Visit(browser, built.file.as_uri())
    yield opened
    assert opened.asked == [built.file.as_uri()] and opened.faults == []
    opened.page.context.close()


@pytest.fixture
def visit(shared: Visit) -> Visit:
    shared.from_now()
    return shared


def close(found: list[float], expected: Any) -> bool:
    """Whether probabilities belong to logits that are near each other."""
    logs = [np.log(np.asarray(one, np.float64)) for one in (found, expected)]
    return np.abs(np.diff([one - one.mean() for one in logs], axis=0)).max() <= CLOSE


def student(run: Path, track: str) -> Any:
    return predict.load(made_run.model(run, track))


def test_a_listening_test_by_keyboard_alone(visit: Visit, run: Path):
    screen = visit.page
    screen.fill("#test input[name=seed]", "7")
    screen.fill("#test input[name=count]", "3")
    screen.press("#test input[name=count]", "Enter")
    order, keys = [], ("2", "1", "ArrowDown")
    for number, key in enumerate(keys):
        visit.until(
            "(n) => document.querySelector('#test h2')?.textContent.includes(n)",
            f"{number + 1} of 3",
        )
        visit.until("() => document.activeElement.matches('h2')")
        order.append(screen.inner_text("#test legend"))
        for _ in range(number):
            screen.keyboard.press(" ")
        screen.keyboard.press(key)
        screen.keyboard.press("Enter")
        visit.answer()
        screen.wait_for_selector("#test .reply canvas")
        assert screen.locator("#test .bar.teacher").count() == 3
        assert screen.evaluate("document.activeElement.className") == "main next"
        screen.keyboard.press("Enter")
    screen.wait_for_selector("#test .totals")
    assert order == [made_run.QUESTION] * 3  # its signs are text
    screen.fill("#test .name input", '=1+"2"')
    with screen.expect_download() as waiting:
        screen.click("#test .row button:last-child")
    text = Path(waiting.value.path()).read_text("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["plays"] for row in rows] == ["0", "1", "2"] and rows[0]["name"] == ' =1+"2"'
    assert [row["chosen"] for row in rows] == [made_run.OPTIONS[n] for n in (1, 0, 0)]
    assert {row["seed"] for row in rows} == {"7"}
    assert {row["teacher"] for row in rows} == {made_run.OPTIONS[2]}
    for row in rows:
        assert row["correct"] == str(int(row["chosen"] == row["right"]))
        clip = run / f"data/listening/{row['id'].split('/')[0]}.wav"
        sound, asked = audio.decode(clip, 16_000), (row["question"], made_run.OPTIONS)
        given = student(run, "listening").answer(sound, *asked)
        assert row["student"] == made_run.OPTIONS[given.option]


def written(folder: Path, name: str, samples: np.ndarray, rate: int) -> Path:
    """Write samples at 16 kHz as a file at another rate, an MP3 or in stereo."""
    path, high = folder / name, soxr.resample(samples, 16_000, rate)
    stereo = np.stack([high, 0.5 * high], axis=1) if "stereo" in name else high
    soundfile.write(path, stereo, rate)
    return path


def test_own_sounds_of_any_kind_get_the_answers_of_python(visit: Visit, run: Path, tmp_path: Path):
    visit.open("ask")
    model, samples = student(run, "listening"), made_run.babble(3)
    for name, rate in {
        "a.wav": 16_000,
        "b.mp3": 16_000,
        "stereo.flac": 44_100,
        "c.ogg": 48_000,
    }.items():
        path = written(tmp_path, name, samples, rate)
        visit.page.fill("#ask input[name=question]", "Is this <script>alert(1)</script>?")
        visit.page.fill("#ask textarea", "\n".join(made_run.OPTIONS))
        visit.give("ask", path)
        visit.page.wait_for_selector("#ask [name=send]:enabled")
        visit.until(STATUS.format("ask"), name)
        visit.page.click("#ask [name=send]")
        answer = visit.answer()
        sound = audio.decode(path, 16_000)
        expected = model.answer(sound, "Is this <script>alert(1)</script>?", made_run.OPTIONS)
        assert close(answer["probabilities"], expected.probabilities), name
        assert answer["option"] == expected.option, name
        assert answer["mel"][1] == 40
        heard = len(sound) / 16_000 - sum(expected.silence)
        assert answer["mel"][0] == pytest.approx(100 * heard, abs=3)


def test_a_hundred_clips_get_the_choice_of_python(visit: Visit, run: Path, tmp_path: Path):
    visit.open("ask")
    model, same = student(run, "listening"), 0
    visit.page.fill("#ask input[name=question]", made_run.QUESTION)
    visit.page.fill("#ask textarea", "\n".join(made_run.OPTIONS))
    for number in range(100):
        path = written(tmp_path, f"clip{number}.wav", made_run.babble(number), 16_000)
        visit.give("ask", path)
        visit.until(STATUS.format("ask"), path.name)
        visit.page.click("#ask [name=send]")
        answer, sound = visit.answer(), audio.decode(path, 16_000)
        expected = model.answer(sound, made_run.QUESTION, made_run.OPTIONS)
        assert close(answer["probabilities"], expected.probabilities), number
        same += answer["option"] == expected.option
    assert same >= 99


def test_a_recording_is_transcribed_as_python_does(visit: Visit, run: Path, tmp_path: Path):
    visit.open("transcribe")
    visit.page.click("#transcribe .source button.main")
    visit.until(STATUS.format("transcribe"), "0:02")
    assert visit.page.locator("#transcribe .level").is_visible()
    visit.page.click("#transcribe .source button.main")
    answer = visit.answer()
    path = tmp_path / "heard.wav"
    path.write_bytes(base64.b64decode(visit.page.evaluate(READ)))
    expected = student(run, "transcripts").transcribe(audio.decode(path, 16_000))
    found = [(word["text"], word["begin"], word["end"]) for word in answer["words"]]
    assert len(found) >= 2 and [one[0] for one in found] == [one.text for one in expected.words]
    times = [(one.begin, one.end) for one in expected.words]
    assert np.array([one[1:] for one in found]) == pytest.approx(np.array(times), abs=0.011)
    shown = visit.page.locator("#transcribe .word").evaluate_all(
        "all => all.map((one) => one.lastChild.textContent.trim())"
    )
    assert shown == [one[0] for one in found]
    with visit.page.expect_download() as waiting:
        visit.page.click("#transcribe .reply .row button:last-child")
    assert waiting.value.suggested_filename == "recording.srt"
    assert Path(waiting.value.path()).read_text().startswith("1\n00:00:0")


def test_a_long_file_is_written_and_classified_as_python_does(
    visit: Visit, run: Path, tmp_path: Path
):
    minute = np.concatenate([tones.recording(tones.spelled("ab ba", 0.3), 4.0)] * 15)
    talk = written(tmp_path, "talk.flac", minute, 16_000)
    visit.open("transcribe")
    visit.give("transcribe", talk)
    words = visit.answer()["words"]
    expected = student(run, "transcripts").transcribe(audio.decode(talk, 16_000)).words
    assert [one["text"] for one in words] == [one.text for one in expected]
    assert words[-1]["end"] > 55  # of a minute, in three windows
    day = np.concatenate([made_run.noise(n, 10.0) for n in range(60)])
    path = written(tmp_path, "day.wav", day, 16_000)
    visit.open("scenes")
    visit.give("scenes", path)
    answer = visit.answer()
    expected = student(run, "scenes").classify(audio.decode(path, 16_000))
    assert len(answer["windows"]) == len(expected.windows) == 600
    assert answer["starts"] == expected.starts.tolist()
    assert all(map(close, answer["windows"], expected.windows))
    assert visit.page.locator("#scenes tbody tr").count() >= 1
    assert "0:00" in visit.page.inner_text("#scenes tbody")


def test_scenes_are_told_live(visit: Visit):
    visit.open("scenes")
    visit.page.click("#scenes .live button")
    for _ in range(2):
        assert set(visit.answer()["labels"]) == set(made_run.LABELS)
    assert visit.page.inner_text("#scenes .now").replace(" ", "_").lower() in made_run.LABELS
    visit.page.click("#scenes .live button")
    assert visit.page.inner_text("#scenes .live button") == "● Listen here"


def test_what_is_no_sound_or_silent_is_told(visit: Visit, tmp_path: Path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "notes.txt").write_text("no sound")
    soundfile.write(tmp_path / "still.wav", np.zeros(32_000), 16_000)
    soundfile.write(tmp_path / "short.wav", made_run.babble(1)[8000:9000], 16_000)
    visit.open("transcribe")
    for name, reason in {
        "empty.wav": "empty.wav: the file is empty.",
        "notes.txt": "notes.txt: no sound that this browser can read. "
        "WAV, FLAC and MP3 work everywhere.",
        "still.wav": "Nothing was heard: the sound is silent.",
        "short.wav": "The sound is too short to be judged.",
    }.items():
        visit.give("transcribe", tmp_path / name)
        assert visit.fault("transcribe") == reason
    visit.open("ask")
    visit.give("ask", tmp_path / "still.wav")
    visit.page.fill("#ask input[name=question]", "What?")
    for options, reason in {
        "one": "At least two options are needed.",
        "one\nOne!": "Two options are the same.",
        "one\n?": "An option has no words.",
        "one\ntwo": "Nothing was heard: the sound is silent.",
    }.items():
        visit.page.fill("#ask textarea", options)
        visit.page.click("#ask [name=send]:enabled")
        visit.until("(text) => document.querySelector('#ask .fault').textContent === text", reason)


def test_a_teachers_own_questions(visit: Visit, tmp_path: Path):
    visit.open("test")
    sounds = [written(tmp_path, f"own{n}.wav", made_run.babble(n), 16_000) for n in range(2)]
    entries = [
        {"id": "a", "skill": "detail", "question": "<img src=x onerror=alert(1)> yes?", "answer": 1,
         "utterances": ["own0", "own1"], "options": ["yes", "7:30", "~"]},
    ]  # fmt: skip
    text = tmp_path / "own.yaml"
    text.write_text(json.dumps(entries).replace('"yes"', "yes").replace('"~"', "~"))
    visit.page.set_input_files("#test input[name=own]", [str(text), str(sounds[0])])
    assert visit.fault("test") == "Question a: the sound own1 was not chosen with it."
    visit.page.set_input_files("#test input[name=own]", [str(one) for one in (text, *sounds)])
    visit.page.wait_for_selector("#test .option")
    assert visit.page.inner_text("#test legend") == "<img src=x onerror=alert(1)> yes?"
    assert visit.page.locator("#test .option span:last-child").all_inner_texts() == [
        "yes",
        "7:30",
        "~",
    ]
    visit.page.keyboard.press("1")
    visit.page.keyboard.press("Enter")
    answer = visit.answer()
    assert answer["end"] - answer["begin"] > 5  # both sounds
    visit.page.click("#test .bar button")
    text.write_text("- [")
    visit.page.set_input_files("#test input[name=own]", [str(text)])
    assert visit.fault("test").startswith("The questions cannot be read: ")


def test_a_students_file_can_be_opened_and_another_is_refused(
    visit: Visit, run: Path, tmp_path: Path
):
    visit.page.click("#about summary")
    for content in (b"no model", b"\x08\x0a\x12\x07earshot" + bytes(50)):
        (tmp_path / "other.onnx").write_bytes(content)
        visit.give("about", tmp_path / "other.onnx")
        assert visit.fault("about") == "This file is no student of Earshot; nothing was changed."
    shutil.copy(made_run.model(run, "listening"), tmp_path / "mine.onnx")
    visit.give("about", tmp_path / "mine.onnx")
    assert visit.answer()["task"] == "choice"
    assert visit.page.locator("#ask .student option").all_text_contents() == [
        "listening",
        "mine.onnx",
    ]


def test_the_policy_lets_nothing_out(browser: Any, built: page.Built):
    opened = Visit(browser, built.file.as_uri(), offline=False)
    tried = "fetch('https://example.org/').then(() => 'out', () => 'kept')"
    assert opened.page.evaluate(tried) == "kept"
    assert any("connect-src 'none'" in fault for fault in opened.faults)
    opened.page.context.close()


def test_the_folder_works_on_a_static_server(browser: Any, built: page.Built):
    files = {f"/{one.relative_to(built.folder)}": one for one in built.folder.rglob("*.*")}
    with Server(files) as server:
        server.headers = {name: {"Content-Type": "text/javascript"} for name in files}
        server.headers["/index.html"] = {"Content-Type": "text/html"}
        opened = Visit(browser, server.url("/index.html"), offline=False)
        opened.open("transcribe")
        opened.page.select_option("#transcribe .source select", index=1)
        assert opened.answer()["words"]
        assert opened.faults == [] and all(one.startswith(server.url()) for one in opened.asked)
        opened.page.context.close()


def test_it_fits_any_screen_and_finger_and_speaks_chinese(browser: Any, built: page.Built):
    opened = Visit(browser, f"{built.file.as_uri()}?lang=zh", "dark")
    screen = opened.page
    assert screen.evaluate("document.documentElement.lang") == "zh-CN"
    assert screen.inner_text("#tab-test") == "听力测验"
    screen.click("#test .setup button.main")
    screen.wait_for_selector("#test .option")
    screen.keyboard.press("1")
    screen.keyboard.press("Enter")
    screen.wait_for_selector("#test .reply canvas")
    for tab in ("test", "ask", "scenes", "transcribe"):
        opened.open(tab)
        for width in (320, 768, 1920):
            screen.set_viewport_size({"width": width, "height": 800})
            assert screen.evaluate("document.documentElement.scrollWidth") <= width, (tab, width)
        assert screen.evaluate(SMALL) == []
    screen.select_option("#language", "en")
    assert screen.inner_text("#tab-test") == "Listening test"
    screen.focus("#tab-test")
    screen.keyboard.press("ArrowRight")
    assert screen.evaluate("document.activeElement.id") == "tab-ask"
    assert screen.locator("#ask").is_visible() and opened.faults == []
    screen.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, built: page.Built, scheme: str):
    try:
        (axe,) = npm.read(AXE, "axe.min.js")
    except FetchError as error:
        pytest.skip(f"npm registry: {str(error).splitlines()[0]}")
    opened = Visit(browser, built.file.as_uri(), scheme)
    screen, found = opened.page, []
    screen.evaluate(axe.decode())
    for tab in ("ask", "transcribe", "scenes"):
        opened.open(tab)
        screen.select_option(f"#{tab} .source select", index=1)
        if tab == "ask":
            screen.click("#ask [name=send]:enabled")
        screen.wait_for_selector(f"#{tab} .reply canvas")
        found += screen.evaluate(EXAMINE)
    opened.open("test")
    screen.click("#test .setup button.main")
    screen.wait_for_selector("#test .option")
    found += screen.evaluate(EXAMINE)
    for _ in range(6):
        screen.keyboard.press("1")
        screen.keyboard.press("Enter")
        screen.wait_for_selector("#test .reply canvas")
        found += screen.evaluate(EXAMINE)
        screen.keyboard.press("Enter")
    screen.wait_for_selector("#test .totals")
    found += screen.evaluate(EXAMINE)
    assert found == []
    screen.context.close()
