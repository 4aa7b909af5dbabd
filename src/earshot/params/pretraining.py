"""How a small checkpoint is made that a track's teacher starts from."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from earshot.params.data import Spoken
from earshot.params.section import Count, Positive, Section


class CTCPretrain(Section):
    """A small wav2vec 2.0 made from scratch, with CTC on the letters of spoken passages."""

    name: Literal["ctc"]
    passages: Count
    hidden: Count
    layers: Count
    heads: Count
    steps: Count
    batch_clips: Count
    learning_rate: Positive
    optimizer: Literal["adamw", "muon"] = "adamw"


class CTCLanguagesPretrain(CTCPretrain):
    """The same of several languages, on the letters of all; `passages` are shared out evenly."""

    name: Literal["ctc_languages"]
    languages: list[Spoken] = Field(min_length=1)


class Iteration(Section):
    """One round of HuBERT's training: k-means targets on MFCC (`layer: null`) or on a layer of the
    round before.
    """

    layer: Count | None = None
    clusters: Annotated[int, Field(ge=2)]
    steps: Count


class HubertPretrain(Section):
    """HuBERT on unlabelled clips: from scratch in the given size, or onwards from the checkpoint
    `start`.

    `clips` are made by the embedded generator; null takes the training clips of `manifest`, a
    corpus' table. The stage is frozen and does not depend on that table: its checkpoint is there
    before any corpus is. `revision` is a commit, `cache` the folder of fetched checkpoints, as in
    the teacher's section.
    """

    name: Literal["hubert"]
    start: str | None = None
    revision: str | None = None
    cache: str | None = None
    clips: Count | None = None
    manifest: str | None = None
    hidden: Count
    layers: Count
    heads: Count
    iterations: list[Iteration] = Field(min_length=1)
    mask_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    mask_frames: Count = 5
    temperature: Positive = 0.1
    batch_clips: Count
    learning_rate: Positive

    @model_validator(mode="after")
    def _one_source(self) -> "HubertPretrain":
        if (self.clips is None) == (self.manifest is None):
            raise ValueError(
                "give either clips, a number to be made, or manifest, the table of a corpus"
            )
        return self


Pretrain = Annotated[
    CTCPretrain | CTCLanguagesPretrain | HubertPretrain, Field(discriminator="name")
]
