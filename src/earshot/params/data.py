"""The audio, and how much of it is labelled: corpora, features, items."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from earshot.params.section import Count, Positive, Section, Share, Split, Weight


class SyntheticSpeech(Section):
    """The embedded corpus: passages per split, each few-shot passage in several wordings."""

    name: Literal["synthetic_speech"]
    passages: dict[Split, Count]
    fewshot_retellings: Count = 12


class OpenSpeech(Section):
    """The embedded corpus of a recogniser: clips per split, `salad_share` of them words in any
    order; those of the pool have no transcript.
    """

    name: Literal["open_speech"]
    clips: dict[Literal["pool", "fewshot", "validation", "test"], Count]
    salad_share: Share = 0.5


Spoken = Literal["de", "en", "es", "ru"]  # the languages that there is an embedded world of


class OpenLanguages(Section):
    """The embedded corpus of a recogniser of several languages: clips of each per split, as those
    of OpenSpeech.

    A language in `labelled_share` has that share of the clips of the split `fewshot`.
    """

    name: Literal["open_languages"]
    languages: list[Spoken] = Field(min_length=1)
    clips: dict[Literal["pool", "fewshot", "validation", "test"], Count]
    labelled_share: dict[Spoken, Annotated[float, Field(gt=0, le=1)]] = {}
    salad_share: Share = 0.2

    @model_validator(mode="after")
    def _languages_agree(self) -> "OpenLanguages":
        if len(set(self.languages)) < len(self.languages):
            raise ValueError(f"languages={self.languages} names a language twice")
        for language in self.labelled_share:
            if language not in self.languages:
                raise ValueError(f"labelled_share.{language} must be one of {self.languages}")
        return self

    def number(self, language: str, split: str) -> int:
        """Return the clips of a split in a language."""
        share = self.labelled_share.get(language, 1.0) if split == "fewshot" else 1.0
        return max(1, round(self.clips[split] * share))


class Download(Section):
    """How the parts of a corpus come to its `root`; what lies there already is checked and used.

    `mirrors` are base addresses used instead of the built-in ones, in this order: a file is at
    BASE/NAME. `parallel` files are fetched at once. `table` is a YAML file {part: {md5, bytes}}
    whose entries take the place of the built-in ones.
    """

    mirrors: list[str] = []
    parallel: Count = 4
    keep_archives: bool = False
    table: str | None = None


class LibriSpeechDownload(Download):
    """Parts of LibriSpeech (OpenSLR 12), Mini LibriSpeech (OpenSLR 31) and LibriSQA Part II."""

    parts: list[
        Literal[
            "train-clean-100",
            "train-clean-360",
            "train-other-500",
            "dev-clean",
            "dev-other",
            "test-clean",
            "test-other",
            "train-clean-5",
            "dev-clean-2",
            "librisqa-train",
            "librisqa-test",
        ]
    ] = Field(min_length=1)


TAU2022Part = Literal[
    *("doc", "meta", "audio", "subsets"),
    *("audio.1", "audio.2", "audio.3", "audio.4", "audio.5", "audio.6", "audio.7", "audio.8"),
    *("audio.9", "audio.10", "audio.11", "audio.12", "audio.13", "audio.14", "audio.15"),
    *("audio.16", "split5.csv", "split10.csv", "split25.csv", "split50.csv", "split100.csv"),
    "test.csv",
]


class TAU2022Download(Download):
    """Parts of TAU 2022 (Zenodo 6337421; `audio` is all sixteen) and DCASE 2024's lists (`subsets`
    is all six).
    """

    parts: list[TAU2022Part] = Field(["meta", "audio", "subsets"], min_length=1)


class LibriSpeech(Section):
    """A folder in LibriSpeech's layout; `splits` maps a path prefix (`dev-clean`, `test-other/367`)
    to a split or `auto`.

    The longest prefix wins. Speakers under `auto` are dealt out to the splits in the shares of
    `auto`. `download` null takes only what lies in `root`.
    """

    name: Literal["librispeech"]
    root: str
    download: LibriSpeechDownload | None = None
    splits: dict[str, Literal["teacher", "pool", "fewshot", "validation", "test", "auto"]] = Field(
        min_length=1
    )
    auto: dict[Split, Positive] = {
        "teacher": 0.4,
        "pool": 0.35,
        "fewshot": 0.05,
        "validation": 0.05,
        "test": 0.15,
    }


class TAU2022(Section):
    """A folder in the layout of TAU Urban Acoustic Scenes 2022 Mobile.

    `download` null takes only what lies in `root`. `meta` is the table of clips in `root`; lists,
    also DCASE 2024's subsets, lie there or in its `evaluation_setup`. `simulated` adds devices:
    their name (`s1` … `s6`) and a recording of their impulse response, through which the clips of
    device `a` are made again; `unseen_devices` are for the test alone.
    """

    name: Literal["tau2022"]
    root: str
    download: TAU2022Download | None = None
    meta: str = "meta.csv"
    validation_share: Share = 0.1
    test_share: Share = 0.3
    unseen_devices: list[str] = ["s4", "s5", "s6"]
    simulated: dict[str, str] = {}


class SyntheticScenes(Section):
    """The embedded scenes: recordings (segments) of each class, and how many one-second clips each
    is cut into.

    Test segments are recorded by all nine devices, training segments through one of the six seen
    ones.
    """

    name: Literal["synthetic_scenes"]
    segments: dict[Literal["train", "test"], Count]
    clips: dict[Literal["train", "test"], Annotated[int, Field(ge=1, le=10)]]
    sample_rate: Count = 16_000
    validation_share: Share = 0.1


class CommonVoice(Section):
    """A release of Common Voice: its folder (or the one above the language's), or its .tar.gz,
    unpacked beside it.

    `splits` maps the release's tables to a split, or `auto`: their speakers are dealt to splits in
    the shares of `auto`. A clip is used once; test and validation come before the other splits.
    With `speakers: clip` each clip counts as a speaker's own, as where one reader reads all: what
    is measured then says nothing about other voices.
    """

    name: Literal["common_voice"]
    root: str
    language: str = Field(min_length=1)
    speakers: Literal["client_id", "clip"] = "client_id"
    splits: dict[
        Literal["validated", "train", "dev", "test"],
        Literal["teacher", "pool", "fewshot", "validation", "test", "auto"],
    ] = Field({"train": "auto", "dev": "validation", "test": "test"}, min_length=1)
    auto: dict[Split, Positive] = {"teacher": 0.5, "pool": 0.4, "fewshot": 0.1}


class Manifest(Section):
    """The user's own CSV or Parquet with columns path, text or label, speaker, split."""

    name: Literal["manifest"]
    path: str


class OwnRecordings(Section):
    """Recordings in the shape of another tool: `root` is its folder, or its table.

    Splits `train`, `validation` and `test` are the corpus' own, or dealt: of all groups (speakers,
    places, longer recordings, sentences) the shares `validation` and `test`, of each class apart.
    Of what is for training and has a text, `fewshot` is the share of groups that is labelled and
    `teacher` the share that only the teacher learns from; the rest is the pool. Of labelled classes
    it is all the pool, and the section `fewshot` draws. With `speakers: clip` each clip counts as a
    speaker's own, as where one reader reads all: what is measured then says nothing about other
    voices. `target` says which is learned where a table has both; null takes labels if there are
    any.
    """

    name: Literal["recordings"]
    root: str
    shape: Literal["audiofolder", "folders", "kaldi", "nemo", "lhotse", "ljspeech", "table"]
    target: Literal["text", "label"] | None = None
    speakers: Literal["named", "clip"] = "named"
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.2
    fewshot: Annotated[float, Field(gt=0, lt=1)] = 0.1
    teacher: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _leaves_a_pool(self) -> "OwnRecordings":
        for one, other in (("validation", "test"), ("fewshot", "teacher")):
            if getattr(self, one) + getattr(self, other) >= 1:
                raise ValueError(
                    f"{one}={getattr(self, one)} and {other}={getattr(self, other)} "
                    "must leave some: together below 1"
                )
        return self


class Languages(Section):
    """One corpus a language, by its tag (`de`, `pt-BR`): together they are the track's."""

    name: Literal["languages"]
    corpora: dict[
        Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]+)*$")],
        Annotated[
            LibriSpeech | CommonVoice | Manifest | OwnRecordings, Field(discriminator="name")
        ],
    ] = Field(min_length=1)

    @model_validator(mode="after")
    def _tags_agree(self) -> "Languages":
        for tag, corpus in self.corpora.items():
            if getattr(corpus, "language", tag) != tag:
                raise ValueError(f"corpora.{tag}.language={corpus.language!r} must be {tag!r}")
        return self


