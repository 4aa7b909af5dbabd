"""Decoding and checking audio."""

import io
import struct

import numpy as np
import pytest
import soundfile

from earshot.features import audio


def tone(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(
        np.float32
    )


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_flac_decodes_to_what_libsndfile_gives(tmp_path, subtype):
    file = tmp_path / "tone.flac"
    soundfile.write(file, tone(16_000), 16_000, subtype=subtype)
    samples = audio.decode(file, 16_000)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, soundfile.read(file, dtype="float32")[0])


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize(
    ("format", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("OGG", "VORBIS"), ("MP3", None)]
)
def test_any_rate_and_format_gives_the_same_tone(tmp_path, rate, format, subtype):
    file = tmp_path / f"tone.{format.lower()}"
    soundfile.write(file, tone(rate), rate, format=format, subtype=subtype)
    samples = audio.decode(file, 16_000)
    assert abs(len(samples) - 16_000) <= (2000 if format == "MP3" else 1)
    middle = samples[4_000:12_000].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(spectrum.argmax() * 2 - 440) <= 2
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_channels_are_averaged(tmp_path, subtype):
    file = tmp_path / "stereo.wav"
    soundfile.write(file, np.tile([[0.5, -0.25]], (100, 1)), 16_000, subtype=subtype)
    np.testing.assert_array_equal(audio.decode(file, 16_000), np.full(100, 0.125, np.float32))


def test_samples_stay_in_range(tmp_path):
    loud = np.where(tone(44_100) > 0, 1.7, -1.7)
    soundfile.write(tmp_path / "loud.wav", loud, 44_100, subtype="FLOAT")
    for rate in (44_100, 16_000):
        assert np.abs(audio.decode(tmp_path / "loud.wav", rate)).max() == 1


