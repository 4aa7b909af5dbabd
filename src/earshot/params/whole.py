"""The whole of params.yaml, and whether its tracks, teachers and recipes go together."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from earshot.params.data import Features, SyntheticSpeech
from earshot.params.experiments import Guard, Search, Sweep
from earshot.params.models import (
    AnyTeacher,
    BiLSTM,
    Cache,
    NetworkTeacher,
    Student,
    by_language,
    teacher_models,
)
from earshot.params.recipes import AVERAGED, Augment, Pair, Recipe, Terms, needs_of
from earshot.params.section import Section
from earshot.params.track import FRAME_STUDENTS, TASKS, Track, either, reading_error

# What is of use to tasks with an answer a clip, and to those with one a frame.
_OF_CLIPS = {"ce", "kd", "front", "layered"}
_OF_FRAMES = {"ctc", "frames", "pseudo", "language"}


class Params(Section):
    """The whole of params.yaml.

    `engine` is who computes features and the teacher's signals; it changes no result. No stage
    reads `sweep`, `search` and `guard`.
    """

    seed: Annotated[int, Field(ge=0)]
    engine: Literal["local", "ray"] = "local"
    tracks: dict[str, Track] = Field(min_length=1)
    teachers: dict[str, AnyTeacher] = Field(min_length=1)
    recipes: dict[str, Recipe] = Field(min_length=1)
    sweep: Sweep | None = None
    search: Search | None = None
    guard: Guard = {}

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        for kind, rows in (("teachers", self.teachers), ("recipes", self.recipes)):
            for key, row in rows.items():
                if row.track not in self.tracks:
                    known = sorted(self.tracks)
                    raise ValueError(f"{kind}.{key}.track={row.track!r} must be one of {known}")
        for key, recipe in self.recipes.items():
            if not key.startswith(f"{recipe.track}-"):
                raise ValueError(
                    f"recipes.{key}: its key must begin with its track, {recipe.track}-"
                )
        for name, track in self.tracks.items():
            self._check_teachers(name, track)
            self._check_recipes(name, track)
            self._check_comparisons(name, track)
        for name in ("sweep", "search"):
            section = getattr(self, name)
            if section and section.recipe not in self.recipes:
                known = sorted(self.recipes)
                raise ValueError(f"{name}.recipe={section.recipe!r} must be one of {known}")
        return self

    def teachers_of(self, track: str) -> dict[str, AnyTeacher]:
        """Return the teachers of a track, by key."""
        return {key: row for key, row in self.teachers.items() if row.track == track}

    def recipes_of(self, track: str) -> dict[str, Recipe]:
        """Return the recipes of a track, by name: the key without the track."""
        rows = self.recipes.items()
        return {key.removeprefix(f"{track}-"): row for key, row in rows if row.track == track}

    def _check_teachers(self, name: str, track: Track) -> None:
        teachers = self.teachers_of(name)
        if not teachers:
            raise ValueError(f"tracks.{name}: needs a teacher, and none in teachers has this track")
        for key, teacher in teachers.items():
            if (teacher.text is not None) != TASKS[track.task].reads:
                raise ValueError(f"teachers.{key}: {reading_error('teacher', track.task)}")
            if teacher.language is not None and not TASKS[track.task].ordered:
                raise ValueError(
                    f"teachers.{key}.language={teacher.language!r} must be null: with "
                    f"task={track.task!r} a teacher answers every item"
                )
            if isinstance(teacher, NetworkTeacher):
                row = f"teachers.{key}"
                _check_mixup(row, teacher.augment, track.task, row, teacher.features)
                _check_layers(row, teacher.network, name, track.cache)
            if teacher.auxiliary and TASKS[track.task].reads:
                raise ValueError(
                    f"teachers.{key}.auxiliary: the heads of layers read no options, "
                    f"as task={track.task!r} wants"
                )
            if teacher.auxiliary and TASKS[track.task].ordered:
                raise ValueError(
                    f"teachers.{key}.auxiliary: the heads of layers answer a clip as a whole, "
                    f"and task={track.task!r} frames"
                )
            if teacher.epochs == 0 and not TASKS[track.task].ordered:
                raise ValueError(
                    f"teachers.{key}.epochs=0: no checkpoint comes with a head for "
                    f"task={track.task!r}; at least 1"
                )
        if track.cache.layered and not any(one.auxiliary for one in teachers.values()):
            able = " or ".join(f"teachers.{key}.auxiliary" for key in teachers)
            raise ValueError(
                f"tracks.{name}.cache.layered needs {able}: the heads whose logits it keeps"
            )

    def _check_recipes(self, name: str, track: Track) -> None:
        for short, recipe in self.recipes_of(name).items():
            key = f"recipes.{name}-{short}"
            _check_taught(key, recipe, self.teachers_of(name))
            for phase, terms in recipe.phases().items():
                _check_terms(f"{key}.{phase}", name, track, terms)
            for change in ("roll", "mixup"):
                if TASKS[track.task].ordered and getattr(recipe.augment, change):
                    raise ValueError(
                        f"{key}.augment.{change}: task={track.task!r} needs frames in order"
                    )
            _check_mixup(key, recipe.augment, track.task, f"tracks.{name}", track.features)
            front = recipe.terms.front
            if track.distill.refit and front and front.alone:
                raise ValueError(
                    f"{key}.terms.front.alone={front.alone} counts epochs, which a last fit has "
                    f"others of: write 0, or tracks.{name}.distill.refit=false"
                )
            if recipe.qat and track.student.name in FRAME_STUDENTS:
                raise ValueError(
                    f"{key}.qat: a {track.student.name} is quantized dynamically; leave qat out"
                )
            if recipe.prune and track.student.name not in FRAME_STUDENTS:
                raise ValueError(
                    f"{key}.prune: no units can be taken out of a {track.student.name}, only of a "
                    f"{either(FRAME_STUDENTS)}; leave prune out"
                )

    def _check_comparisons(self, name: str, track: Track) -> None:
        evaluate, recipes = track.evaluate, self.recipes_of(name)
        if set(evaluate.recipes) != set(recipes):
            raise ValueError(
                f"tracks.{name}.evaluate.recipes={sorted(evaluate.recipes)} must be the recipes "
                f"of the track: {sorted(recipes)}"
            )
        teachers = teacher_models(self.teachers, name)
        controls = [f"{m}_scratch" for key, m in teachers.items() if self.teachers[key].control]
        means = [f"{one}_teachers" for one, row in recipes.items() if len(row.teachers) > 1]
        means = ["teacher"] if by_language(self.teachers, name) else means
        models = sorted([*recipes, *teachers.values(), *controls, *means])
        if twice := sorted({one for one in models if models.count(one) > 1}):
            raise ValueError(
                f"tracks.{name}: results would call two models {twice[0]!r}; rename the teacher or "
                "the recipe that is called so"
            )
        for gain in evaluate.gains:
            if gain.count("_vs_") != 1 or not set(gain.split("_vs_")) <= set(models):
                raise ValueError(
                    f"tracks.{name}.evaluate.gains: {gain!r} must be A_vs_B with A, B in {models}"
                )
        corpus = track.corpus
        if isinstance(corpus, SyntheticSpeech):
            made = corpus.passages.get("fewshot", 0)
            if track.fewshot.questions > made:
                raise ValueError(
                    f"tracks.{name}.fewshot.questions={track.fewshot.questions} must be at most "
                    f"the few-shot passages, tracks.{name}.corpus.passages.fewshot={made}"
                )


def _check_terms(key: str, name: str, track: Track, terms: Terms) -> None:
    """Raise ValueError where terms, those of `key`, do not go with the task, the student or what is
    kept of teachers.
    """
    rules = TASKS[track.task]
    odd = _OF_CLIPS if rules.ordered else _OF_FRAMES
    for term in [one for one, value in terms if value is not None and one in odd]:
        raise ValueError(f"{key}.{term} does not go with task={track.task!r}")
    if (terms.front or terms.layered) and not track.cache.layered:
        raise ValueError(f"{key}: front and layered need tracks.{name}.cache.layered")
    if terms.language and not track.student.languages:
        raise ValueError(f"{key}.language needs tracks.{name}.student.languages, those to tell")
    for term in [one for one in ("hidden", "attention") if getattr(terms, one)]:
        _check_pairs(f"{key}.{term}", name, track, getattr(terms, term).pairs)


def _check_pairs(key: str, name: str, track: Track, pairs: Sequence[Pair]) -> None:
    """Raise ValueError where pairs of layers, those of the term `key`, are not all there."""
    if not hasattr(track.student, "layers"):
        raise ValueError(f"{key} needs a student with layers, not {track.student.name!r}")
    if not track.cache.states:
        raise ValueError(f"{key} needs tracks.{name}.cache.states")
    for pair in pairs:
        if pair.teacher not in track.cache.layers:
            raise ValueError(
                f"{key}.pairs: teacher={pair.teacher} must be one of "
                f"tracks.{name}.cache.layers={track.cache.layers}"
            )
        if pair.student > track.student.layers:
            raise ValueError(
                f"{key}.pairs: student={pair.student} must be at most "
                f"tracks.{name}.student.layers={track.student.layers}"
            )


def _check_mixup(key: str, augment: Augment, task: str, owner: str, features: Features) -> None:
    """Raise ValueError where `augment` of `key` mixes what cannot be; `owner` has the features."""
    if augment.mixup and TASKS[task].reads:
        raise ValueError(f"{key}.augment.mixup: task={task!r} asks several items of a clip")
    if augment.mixup and features.norm != "none":
        raise ValueError(
            f"{key}.augment.mixup adds powers; {owner}.features.norm={features.norm!r} "
            "must be 'none'"
        )


def _check_layers(key: str, network: Student, name: str, cache: Cache) -> None:
    """Raise ValueError where a network lacks a layer that the cache of its track keeps."""
    if isinstance(network, BiLSTM) and max(cache.layers) < network.layers:
        return
    if max(cache.layers) > 0:
        raise ValueError(
            f"tracks.{name}.cache.layers={cache.layers} must be [0], the pooled vector, for {key}: "
            "its stages differ in width, or are fewer"
        )


def _check_taught(key: str, recipe: Recipe, teachers: Mapping[str, AnyTeacher]) -> None:
    """Raise ValueError where a recipe's teachers cannot teach its terms, or `needs` is not theirs.

    `teachers` are those of its track.
    """
    named, known, taught = recipe.teachers, list(teachers), recipe.taught()
    for teacher in named:
        if teacher not in teachers:
            raise ValueError(f"{key}.teachers: {teacher!r} must be one of its track's: {known}")
        if named.count(teacher) > 1:
            raise ValueError(f"{key}.teachers={named}: {teacher!r} is there twice")
    if taught and not named:
        raise ValueError(f"{key}.teachers=[]: its terms {taught} need one, or several, of {known}")
    if named and not taught:
        raise ValueError(f"{key}.teachers={named}: none of its terms learns from one; write []")
    for term in (one for one in taught if one not in AVERAGED):
        layers = term in ("front", "layered")
        able = [one for one in named if teachers[one].auxiliary or not layers]
        languages = {teachers[one].language for one in able}
        apart = len(languages) == len(able)
        one_a_language = apart and (None not in languages or len(languages) == 1)
        if not able or not one_a_language:
            wanted = "one teacher with auxiliary" if layers else "one teacher, or one a language"
            raise ValueError(
                f"{key}.terms.{term} learns from {wanted}, there are {able} in teachers={named}"
            )
    if recipe.needs != needs_of(named):
        raise ValueError(
            f"{key}.needs={recipe.needs!r} must be {needs_of(named)!r} for teachers={named}"
        )
