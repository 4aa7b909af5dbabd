"""Parameters of experiments: no stage reads them, the commands `sweep`, `search` and `compare`
do.
"""

from typing import Annotated

from pydantic import Field, model_validator

from earshot.params.section import Count, Section, Weight

Value = bool | int | float | str | None  # what a parameter may be set to
Overrides = dict[str, Value]  # dotted key → value


class Sweep(Section):
    """A grid: every combination of the values of `grid`, each with the overrides of `fixed`, of one
    recipe.
    """

    recipe: str
    fixed: Overrides = {}
    grid: dict[str, Annotated[list[Value], Field(min_length=1)]] = Field(min_length=1)

    @model_validator(mode="after")
    def _once(self) -> "Sweep":
        _apart(self.fixed, self.grid, "grid")
        return self


class Range(Section):
    """Where a parameter is looked for: from `low` to `high` (`log`: evenly in its logarithm), or
    among `choices`.

    Two whole numbers make a range of whole numbers.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: Annotated[list[Value], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Range":
        ends = (self.low, self.high)
        if (self.choices is None) == (None in ends) or (
            self.choices is not None and (ends != (None, None) or self.log)
        ):
            raise ValueError("either low and high, or choices")
        if self.choices is None and not self.low < self.high:
            raise ValueError(f"low={self.low} must be below high={self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low={self.low} must be above 0 where log is true")
        return self


class Search(Section):
    """A search of one recipe's parameters over `ranges`, each trial with the overrides of
    `fixed`.
    """

    recipe: str
    trials: Count = 12
    fixed: Overrides = {}
    ranges: dict[str, Range] = Field(min_length=1)

    @model_validator(mode="after")
    def _once(self) -> "Search":
        _apart(self.fixed, self.ranges, "ranges")
        return self


# TRACK.quality.… or TRACK.cost.… → how much worse it may become, in its own unit
Guard = dict[str, Weight]


def _apart(fixed: Overrides, varied: dict[str, object], name: str) -> None:
    if both := sorted(set(fixed) & set(varied)):
        raise ValueError(f"{', '.join(both)}: in fixed and in {name}")
