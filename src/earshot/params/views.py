"""Versions of training clips as other devices and other rooms would have recorded them."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from earshot.params.section import Positive, Section, Share

Ends = Annotated[list[float], Field(min_length=2, max_length=2)]


class Condition(Section):
    """What happens to a `share` of the views."""

    share: Share = 1.0


class Speed(Condition):
    """Played faster or slower by at most `percent`, which moves the pitch too."""

    percent: Annotated[float, Field(gt=0, le=50)] = 5.0


class Silence(Condition):
    """Digital silence at both ends, of 0 to `seconds` each."""

    seconds: Positive = 1.0


class _Between(Condition):
    """A condition whose strength is drawn evenly between two ends."""

    @model_validator(mode="after")
    def _ascends(self) -> "_Between":
        for name, ends in self:
            if name != "share" and ends[0] > ends[1]:
                raise ValueError(f"{name}={ends} must be the lower end, then the upper one")
        return self


class Room(_Between):
    """Reverberation that falls by 60 dB within these seconds."""

    rt60: Annotated[list[Positive], Field(min_length=2, max_length=2)] = [0.15, 0.4]


class Noise(_Between):
    """Steady noise, of a colour from white to brown, so many dB below the clip."""

    snr_db: Ends = [20.0, 40.0]


class Response(Condition):
    """The frequency response of a device: a recording of `views.responses`, or a parametric one."""


class Level(_Between):
    """Quieter or louder by so many dB; what leaves full scale is clipped."""

    gain_db: Ends = [-30.0, 0.0]


class Telephone(Condition):
    """The band of a telephone, 300 to 3400 Hz."""


class Codec(Condition):
    """One of these codecs: 8-bit µ-law, MP3 at 32 kbit/s."""

    names: list[Literal["mulaw", "mp3"]] = Field(["mulaw", "mp3"], min_length=1)


class Conditions(Section):
    """What may happen to a clip on its way from mouth to file, in this order; null never does."""

    speed: Speed | None = None
    silence: Silence | None = None
    room: Room | None = None
    noise: Noise | None = None
    response: Response | None = None
    level: Level | None = None
    telephone: Telephone | None = None
    codec: Codec | None = None


class Views(Section):
    """Numbered versions of training clips under `conditions`; version 0 is the clip itself. With
    the response of a device alone this is ADIR.

    Responses are the recordings in the folder `responses`, or parametric ones when it is null. Only
    clips of `devices` get views; null means all.
    """

    count: Annotated[int, Field(ge=0)] = 0
    responses: str | None = None
    devices: list[str] | None = None
    conditions: Conditions = Conditions(response=Response())