def test_unusable_files_are_named(tmp_path):
    good = tmp_path / "good.flac"
    soundfile.write(good, tone(16_000, 3), 16_000)
    content = good.read_bytes()
    soundfile.write(tmp_path / "frames0.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "wide.au", np.zeros((100, 65)), 16_000)
    soundfile.write(tmp_path / "whole.mp3", tone(16_000, 3), 16_000)
    compressed = (tmp_path / "whole.mp3").read_bytes()
    cases = {
        "absent.flac": (None, "no such file"),
        "empty.flac": (b"", "empty file"),
        "text.flac": (b"hello, this is not audio", "not readable audio (Format not recognised)"),
        "headless.raw": (b"abc", "not readable audio"),
        "half.flac": (content[: len(content) // 2], "cut short"),
        "rotten.flac": (content[:9000] + bytes(3000) + content[12000:], "not readable audio"),
        "cut.mp3": (compressed[: len(compressed) // 2], "cut short"),
        "header.flac": (content[:6] + b"\1" + content[7:], "not readable audio"),
        "slow.wav": (replaced(encoded(tone(16_000), 16_000, "WAV"), 24, b"\x10\0"), "16 Hz"),
        "no-sync.mp3": (b"\xf7" + without_xing(compressed)[1:], "not begin with an MPEG frame"),
        "frames0.wav": ((tmp_path / "frames0.wav").read_bytes(), "no samples"),
        "wide.au": ((tmp_path / "wide.au").read_bytes(), "65 channels, and at most 64"),
        "nan.wav": ((tmp_path / "nan.wav").read_bytes(), "non-finite"),
    }
    for name, (bytes_, reason) in cases.items():
        if bytes_ is not None:
            (tmp_path / name).write_bytes(bytes_)
        with pytest.raises(audio.AudioError) as error:
            audio.decode(tmp_path / name, 16_000)
        message = str(error.value)
        assert (
            message.startswith(f"{tmp_path / name}: ") and reason in message and "\n" not in message
        )


def test_header(tmp_path):
    soundfile.write(tmp_path / "a.flac", tone(8_000, 1.5), 8_000)
    (tmp_path / "b.flac").write_text("no audio")
    assert audio.header(tmp_path / "a.flac") == (1.5, 8_000)
    assert audio.header(tmp_path / "b.flac") == audio.header(tmp_path / "absent.flac") == (0.0, 0)


def square(level: float, size: int = 1600) -> np.ndarray:
    return (level * (-1.0) ** np.arange(size)).astype(np.float32)


def test_check():
    samples = square(0.01)
    assert audio.check(samples, 16_000, 0.1, 0.0099) is None
    assert audio.check(samples, 16_000, 0.1, 0.0101) == "silent"
    assert audio.check(samples[:-1], 16_000, 0.1, 0.001) == "too short"
    assert audio.check(np.append(samples, np.float32("inf")), 16_000, 0.1, 0.001) == "non-finite"
    assert audio.check(samples[:0], 16_000, 0.0, 0.0) == "too short"


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize(
    ("format", "subtype"), [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", "PCM_24")]
)
@pytest.mark.parametrize("level", [0.0, 0.5, -0.999])
def test_a_constant_is_silence_whatever_its_offset(tmp_path, rate, format, subtype, level):
    file = tmp_path / f"constant.{format.lower()}"
    soundfile.write(file, np.full(rate, level, np.float32), rate, format=format, subtype=subtype)
    assert audio.check(audio.decode(file, 16_000), 16_000, 0.2, 1e-4) == "silent"


# How many samples a file says it has is no part of what it holds.


def encoded(samples: np.ndarray, rate: int, format: str, subtype: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def without_xing(content: bytes) -> bytes:
    """Return an MP3 without its first frame, which says how many follow."""
    assert b"Info" in content[:100] or b"Xing" in content[:100]
    return content[content.index(content[:2], 2) :]


def replaced(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]


def streamed_flac(content: bytes) -> bytes:
    """Return a FLAC file as it is written into a pipe: 36 bits of its length are 0."""
    return replaced(content, 21, bytes([content[21] & 0xF0, 0, 0, 0, 0]))


def mpeg_in_wav(content: bytes) -> bytes:
    form = struct.pack("<HHIIHHHHIHHH", 0x55, 1, 16_000, 4000, 1, 0, 12, 1, 2, 144, 1, 1393)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"fact" + struct.pack("<II", 4, 100) + b"data" + struct.pack("<I", len(content))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks) + len(content)) + b"WAVE" + chunks + content


def joined_and_unmeasured() -> dict[str, tuple[bytes, int, int]]:
    """Return by name: a file, the samples in it at 16 kHz, how many more its codec may add."""
    one, two = tone(16_000, 3), tone(16_000, 2, 700)
    wav, flac = encoded(one, 16_000, "WAV"), encoded(one, 16_000, "FLAC")
    ogg, opus = encoded(one, 16_000, "OGG", "VORBIS"), encoded(one, 16_000, "OGG", "OPUS")
    mp3 = encoded(one, 16_000, "MP3")
    plain = without_xing(mp3)
    other_ogg = encoded(np.tile(tone(44_100, 2)[:, None], 2), 44_100, "OGG", "VORBIS")
    aiff, caf = encoded(one, 16_000, "AIFF"), encoded(one, 16_000, "CAF")
    return {
        "joined.mp3": (mp3 + encoded(two, 16_000, "MP3"), 80_000, 4000),
        "joined-other-rate.mp3": (mp3 + encoded(tone(44_100, 2), 44_100, "MP3"), 80_000, 4000),
        "no-xing.mp3": (plain, 48_000, 2000),
        "no-xing-joined.mp3": (plain + plain, 96_000, 4000),
        "tags.mp3": (
            b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + plain + b"TAG" + bytes(125),
            48_000,
            2000,
        ),
        "in.wav": (mpeg_in_wav(plain), 48_000, 2000),
        "chained.ogg": (ogg + encoded(two, 16_000, "OGG", "VORBIS"), 80_000, 0),
        "chained-other-rate.ogg": (ogg + other_ogg, 80_000, 0),
        "chained-opus.ogg": (opus + opus, 96_000, 0),
        "joined.flac": (flac + encoded(two, 16_000, "FLAC"), 80_000, 0),
        "streamed.flac": (streamed_flac(flac), 48_000, 0),
        "streamed-tagged.flac": (streamed_flac(flac) + b"TAG" + bytes(125), 48_000, 0),
        "short-header.flac": (replaced(flac, 24, b"\0\x10"), 48_000, 0),
        "joined.wav": (wav + encoded(two, 16_000, "WAV"), 80_000, 0),
        "size-0.wav": (replaced(wav, 40, bytes(4)), 48_000, 0),
        "size-0-riff-0.wav": (replaced(replaced(wav, 40, bytes(4)), 4, bytes(4)), 48_000, 0),
        "size-ffffffff.wav": (replaced(wav, 40, b"\xff\xff\xff\xff"), 48_000, 0),
        "size-7fffffff.wav": (replaced(wav, 40, b"\xff\xff\xff\x7f"), 48_000, 0),
        "size-0.aiff": (replaced(aiff, aiff.index(b"SSND") + 4, bytes(4)), 48_000, 0),
        "size--1.caf": (replaced(caf, caf.index(b"data") + 4, b"\xff" * 8), 48_000, 0),
    }


@pytest.mark.parametrize("name", joined_and_unmeasured())
def test_sound_is_read_to_its_end_whatever_a_header_says(tmp_path, name):
    content, samples, more = joined_and_unmeasured()[name]
    (tmp_path / name).write_bytes(content)
    decoded = audio.decode(tmp_path / name, 16_000)
    assert samples - 2 <= len(decoded) <= samples + more + 2
    last = decoded[-16_000 - more : -more or None]
    assert 0.3 < np.sqrt(np.mean(last**2)) < 0.4  # a tone of amplitude 0.5
    seconds, rate = audio.header(tmp_path / name)
    assert seconds == pytest.approx(len(decoded) / 16_000, abs=0.001) and rate


def truncated() -> dict[str, bytes]:
    one = tone(16_000, 3)
    files = {
        "a.wav": encoded(one, 16_000, "WAV"),
        "b.wav": encoded(one, 16_000, "WAV", "FLOAT"),
        "c.flac": encoded(one, 16_000, "FLAC"),
        "d.ogg": encoded(one, 16_000, "OGG", "VORBIS"),
        "e.ogg": encoded(one, 16_000, "OGG", "OPUS"),
        "f.mp3": encoded(one, 16_000, "MP3"),
        "g.aiff": encoded(one, 16_000, "AIFF"),
        "h.w64": encoded(one, 16_000, "W64"),
        "i.caf": encoded(one, 16_000, "CAF"),
        "j.au": encoded(one, 16_000, "AU"),
        "k.wav": encoded(one, 16_000, "RF64"),
    }
    halves = {f"half-{name}": content[: len(content) // 2] for name, content in files.items()}
    ends = {f"end-{name}": content[:-7] for name, content in files.items()}
    pages = files["d.ogg"][: files["d.ogg"].rindex(b"OggS")]
    unmeasured = streamed_flac(files["c.flac"])
    more = {
        "whole-pages.ogg": pages,
        "chain-without-an-end.ogg": pages + files["d.ogg"],
        "no-xing.mp3": without_xing(files["f.mp3"])[:-7],
        "streamed.flac": unmeasured[:-7],
        "streamed-half.flac": unmeasured[: len(unmeasured) // 2],
    }
    return halves | ends | more


@pytest.mark.parametrize("name", truncated())
def test_what_is_cut_is_refused_in_every_container(tmp_path, name):
    (tmp_path / name).write_bytes(truncated()[name])
    with pytest.raises(audio.AudioError) as error:
        audio.decode(tmp_path / name, 16_000)
    assert "cut short" in str(error.value)


def test_a_damaged_page_is_refused(tmp_path):
    content = encoded(tone(16_000, 3), 16_000, "OGG", "VORBIS")
    place = len(content) // 2
    flipped = bytes([content[place] ^ 1])
    (tmp_path / "flip.ogg").write_bytes(replaced(content, place, flipped))
    with pytest.raises(audio.AudioError, match="flip.ogg: damaged at byte"):
        audio.decode(tmp_path / "flip.ogg", 16_000)


@pytest.mark.parametrize("peak", [127, 32_767, 8_388_607, 2.0**31])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_float_samples_of_another_scale_are_refused_not_clipped(tmp_path, peak, subtype):
    soundfile.write(tmp_path / "a.wav", tone(16_000) * 2.0 * peak, 16_000, subtype=subtype)
    with pytest.raises(audio.AudioError, match="where 1 is full scale; divide them"):
        audio.decode(tmp_path / "a.wav", 16_000)


def test_float_samples_a_little_above_full_scale_keep_their_shape(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(16_000) * 3.0, 16_000, subtype="FLOAT")
    expected = tone(16_000) * 2.0
    np.testing.assert_allclose(audio.decode(tmp_path / "a.wav", 16_000), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_stream_is_what_decode_returns(tmp_path, rate, monkeypatch):
    soundfile.write(tmp_path / "a.flac", np.tile(tone(rate, 3)[:, None], 2), rate)
    whole = audio.decode(tmp_path / "a.flac", 16_000)
    monkeypatch.setattr(audio.files, "_BLOCK", 10_000)
    blocks = list(audio.stream(tmp_path / "a.flac", 16_000))
    assert max(map(len, blocks)) <= 5000
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
