"""How fast this machine is: short, real pieces of every stage, run and timed.

To be run in a process of its own, on one thread as the stages are. What is being measured is
logged. A speed is the processor's seconds that a second of audio takes, unless it says otherwise;
what else the machine does in the meantime changes little.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from earshot.corpora.synthetic import scenes, speech
from earshot.evaluation.kinds import SCORES
from earshot.features import log_mel
from earshot.features.recordings import Recordings
from earshot.items.kinds import ITEMS
from earshot.params import FewShot, Recipe, SyntheticScenes, SyntheticSpeech, Track
from earshot.params import Teacher as TeacherParams
from earshot.runtime import parallel, progress
from earshot.tables import sequences
from earshot.tables.items import ItemError
from earshot.tables.manifest import SCHEMA
from earshot.workbench.plan import sample, work

LIGHT = "import earshot.features, earshot.items"
HEAVY = "import earshot.teacher, earshot.distillation, earshot.evaluation, dvclive"
PASSAGES = {
    "teacher": 150,
    "pool": 60,
    "fewshot": 10,
    "validation": 60,
    "test": 150,
}  # told, from which items are made
ROWS = 2000  # clips, from which items of classes are made
MADE = 48  # utterances, and three times as many as segments
VALIDATED, COMPARED = 4, 6  # clips
# the first is slower and does not count; of the others the faster one does, for others may be at
# work
EPOCHS = 3
TESTED = 300  # items on which intervals are made
# Encoders of the hub by the size in their name, for a checkpoint that is not here yet.
ENCODERS = {
    "base": {},
    "large": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    },
}


def spent() -> float:
    """Return the processor's seconds of this process and of its children that have ended: others at
    work do not count.
    """
    return sum(os.times()[:4])


_log = logging.getLogger(__name__)


class Timer:
    """The processor's seconds that a block took."""

    seconds = 0.0


@contextmanager
def timed() -> Iterator[Timer]:
    """Yield a timer, which knows after the block how long it took."""
    timer, begun = Timer(), spent()
    yield timer
    timer.seconds = spent() - begun


def measure(name: str, track: Track, recipes: Mapping[str, Recipe], seed: int) -> dict[str, Any]:
    """Return the speeds of a track's stages; those that need an encoder of unknown size are
    missing.

    `start_light` and `start_heavy` are seconds a process, `make` seconds an utterance or segment on
    all cores, `items` seconds a passage or clip, `export` seconds a student.
    """
    speeds: dict[str, Any] = {"cores": progress.workers()}
    todo = work.count(name, track, seed, [f"download@{name}"]) or work.count(name, track, seed)
    with TemporaryDirectory() as place:
        folder = Path(place)
        _log.info("start-up")
        for kind, code in (("light", LIGHT), ("heavy", HEAVY)):
            with timed() as taken:
                subprocess.run([sys.executable, "-c", code], check=True)
            speeds[f"start_{kind}"] = taken.seconds
        _log.info("making a corpus")
        speeds["make"] = _make(track, folder / "made")
        _log.info("decoding and log-mel")
        seconds = sample.length(track, todo.of("pool") if todo else work.Amount())
        number = max(8, min(64, round(sample.AUDIO / seconds)))
        rate = sample.rate(track)
        clips = (
            sample.speech(seconds, number)
            if track.task == "choice"
            else sample.scenes(rate, number)
        )
        manifest = sample.write(track, clips, rate, folder / "clips")
        with timed() as taken:
            log_mel.extract(
                manifest,
                track.features,
                track.views,
                seed,
                folder / "mel.parquet",
                folder / "rejected",
                folder / "parts",
            )
        views = len(sequences.Store(folder / "mel.parquet")) / len(manifest)
        speeds["mel"] = taken.seconds / (len(manifest) * seconds * views)
        _log.info("building items")
        speeds["items"] = _items(track)
        speeds |= _Learned(track, recipes, seed, manifest, seconds, todo, folder).measure()
    return speeds


