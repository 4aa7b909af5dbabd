"""What every block of params.yaml is: strict, frozen, its ranges part of its types."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Split = Literal["teacher", "pool", "fewshot", "validation", "test"]


class Section(BaseModel):
    """A block of params.yaml: unknown keys and changes of type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
