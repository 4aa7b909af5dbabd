"""Device responses: curves, impulse responses, what hearing through them keeps and changes."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from earshot.features.responses import (
    Curve,
    Device,
    ResponseError,
    choose,
    convolve,
    draw,
    load,
    measured,
    parametric,
)

RATES = (16_000, 32_000)
HERTZ = np.geomspace(60, 7_500, 100)


def decibels(response: np.ndarray, sample_rate: int, hertz: np.ndarray = HERTZ) -> np.ndarray:
    """The magnitude of a filter at some frequencies, by the definition."""
    times = np.arange(len(response)) / sample_rate
    return 20 * np.log10(np.abs(np.exp(-2j * np.pi * hertz[:, None] * times) @ response))


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.fixture
def sound() -> np.ndarray:
    return (0.1 * np.random.default_rng(1).standard_normal(16_000)).astype(np.float32)


# curves


def test_a_curve_by_hand():
    peak = Curve(((1000, 6.0, 0.5),)).decibels(np.array([1000.0, 2000.0, 500.0]))
    # an octave is two widths away
    assert peak == pytest.approx([6, 6 * np.exp(-2), 6 * np.exp(-2)])
    cut = Curve(low_cut=100, high_cut=4000, steepness=2).decibels(
        np.array([100.0, 25.0, 632.0, 4000.0])
    )
    assert cut == pytest.approx([-3.01, -24.1, 0, -3.01], abs=0.02)
    assert Curve().decibels(HERTZ) == pytest.approx(0)


@pytest.mark.parametrize("rate", RATES)
def test_a_response_has_the_magnitudes_of_its_curve(rate):
    for seed in range(5):
        curve = draw(np.random.default_rng(seed))
        assert decibels(curve.response(rate), rate) == pytest.approx(curve.decibels(HERTZ), abs=0.3)


def test_a_response_is_minimum_phase():
    for seed in range(5):
        response = parametric(np.random.default_rng(seed), 16_000)
        # Jensen: the mean log magnitude is that of the first tap exactly when no zero lies outside
        # the unit circle.
        mean = np.log(np.abs(np.fft.fft(response, 1 << 15))).mean()
        assert np.log(abs(response[0])) == pytest.approx(mean, abs=0.01)


def test_a_drawn_device_is_the_same_at_every_rate():
    curves = [decibels(parametric(np.random.default_rng(5), rate), rate) for rate in RATES]
    assert curves[0] == pytest.approx(curves[1], abs=0.01)
    other = decibels(parametric(np.random.default_rng(6), 16_000), 16_000)
    assert np.abs(other - curves[0]).max() > 3


def test_strength_scales_the_peaks():
    weak, strong = (draw(np.random.default_rng(3), strength) for strength in (0.5, 1.0))
    assert [p[1] * 2 for p in weak.peaks] == pytest.approx([p[1] for p in strong.peaks])
    assert [p[0] for p in weak.peaks] == [p[0] for p in strong.peaks]


# hearing


def test_hearing_keeps_length_and_loudness(sound):
    for seed in range(5):
        response = parametric(np.random.default_rng(seed), 16_000, 2.0)
        heard = convolve(sound, response)
        assert heard.shape == sound.shape and heard.dtype == np.float32
        assert rms(heard) == pytest.approx(rms(sound), rel=1e-4)
        # its own gain does not matter
        assert convolve(sound, 7 * response) == pytest.approx(heard, abs=1e-5)


def test_hearing_filters(sound):
    assert convolve(sound, np.ones(1)) == pytest.approx(sound, abs=1e-6)
    echo = convolve(sound, np.array([1, 0, 0.5]))
    expected = sound + 0.5 * np.concatenate([[0, 0], sound[:-2]])
    assert echo == pytest.approx(expected * rms(sound) / rms(expected), abs=1e-6)


def test_only_what_exceeds_full_scale_is_changed():
    square = np.where(np.random.default_rng(0).random(4000) < 0.5, -0.9, 0.9).astype(np.float32)
    response = np.ones(3)
    free = np.convolve(square.astype(float), response)[:4000]
    free *= rms(square) / rms(free)
    heard, over = convolve(square, response), np.abs(free) > 1
    assert over.any() and np.abs(heard).max() <= 1
    assert heard[~over] == pytest.approx(free[~over], abs=1e-5)


def test_silence_stays_silence(sound):
    assert not convolve(
        np.zeros(1000, dtype=np.float32), parametric(np.random.default_rng(0), 16_000)
    ).any()
    assert not convolve(sound[:5], np.r_[np.zeros(5), 1.0]).any()  # nothing has arrived yet
    assert convolve(sound[:0], np.ones(1)).shape == (0,)


def test_a_device_adds_noise_and_compresses(sound):
    flat, rng = Curve(), np.random.default_rng(0)
    assert rms(
        Device(flat, noise=-60).hear(np.zeros(50_000, dtype=np.float32), 16_000, rng)
    ) == pytest.approx(1e-3, rel=0.02)
    quiet, loud = 0.01 * sound, np.clip(8 * sound, -1, 1)
    device = Device(flat, noise=-120, ceiling=-12)
    assert device.hear(quiet, 16_000, rng) == pytest.approx(quiet, abs=1e-4)
    heard = device.hear(loud, 16_000, rng)
    assert np.abs(heard).max() < 10 ** (-12 / 20) and np.corrcoef(heard, loud)[0, 1] > 0.9


# recordings


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two recorded responses at 44.1 kHz: both begin after a pause and end in one."""
    for name, seed in (("b.wav", 1), ("a.flac", 2)):
        response = draw(np.random.default_rng(seed), 0.5).response(44_100)
        soundfile.write(
            tmp_path / name,
            np.r_[np.zeros(300), 0.4 * response / abs(response).max(), np.zeros(9000)],
            44_100,
        )
    (tmp_path / "notes.txt").write_text("no response")
    return tmp_path


