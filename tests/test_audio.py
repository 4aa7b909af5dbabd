"""Decoding and checking audio."""

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
    unknown_length = bytearray(content)
    unknown_length[21] &= 0xF0  # 36 bits of STREAMINFO: the number of samples
    unknown_length[22:26] = bytes(4)
    soundfile.write(tmp_path / "frames0.wav", np.zeros(0), 16_000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "whole.mp3", tone(16_000, 3), 16_000)
    compressed = (tmp_path / "whole.mp3").read_bytes()
    cases = {
        "absent.flac": (None, "no such file"),
        "empty.flac": (b"", "empty file"),
        "text.flac": (b"hello, this is not audio", "not readable audio (Format not recognised)"),
        "headless.raw": (b"abc", "not readable audio"),
        "half.flac": (content[: len(content) // 2], "not readable audio"),
        "rotten.flac": (content[:9000] + bytes(3000) + content[12000:], "not readable audio"),
        "endless.flac": (bytes(unknown_length), "no possible length"),
        "cut.mp3": (compressed[: len(compressed) // 2], "cut short"),
        "frames0.wav": ((tmp_path / "frames0.wav").read_bytes(), "no samples"),
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


def test_check():
    samples = np.full(1600, 0.01, np.float32)
    assert audio.check(samples, 16_000, 0.1, 0.0099) is None
    assert audio.check(samples, 16_000, 0.1, 0.0101) == "silent"
    assert audio.check(samples[:-1], 16_000, 0.1, 0.001) == "too short"
    assert audio.check(np.append(samples, np.float32("inf")), 16_000, 0.1, 0.001) == "non-finite"
    assert audio.check(samples[:0], 16_000, 0.0, 0.0) == "too short"
