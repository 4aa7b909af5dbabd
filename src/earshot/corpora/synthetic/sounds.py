"""What the embedded scenes are made of: sources, each a function of a random generator and a
`Place`.

A source returns float32 samples `(N,)` whose loud parts are about RMS 1. What makes it this bus
rather than that one are the place's traits; what changes from moment to moment is drawn from the
generator.
"""

from collections.abc import Callable

import numpy as np

from earshot.corpora.synthetic.waves import (
    Place,
    Traits,
    band,
    decay,
    happenings,
    noise,
    scatter,
    slow,
    split,
    tone,
    unit,
)


def ventilation(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("ventilation"), place.sample_rate
    air = noise(
        rng,
        place.samples,
        rate,
        band(traits.uniform(30, 120), traits.uniform(400, 3000), traits.uniform(-7, -1), 1),
    )
    hum = tone(
        rng,
        50.0 * traits.integers(1, 3),
        rate,
        traits.uniform(0.5, 0.9) ** np.arange(12),
        place.samples,
    )
    return air + np.float32(traits.uniform(0, 0.8)) * hum


def engine(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("engine"), place.sample_rate
    pitch = traits.uniform(24, 60) * slow(rng, place, 0.5, traits.uniform(0.03, 0.3))
    harmonics = traits.uniform(0.7, 0.95) ** np.arange(60) * (0.2 + rng.random(60))
    rumble = noise(rng, place.samples, rate, band(40, traits.uniform(200, 900), -3, 1))
    return tone(rng, pitch, rate, harmonics) + np.float32(traits.uniform(0.4, 1.2)) * rumble * slow(
        rng, place, 2, 0.2
    )


def whine(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("whine"), place.sample_rate
    pitch = traits.uniform(180, 900) * slow(rng, place, 0.4, traits.uniform(0.1, 0.5))
    return tone(rng, pitch, rate, traits.uniform(0.3, 0.7) ** np.arange(8)) * slow(
        rng, place, 0.7, 0.6
    )


def rolling(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("rolling"), place.sample_rate
    sound = noise(
        rng,
        place.samples,
        rate,
        band(traits.uniform(40, 150), traits.uniform(500, 2500), traits.uniform(-6, 0), 1),
    )
    return (
        sound
        * slow(rng, place, traits.uniform(1, 6), traits.uniform(0.1, 0.35))
        * slow(rng, place, 0.4, 0.3)
    )


def clacks(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("clacks"), place.sample_rate
    period, gap = traits.uniform(0.7, 1.8), traits.uniform(0.08, 0.22)
    starts = np.arange(-rng.random() * period, place.seconds, period)
    starts = np.concatenate([starts, starts + gap]) + rng.normal(0, 0.01, 2 * len(starts))
    strike = decay(rate, traits.uniform(0.1, 0.25))
    events = [
        4
        * strike
        * noise(
            rng, len(strike), rate, band(traits.uniform(80, 250), traits.uniform(700, 2500), -2)
        )
        for _ in range(3)
    ]
    return scatter(place, starts, events, rng.uniform(0.4, 1.2, len(starts)))


def squeal(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("squeal"), place.sample_rate
    pitch = traits.uniform(1500, 4200) * slow(rng, place, 1.5, 0.04)
    gust = np.clip(slow(rng, place, 0.5, 1.2) - 1.4, 0, 2)
    return tone(rng, pitch, rate, np.array([1, 0.3, 0.15])) * gust


def babble(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("babble"), place.sample_rate
    talk = sum(_voice(rng, place, 2 ** rng.uniform(6.5, 8.0)) for _ in range(traits.integers(2, 6)))
    formants = (
        (150, 700, 1),
        (700, 2200, traits.uniform(0.4, 1)),
        (2200, 6000, traits.uniform(0.2, 0.9)),
    )
    bands = split(talk, rate, *(band(low, high) for low, high, _ in formants))
    return unit(
        sum(
            np.float32(f[2]) * slow(rng, place, 5, 0.5) * part
            for f, part in zip(formants, bands, strict=True)
        )
    )


def _voice(rng: np.random.Generator, place: Place, pitch: float) -> np.ndarray:
    """Return one talker's source: a buzz in syllables and phrases, with breath."""
    syllables = np.clip(slow(rng, place, rng.uniform(3.5, 6), 0.9) - 0.5, 0, 3) * np.clip(
        slow(rng, place, 0.5, 1) - 0.4, 0, 2
    )
    buzz = tone(
        rng, pitch * slow(rng, place, 3, 0.1), place.sample_rate, 1 / np.arange(1, 60) ** 0.7
    )
    breath = np.float32(0.25) * np.tile(
        rng.standard_normal(place.sample_rate, dtype=np.float32), int(place.seconds) + 1
    )
    return (buzz + breath[: place.samples]) * syllables


def footsteps(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("footsteps"), place.sample_rate
    strike = decay(rate, traits.uniform(0.05, 0.16))
    heel = band(traits.uniform(80, 400), traits.uniform(900, 5000), -2)
    events = [5 * strike * noise(rng, len(strike), rate, heel) for _ in range(4)]
    out = np.zeros(place.samples, dtype=np.float32)
    for _ in range(rng.integers(1, 4)):
        pace = rng.uniform(0.45, 0.65)
        starts = np.arange(-rng.random() * pace, place.seconds, pace)
        near = np.exp(-0.5 * ((starts - rng.uniform(0, place.seconds)) / rng.uniform(1.5, 5)) ** 2)
        out += scatter(
            place,
            starts + rng.normal(0, 0.02, len(starts)),
            events,
            near * rng.uniform(0.6, 1.2, len(starts)),
        )
    return out


def birds(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("birds"), place.sample_rate
    out = np.zeros(place.samples, dtype=np.float32)
    for _ in range(traits.integers(1, 4)):
        low, high, length = (
            traits.uniform(2000, 4500),
            traits.uniform(2500, 6500),
            traits.uniform(0.05, 0.16),
        )
        sweep = np.linspace(low, high, int(rate * length)) * (
            1 + 0.05 * np.sin(np.linspace(0, traits.uniform(3, 60), int(rate * length)))
        )
        note = (
            2
            * tone(rng, sweep, rate, np.array([1, 0.15]))
            * np.hanning(len(sweep)).astype(np.float32)
        )
        calls, gap, notes = (
            happenings(rng, place, traits.uniform(0.15, 0.7), 2),
            traits.uniform(0.08, 0.3),
            traits.integers(2, 8),
        )
        starts = (calls[:, None] + gap * np.arange(notes)).ravel()
        out += scatter(place, starts, [note], np.repeat(rng.uniform(0.2, 1, len(calls)), notes))
    return out


def wind(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("wind"), place.sample_rate
    gusts = slow(rng, place, 0.8, traits.uniform(0.3, 0.9))
    leaves = noise(rng, place.samples, rate, band(800, 6000, -1, 1)) * gusts * gusts
    return (
        noise(rng, place.samples, rate, band(20, traits.uniform(80, 400), -4)) * gusts
        + np.float32(traits.uniform(0, 0.4)) * leaves
    )


def water(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("water"), place.sample_rate
    return noise(
        rng, place.samples, rate, band(traits.uniform(200, 900), traits.uniform(2500, 8000), -1, 1)
    ) * slow(rng, place, 25, 0.25)


def passby(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("passby"), place.sample_rate
    time = np.arange(place.samples, dtype=np.float32) / rate
    near = np.full(place.samples, np.float32(0.03))
    for start in happenings(rng, place, traits.uniform(0.08, 0.35), 2) + 1:
        near += np.float32(rng.uniform(0.4, 1.2)) / (
            1 + ((time - np.float32(start)) / np.float32(rng.uniform(0.4, 1.6))) ** 2
        )
    road = noise(
        rng, place.samples, rate, band(60, traits.uniform(500, 1500), traits.uniform(-5, -2), 1)
    )
    tyres = noise(rng, place.samples, rate, band(600, traits.uniform(2000, 5000), -2, 1))
    motor = tone(rng, rng.uniform(28, 90) * slow(rng, place, 0.6, 0.2), rate, 0.85 ** np.arange(30))
    return (
        1.5
        * near
        * (road + np.float32(0.5) * near * tyres + np.float32(traits.uniform(0.1, 0.7)) * motor)
    )


def announcement(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("announcement"), place.sample_rate
    ring = decay(rate, traits.uniform(0.5, 1.2), 0.01)
    steps = np.cumsum([0, *(traits.integers(-5, 6) for _ in range(traits.integers(1, 4)))])
    notes = traits.uniform(350, 700) * 2 ** (steps / 12)
    chime = [
        1.5 * ring * tone(rng, note, rate, np.array([1, 0.4, 0.2]), len(ring)) for note in notes
    ]
    out, voice = np.zeros(place.samples, dtype=np.float32), None
    for start in happenings(rng, place, 0.09, 6):
        out += scatter(place, start + 0.4 * np.arange(len(chime)), chime, np.ones(len(chime)))
        begin, end = (
            int(np.clip(start + t, 0, place.seconds) * rate) for t in (0.4 * len(chime) + 0.8, 6.5)
        )
        if end > begin:
            voice = _loudspeaker(rng, place, traits) if voice is None else voice
            out[begin:end] += voice[begin:end]
    return out


def _loudspeaker(rng: np.random.Generator, place: Place, traits: Traits) -> np.ndarray:
    voice = _voice(rng, place, traits.uniform(110, 240))
    return unit(
        split(voice, place.sample_rate, band(350, traits.uniform(2500, 4500), -2))[0]
        * slow(rng, place, 6, 0.4)
    )


def beeps(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("beeps"), place.sample_rate
    length = int(rate * traits.uniform(0.05, 0.25))
    beep = (
        tone(rng, traits.uniform(800, 3200), rate, np.array([1, 0.2, 0.3]), length)
        * np.hanning(length).astype(np.float32) ** 0.3
    )
    first, number = happenings(rng, place, traits.uniform(0.1, 0.4), 1), traits.integers(1, 6)
    starts = (first[:, None] + traits.uniform(0.15, 0.4) * np.arange(number)).ravel()
    return scatter(place, starts, [beep], np.repeat(rng.uniform(0.4, 1.2, len(first)), number))


def hiss(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("hiss"), place.sample_rate
    puff = decay(rate, traits.uniform(0.5, 1.4), 0.03)
    events = [
        3 * puff * noise(rng, len(puff), rate, band(traits.uniform(800, 2500), 7500, 0))
        for _ in range(2)
    ]
    starts = happenings(rng, place, traits.uniform(0.1, 0.3), 0.5)
    return scatter(place, starts, events, rng.uniform(0.4, 1.2, len(starts)))


def clatter(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("clatter"), place.sample_rate
    knock, low = decay(rate, traits.uniform(0.04, 0.2)), traits.uniform(300, 1800)
    events = [
        4 * knock * noise(rng, len(knock), rate, band(low, low * traits.uniform(1.5, 6), 0))
        for _ in range(4)
    ]
    first, number = happenings(rng, place, traits.uniform(0.2, 1), 1), traits.integers(1, 10)
    starts = (first[:, None] + rng.exponential(0.12, (len(first), number)).cumsum(1)).ravel()
    return scatter(place, starts, events, rng.uniform(0.2, 1, len(starts)))


def music(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("music"), place.sample_rate
    beat = int(rate * traits.uniform(0.3, 0.7))
    key, harmonics = traits.uniform(100, 200), traits.uniform(0.4, 0.75) ** np.arange(10)
    out = np.zeros(place.samples, dtype=np.float32)
    for octave in (1, 2, 4):
        steps = rng.choice([0, 2, 4, 5, 7, 9, 11, 12], place.samples // beat + 2)
        pitch = np.repeat(key * octave * 2 ** (steps / 12), beat)[: place.samples]
        pluck = np.tile(
            np.exp(-np.linspace(0, traits.uniform(0.5, 3), beat, dtype=np.float32)), len(steps)
        )[: place.samples]
        out += tone(rng, pitch, rate, harmonics) * pluck
    return unit(out)


def bell(rng: np.random.Generator, place: Place) -> np.ndarray:
    traits, rate = place.traits("bell"), place.sample_rate
    ring, pitch = decay(rate, traits.uniform(0.6, 2)), traits.uniform(500, 1500)
    partials = pitch * np.array([1, 2.01, 2.76, 5.4])
    event = (
        sum(
            tone(rng, float(f), rate, np.ones(1), len(ring)) / (k + 1)
            for k, f in enumerate(partials)
            if f < 0.45 * rate
        )
        * ring
    )
    starts = happenings(rng, place, traits.uniform(0.08, 0.3), 1.5)
    return scatter(place, starts, [2 * event], rng.uniform(0.3, 1.2, len(starts)))


SOURCES: dict[str, Callable[[np.random.Generator, Place], np.ndarray]] = {
    source.__name__: source
    for source in (
        ventilation, engine, whine, rolling, clacks, squeal, babble, footsteps, birds, wind, water,
        passby, announcement, beeps, hiss, clatter, music, bell,
    )
}  # fmt: skip


def room(rng: np.random.Generator, sample_rate: int, seconds: float) -> np.ndarray:
    """Return a room's tail `(taps,)` of unit energy, 60 dB down after `seconds`, treble fading
    first.
    """
    time = np.arange(int(sample_rate * seconds), dtype=np.float32) / sample_rate
    tail = rng.standard_normal(len(time), dtype=np.float32) * np.exp(-6.9 * time / seconds)
    (tail,) = split(tail, sample_rate, band(100, 3000, -1, 1))
    return tail / np.linalg.norm(tail)