def each(corpus: Section) -> list[Section]:
    """Return the corpora that a track's consists of: those of its languages, or itself."""
    return list(corpus.corpora.values()) if isinstance(corpus, Languages) else [corpus]


Corpus = Annotated[
    SyntheticSpeech
    | LibriSpeech
    | CommonVoice
    | SyntheticScenes
    | TAU2022
    | Manifest
    | OpenSpeech
    | OpenLanguages
    | OwnRecordings
    | Languages,
    Field(discriminator="name"),
]


class Features(Section):
    """Log-mel settings, and what counts as a bad clip."""

    sample_rate: Count = 16_000
    n_fft: Count = 400
    win_length: Count = 400
    hop_length: Count = 160
    window: Literal["hann", "hamming"] = "hann"
    n_mels: Count = 40
    fmin: Weight = 0.0
    fmax: Positive = 8000.0
    norm: Literal["none", "mean", "meanvar"] = "meanvar"
    silence_db: Positive | None = None
    silence: Literal["zeros", "quietest"] = "zeros"
    min_seconds: Positive = 0.2
    min_rms: Positive = 1e-4
    max_bad_share: Share = 0.02

    @model_validator(mode="after")
    def _silence_has_a_value(self) -> "Features":
        if self.silence_db and self.norm == "none":
            raise ValueError(
                f"silence_db={self.silence_db} needs norm=mean or meanvar: silent frames become "
                "zeros, which are otherwise no mean"
            )
        return self

    @property
    def skips_silence(self) -> bool:
        """Whether silent frames are known by being zeros, so that pooling leaves them out."""
        return self.silence_db is not None and self.silence == "zeros"

    @model_validator(mode="after")
    def _window_fits(self) -> "Features":
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length={self.win_length} must be at most n_fft={self.n_fft}")
        if not self.fmin < self.fmax <= self.sample_rate / 2:
            raise ValueError(
                f"fmax={self.fmax} must lie above fmin and at most at "
                f"sample_rate/2={self.sample_rate / 2}"
            )
        return self


