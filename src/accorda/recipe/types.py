"""The kinds of value a setting may have; `Annotated` carries the range, so the reader can say it in words."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt, MinLen

Auto = Literal["auto"]
PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
Threads = Annotated[int, Gt(0), Le(1024)]  # far more than processors have; torch crashes where it cannot start them
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Probability = Annotated[float, Ge(0), Le(1)]
Share = Annotated[float, Ge(0), Lt(1)]
Text = Annotated[str, MinLen(1)]
BUNDLED = "bundled"
"""The name of the model that comes with the package; a folder of that name is `./bundled`."""