def test_recorded_responses_are_listed_in_order(folder):
    assert [path.name for path in measured(folder)] == ["a.flac", "b.wav"]


def test_a_recorded_response_is_trimmed_and_resampled(folder):
    curve = draw(np.random.default_rng(2), 0.5).decibels(HERTZ)
    for rate in (*RATES, 44_100):
        response = load(folder / "a.flac", rate)
        assert np.linalg.norm(response) == pytest.approx(1) and len(response) < rate / 20
        assert np.argmax(np.abs(response)) < rate / 1000  # a millisecond
        differ = decibels(response, rate)[:90] - curve[:90]  # up to 5 kHz, whatever the gain
        assert np.abs(differ - differ.mean()).max() < 1.5
    with pytest.raises(ValueError, match="read-only"):
        response[0] = 1


def test_recordings_that_cannot_be_used(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResponseError, match="empty: no device response in it"):
        measured(tmp_path / "empty")
    with pytest.raises(ResponseError, match="absent: no such folder"):
        measured(tmp_path / "absent")
    (folder / "damaged.wav").write_bytes(b"RIFF")
    with pytest.raises(ResponseError, match="damaged.wav: not readable audio"):
        load(folder / "damaged.wav", 16_000)
    soundfile.write(folder / "silent.wav", np.zeros(100), 16_000)
    with pytest.raises(ResponseError, match="silent.wav: silent"):
        load(folder / "silent.wav", 16_000)


# the choice


def test_seed_clip_and_view_choose_the_response(folder):
    for where in (None, folder):
        key = (where, 1, "bus-lyon-1-2-3-a", 1, 16_000)
        assert np.array_equal(choose(*key), choose(*key))
    first = choose(None, 1, "clip", 1, 16_000)
    for other in ((2, "clip", 1), (1, "clap", 1), (1, "clip", 2)):
        assert not np.array_equal(choose(None, *other, 16_000), first)
    chosen = {choose(folder, 1, "clip", view, 16_000).tobytes() for view in range(20)}
    assert chosen == {load(folder / name, 16_000).tobytes() for name in ("a.flac", "b.wav")}


def test_the_rate_does_not_change_the_choice(folder):
    for view in range(4):
        curves = [decibels(choose(None, 1, "clip", view, rate), rate) for rate in RATES]
        assert curves[0] == pytest.approx(curves[1], abs=0.01)
        names = []
        for rate in RATES:
            chosen = choose(folder, 1, "clip", view, rate)
            names += [n for n in ("a.flac", "b.wav") if chosen is load(folder / n, rate)]
        assert len(names) == 2 and names[0] == names[1]