def _make(track: Track, folder: Path) -> float:
    (folder / "audio").mkdir(parents=True)
    if isinstance(track.corpus, SyntheticSpeech):
        lines = list(speech.script("teacher", MADE // 2, 1, seed=0))
        with timed() as taken:
            list(parallel.run(partial(speech._record, folder), lines, "speech", chunk=4))
        return taken.seconds / len(lines) / progress.workers()
    if isinstance(track.corpus, SyntheticScenes):
        segments = scenes.plan("train", 2, track.corpus.clips["train"], seed=0)[: MADE // 3]
        record = partial(scenes._record, folder, track.corpus.sample_rate, 0)
        with timed() as taken:
            list(parallel.run(record, segments, "scenes"))
        return taken.seconds / len(segments) / progress.workers()
    return 0.0


def _items(track: Track) -> float:
    task = ITEMS[track.task]
    if track.task == "classes":
        labels, cycle = sorted(scenes.CLASSES), np.arange(ROWS)
        rows = {
            "id": [f"c{n}" for n in cycle], "passage": [f"s{n // 10}" for n in cycle], "speaker": "s", "seconds": 1.0,
            "split": np.where(cycle % 7 == 0, "test", np.where(cycle % 7 == 1, "validation", "pool")),
            "label": [labels[n // 7 % 10] for n in cycle], "location": [f"l{n % 7}-{n // 70}" for n in cycle], "device": "a",
        }  # fmt: skip
        manifest, asked = (
            pd.DataFrame(rows, columns=SCHEMA.names).astype({"seconds": float}),
            track.fewshot,
        )
        manifest["subset"] = None
    else:
        told = [
            vars(line) | {"seconds": work.LETTER * len(line.text)}
            for split, number in PASSAGES.items()
            for line in speech.script(split, number, 12 if split == "fewshot" else 1, seed=5)
        ]
        manifest = pd.DataFrame(told, columns=SCHEMA.names)
        settings = (
            {"source", "authored", "librisqa", "options"}
            if track.fewshot.source != "generated"
            else set()
        )
        asked = FewShot(**track.fewshot.model_dump(exclude=settings))
    with timed() as taken:
        built = task.build(manifest, manifest["id"], asked, 5)
        with suppress(ItemError):  # so few items may leak by chance
            task.check(built, manifest)
    return taken.seconds / (ROWS if track.task == "classes" else sum(PASSAGES.values()))


class _Learned:
    """The stages that need torch, on a sample: `clips` of `seconds` each."""

    def __init__(
        self,
        track: Track,
        recipes: Mapping[str, Recipe],
        seed: int,
        manifest: pd.DataFrame,
        seconds: float,
        todo: work.Work | None,
        folder: Path,
    ):
        self.track, self.recipes, self.seed, self.manifest = track, recipes, seed, manifest
        self.clips, self.seconds, self.todo, self.folder = len(manifest), seconds, todo, folder
        self.cores = progress.workers()

    def measure(self) -> dict[str, Any]:
        """Return the speeds, as far as they can be measured."""
        import torch
        from transformers.utils import logging as transformers_logging

        torch.set_num_threads(1)
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        params = self._encoder()
        if params is None:
            return {}
        speeds = self._teacher(params)
        speeds["recipes"] = {}
        for key, recipe in self.recipes.items():
            _log.info(f"training a student: {key}")
            speeds["recipes"][key], distilled = self._student(recipe)
        return speeds | self._files(distilled)

    def _asked(self, role: str, share: slice = slice(None)) -> list[Any]:
        of = self.todo.of(role) if self.todo else work.Amount()
        return sample.items(
            self.track, self.manifest[share], role, of.items / of.passages if of.passages else 1
        )

    def _encoder(self) -> TeacherParams | None:
        """Return the teacher's parameters, or with random weights of the same size where its
        checkpoint is not here.
        """
        from transformers import AutoConfig, AutoModel, Wav2Vec2FeatureExtractor

        from earshot.models import hub

        params = self.track.teacher
        if Path(params.checkpoint).is_dir():
            return params
        if params.revision and hub.cached(params.checkpoint, params.revision, params.cache):
            return params
        kind = "hubert" if "hubert" in params.checkpoint else "wav2vec2"
        size = next(
            (known for name, known in ENCODERS.items() if f"-{name}" in params.checkpoint), None
        )
        if size is None:
            return None
        _log.info("an encoder of the checkpoint's size")
        stand_in = self.folder / "encoder"
        AutoModel.from_config(AutoConfig.for_model(kind, **size)).save_pretrained(stand_in)
        Wav2Vec2FeatureExtractor().save_pretrained(stand_in)
        return params.model_copy(update={"checkpoint": str(stand_in), "revision": None})

    def _teacher(self, params: TeacherParams) -> dict[str, Any]:
        from earshot.models.wav2vec2 import Teacher
        from earshot.teacher import cache as teacher_cache
        from earshot.teacher import finetune
        from earshot.training.batches import Loader
        from earshot.training.loop import accuracy

        _log.info("teacher: frozen layers")
        recordings = Recordings(self.manifest, self.track.views, self.seed)
        tuned = self._asked(params.data)
        labels = () if params.text else tuned[0].options
        model = Teacher(params, len(labels))
        heard = self.seconds * sum(map(len, recordings.views.values()))
        model.lower(recordings[self.manifest["id"][0], 0])  # the first time is slower
        with timed() as taken:
            states = finetune.cache_lower(model, recordings, tuned, self.folder / "lower.parquet")
        speeds = {"lower": taken.seconds / heard}
        _log.info("teacher: tuning")
        few = [item for item in tuned if item.utterances[0] in set(self.manifest["id"][:VALIDATED])]
        with timed() as taken:
            accuracy(model, Loader(tuned, states, params.text, params.batch))
        speeds["judge"] = taken.seconds / (self.clips * self.seconds)
        short, ends = params.model_copy(update={"epochs": EPOCHS}), list[float]()

        def listener(epoch: int, scores: dict[str, float]) -> None:
            ends.append(spent())

        finetune.fine_tune(
            model, short, states, tuned, few, self.seed, self.folder / "tune", listener
        )
        fastest = min(end - begin for begin, end in pairwise(ends))
        speeds["tune"] = max(0.0, fastest - speeds["judge"] * VALIDATED * self.seconds) / (
            self.clips * self.seconds
        )
        if params.auxiliary:
            with timed() as taken:
                finetune.fit_auxiliary(model, recordings, tuned, params.text)
            speeds["auxiliary"] = self._shared(taken.seconds / heard, speeds)
        _log.info("teacher: answers")
        finetune.save(model, params, self.folder / "teacher", labels)
        self.identity = teacher_cache.identity(self.folder / "teacher")
        pool = self.todo.of("pool") if self.todo else work.Amount(passages=1)
        labelled = self.todo.of("fewshot") if self.todo else work.Amount()
        share = labelled.passages / max(1.0, labelled.passages + pool.passages)
        cut = min(self.clips - 1, max(1, round(share * self.clips)))
        self.asked = {
            ("fewshot",): self._asked("fewshot"),
            ("fewshot", "pool"): self._asked("fewshot", slice(cut))
            + self._asked("pool", slice(cut, None)),
            ("pool",): self._asked("pool"),
        }
        rows = partial(finetune.cache_rows, model.eval(), recordings, params.text, self.track.cache)
        for roles in {tuple(sorted(recipe.data)) for recipe in self.recipes.values()}:
            place = self.folder / "-".join(roles)
            with timed() as taken:
                teacher_cache.write(
                    place,
                    rows,
                    self.identity,
                    self.asked[roles],
                    recordings.views,
                    self.track.cache,
                )
            speeds["cache"] = self._shared(taken.seconds / heard, speeds)
        with timed() as taken:
            finetune.answers(model, Recordings(self.manifest), self._asked("test"), params.text)
        speeds["answers"] = self._shared(taken.seconds / (self.clips * self.seconds), speeds)
        return speeds

    def _shared(self, whole: float, speeds: Mapping[str, Any]) -> float:
        """Return how long what takes `whole` on one core takes when all cores share the frozen
        layers in it.
        """
        frozen = min(whole, speeds["lower"])
        return frozen / self.cores + whole - frozen

    def _student(self, recipe: Recipe) -> tuple[dict[str, float], Any]:
        from earshot.distillation.distill import distill
        from earshot.evaluation.ask import read_text
        from earshot.tables.sequences import Store
        from earshot.teacher import cache as teacher_cache
        from earshot.training.batches import Loader
        from earshot.training.loop import accuracy

        roles = tuple(sorted(recipe.data))
        mel, items, ends = Store(self.folder / "mel.parquet"), self.asked[roles], list[float]()
        cache = teacher_cache.TeacherCache(
            self.folder / "-".join(roles), items, self.identity, self.track.cache, mel.views()
        )
        short: dict[str, Any] = {"epochs": EPOCHS}
        if recipe.terms.front:
            short["terms"] = recipe.terms.model_copy(
                update={"front": recipe.terms.front.model_copy(update={"alone": 0})}
            )
        if recipe.qat:
            short["qat"] = recipe.qat.model_copy(update={"epochs": 1})
        distilled = distill(
            recipe.model_copy(update=short), self.track.student, self.track.distill, mel, items,
            self._asked("validation", slice(VALIDATED)), cache, self.seed, self.folder / f"student-{spent()}",
            lambda epoch, scores: ends.append(spent()),
        )  # fmt: skip
        with timed() as taken:
            held_out = self._asked("validation")
            accuracy(
                distilled.student,
                Loader(held_out, mel, read_text(self.track.student), 4 * self.track.distill.batch),
            )
        judge = taken.seconds / (self.clips * self.seconds)
        epochs = [
            max(0.0, end - begin - judge * VALIDATED * self.seconds)
            for begin, end in pairwise(ends)
        ]
        heard = self.clips * self.seconds
        speeds = {"judge": judge, "step": min(epochs[: EPOCHS - 1]) / heard}
        return speeds | ({"qat": epochs[EPOCHS - 1] / heard} if recipe.qat else {}), distilled

    def _files(self, distilled: Any) -> dict[str, Any]:
        from earshot.evaluation import ask
        from earshot.export import int8, onnx_file
        from earshot.models import fake_quant

        _log.info("ONNX files")
        track, asked = self.track, self._asked("test")
        student, text = distilled.student.eval(), ask.read_text(track.student)
        named, labels = {"track": "sample", "recipe": "sample", "seed": "seed-0"}, asked[0].options
        in_float, in_int8 = self.folder / "float.onnx", self.folder / "int8.onnx"
        with timed() as taken:
            onnx_file.export(student, track.features, track.student, in_float, named, labels)
            if fake_quant.is_static(student):
                onnx_file.export(
                    distilled.int8["ptq"], track.features, track.student, in_int8, named, labels
                )
            else:
                int8.quantize(in_float, in_int8)
            int8.check(in_int8)
        speeds = {
            "export": taken.seconds,
            "bytes": {"float": in_float.stat().st_size, "int8": in_int8.stat().st_size},
        }
        one = list({item.utterances: item for item in asked}.values())[:COMPARED]
        clips = ask.clips(one, self.manifest, track.features, text and text.buckets)
        with timed() as taken:
            int8.agreement(
                student, track.features, in_float, in_int8, clips, distilled.int8.get("ptq")
            )
        speeds["agree"] = taken.seconds / (len(one) * self.seconds)
        with timed() as taken:
            ask.int8_answers([in_int8], asked, self.manifest)
        speeds["int8"] = taken.seconds / (self.clips * self.seconds)
        _log.info("intervals")
        speeds["quality"] = self._quality()
        return speeds

    def _quality(self) -> float:
        """Return the seconds that scores and intervals of all models take, a test item."""
        track, task = self.track, SCORES[self.track.task]
        devices = [*scenes.DEVICES] * self.clips
        manifest = self.manifest.assign(device=devices[: self.clips])
        asked = self._asked("test") * (1 + TESTED // len(self._asked("test")))
        asked = [
            replace(item, id=f"{n}", passage=f"p{n // 4}") for n, item in enumerate(asked[:TESTED])
        ]
        trained = self._asked("teacher") if track.task == "choice" else self._asked("fewshot")
        rng = np.random.default_rng(0)

        def answers() -> dict[str, np.ndarray]:
            drawn = rng.dirichlet(np.ones(len(asked[0].options)), len(asked))
            return {item.id: row for item, row in zip(asked, drawn, strict=True)}

        students = [
            name for recipe in track.evaluate.recipes for name in (recipe, f"{recipe}_int8")
        ]
        models = {name: [answers() for _ in range(track.distill.seeds)] for name in students}
        models |= {
            name: [answers()]
            for name in ("teacher", *(["teacher_scratch"] if track.teacher.control else []))
        }
        with timed() as taken:
            task.quality(models, trained, asked, manifest, track.evaluate, self.seed)
        return taken.seconds / len(asked)