class Pool(Section):
    """Questions asked of unlabelled audio: their options come from the teacher's transcripts, their
    answer is unknown.
    """

    questions: Count = 4
    options: Annotated[int, Field(ge=2)] = 8


class FewShot(Section):
    """The 10-question set, and every other item built the same way.

    Details ask for content words, or for `any`, stop words too: these are met often, which a
    teacher of little audio needs. A word is asked for only where at least `least_passages` of the
    teacher's passages have it: one that a teacher met once or twice cannot be learned, nor be
    tested.
    `librisqa` is the folder of LibriSQA's LibriSQA-PartII-train.json and -test.json; of the other
    keys only `questions` matters to it.
    """

    source: Literal["generated", "authored", "librisqa"] = "generated"
    authored: str | None = None
    librisqa: str | None = None
    questions: Count = 10
    options: Annotated[int, Field(ge=2, le=9)] = 3
    skills: list[Literal["detail", "main_idea", "inference"]] = Field(
        ["detail", "main_idea", "inference"], min_length=1
    )
    details_per_passage: Count = 2
    words: Literal["content", "any"] = "content"
    least_passages: Count = 1
    teacher_rounds: Count = 1
    passage_seconds: Positive = 60.0
    paper_share: Share = 0.34
    pool: Pool = Pool()

    @model_validator(mode="after")
    def _authored_has_file(self) -> "FewShot":
        if (self.source == "authored") != (self.authored is not None):
            raise ValueError("authored must name a YAML file exactly when source is 'authored'")
        if (self.source == "librisqa") != (self.librisqa is not None):
            raise ValueError("librisqa must name a folder exactly when source is 'librisqa'")
        if self.librisqa is not None and self.options != 4:
            raise ValueError(f"options={self.options} must be 4: LibriSQA's questions have so many")
        return self


class Labels(Section):
    """The labelled share of the training clips, in percent; the rest is the unlabelled pool. Shares
    are nested.
    """

    source: Literal["labels"]
    share: Literal[5, 10, 25, 50, 100] = 10


class Transcripts(Section):
    """What is said in each clip; clips of the split `pool` have no transcript.

    `alphabet` holds the characters that transcripts are written in, the lower-case letters of the
    teacher's vocab.json; null takes the letters of the labelled training clips. More than
    `max_bad_share` of labelled clips whose transcript cannot be used stop the stage.
    """

    source: Literal["transcripts"]
    alphabet: Annotated[str, Field(min_length=1)] | None = None
    max_bad_share: Share = 0.02

    @model_validator(mode="after")
    def _writes(self) -> "Transcripts":
        given = self.alphabet or ""
        if len(set(given)) < len(given) or given != given.lower() or {" ", "|"} & set(given):
            raise ValueError(
                f"alphabet={given!r} must be different characters in lower case, without space or |"
            )
        return self
