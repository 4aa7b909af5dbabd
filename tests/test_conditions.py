"""What happens to sound on its way to a file, each against what it must do; drawn the same by all
who ask.
"""

import numpy as np
import pytest

from earshot.features import conditions, views
from earshot.params import Conditions, ParameterError, Views, parse
from earshot.runtime import yaml_file

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def test_level_by_hand():
    clip = np.array([0.5, -0.25, 1.0], np.float32)
    assert conditions.level(clip, -20.0) == pytest.approx([0.05, -0.025, 0.1])
    assert conditions.level(clip, 20 * np.log10(2)) == pytest.approx([1.0, -0.5, 1.0])  # clipped


def test_silence_is_zeros_at_the_ends():
    assert conditions.silence(np.ones(2, np.float32), 1, 3).tolist() == [0, 1, 1, 0, 0, 0]


def test_noise_has_the_power_asked_for():
    clip, sound = tone(500), conditions.coloured(RATE, 1.0, np.random.default_rng(0))
    added = conditions.noise(clip, sound, 12.0) - clip
    ratio = 10 * np.log10(conditions.power(clip) / conditions.power(added))
    assert ratio == pytest.approx(12.0, abs=0.01)
    silent = np.zeros(RATE, np.float32)
    assert not conditions.noise(silent, sound, 12.0).any()


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_the_power_of_coloured_noise_falls_as_it_should(slope):
    """Between two bands an octave apart the mean power falls by slope · 3.01 dB."""
    noise = conditions.coloured(1 << 18, slope, np.random.default_rng(1))
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    bands = [spectrum[1 << n : 2 << n].mean() for n in (12, 15)]
    assert 10 * np.log10(bands[0] / bands[1]) == pytest.approx(
        3 * slope * 10 * np.log10(2), abs=0.5
    )


def test_a_room_decays_by_sixty_decibels_and_is_no_louder():
    response = conditions.reverberation(0.3, RATE, np.random.default_rng(2))
    tail = response[1:]
    assert len(response) == 4800 and response[0] == 1 and np.linalg.norm(tail) == pytest.approx(1)
    parts = [np.sqrt((part**2).mean()) for part in np.array_split(tail, 6)]
    falls = 20 * np.log10(np.array(parts[:-1]) / parts[1:])
    assert falls == pytest.approx(np.full(5, 10.0), abs=1.5)
    wet = conditions.room(tone(440), response)
    assert len(wet) == RATE + 4799 and np.abs(wet).max() == pytest.approx(0.4, abs=0.01)


def test_a_telephone_keeps_its_band_and_nothing_else():
    low, middle, high = (
        conditions.power(conditions.telephone(tone(hertz), RATE)) for hertz in (50, 1000, 7000)
    )
    assert middle == pytest.approx(0.08, rel=0.05) and max(low, high) < 1e-4


def test_speed_moves_length_and_pitch():
    fast = conditions.speed(tone(400), 1.25)
    assert len(fast) == 12_800
    assert np.abs(np.fft.rfft(fast)).argmax() * RATE / len(fast) == pytest.approx(500, abs=2)


def test_mu_law_by_hand():
    """|x| = 1 and 0 stay; 0.5 is code 111.2 → 111, that is (256^(111/127) − 1)/255."""
    kept = conditions.mu_law(np.array([0.0, 1.0, -1.0, 0.5], np.float32))
    assert kept == pytest.approx([0, 1, -1, (256 ** (111 / 127) - 1) / 255], abs=1e-6)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_an_mp3_is_as_long_and_in_time(rate):
    clip = np.zeros(rate, np.float32)
    clip[rate // 2 : rate // 2 + rate // 20] = 0.5 * np.sin(np.arange(rate // 20) * 0.3)
    kept = conditions.mp3(clip, rate)
    assert len(kept) == len(clip) and not np.array_equal(kept, clip)
    lags = np.correlate(kept, clip[rate // 4 : -(rate // 4)], "valid")
    assert lags.argmax() == rate // 4


@pytest.mark.parametrize("name", Conditions.model_fields)
def test_a_view_is_drawn_by_seed_clip_and_number_alone(name):
    """All conditions are drawn alike: those of a share of 0 never, of 1 always."""
    clip = tone(300) + tone(1700)

    def view(number: int, seed: int, **section) -> np.ndarray:
        params = Views(count=2, conditions=Conditions.model_validate({name: section}))
        return views.in_view(clip, "a", number, RATE, params, seed)

    first = view(1, 3)
    assert first.dtype == np.float32 and np.abs(first).max() <= 1 and first is not clip
    assert np.array_equal(first, view(1, 3)) and not np.array_equal(first, clip)
    assert view(1, 3, share=0.0) is clip and view(0, 3) is clip
    if name != "telephone":  # of which there is one
        others = [view(2, 3), view(1, 4)]
        assert not all(np.array_equal(first, other) for other in others)


def test_a_share_of_the_views_is_changed():
    params = Views(count=1, conditions=Conditions.model_validate({"telephone": {"share": 0.3}}))
    clip = tone(300)
    changed = [views.in_view(clip, f"c{n}", 1, RATE, params, 0) is not clip for n in range(400)]
    assert 0.22 < np.mean(changed) < 0.38


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({"noise": {"snr_db": [40.0, 20.0]}}, r"snr_db=\[40.0, 20.0\] must be the lower end"),
        ({"room": {"rt60": [0.0, 0.4]}}, "rt60"),
        ({"codec": {"names": []}}, "names"),
        ({"hiss": {}}, "hiss"),
    ],
)
def test_a_condition_that_makes_no_sense_is_named(condition, message):
    content = yaml_file.read("params.yaml")
    content["tracks"]["listening"]["views"]["conditions"] = condition
    with pytest.raises(ParameterError, match=message):
        parse(content)


def test_silence_at_the_ends_is_found(tmp_path):
    """A tenth of a second is left around the sound; noise 40 dB below it is silence too."""
    from earshot.features.audio import audible

    sound = tone(500)
    rng = np.random.default_rng(0)
    hiss = (0.4e-3 * rng.standard_normal(3 * RATE)).astype(np.float32)
    clip = hiss.copy()
    clip[RATE : 2 * RATE] += sound
    assert audible(clip, RATE) == (RATE - 1600, 2 * RATE + 1600)
    assert audible(sound, RATE) == (0, RATE)
    assert audible(np.zeros(80, np.float32), RATE) == (0, 80)
