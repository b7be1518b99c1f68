"""From a raw number to the published one, in numbers that a double holds exactly."""

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

#: Decimals of a float point that does not say: no meter in this trade is better than one in a thousand of its unit.
FLOAT_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Scaling:
    """Published = (raw * mul + add) / div, shown with `decimals` digits after the point.

    `mul`, `add` and `div` are whole numbers, so with raw below 2**53 the division gives the double nearest to the
    true decimal: 0.1 is 1/10 here and never 0.1000000000000000055.
    """

    mul: float
    add: float
    div: float
    decimals: int

    def published(self, raw: float) -> float:
        return (raw * self.mul + self.add) / self.div

    def raw(self, published: float) -> float:
        """The inverse; not rounded."""
        return (published * self.div - self.add) / self.mul


def decimals_of(number: float) -> int:
    """Digits after the point that `number` needs as it is written."""
    exponent = Decimal(str(number)).normalize().as_tuple().exponent
    return max(0, -int(exponent))


@lru_cache(maxsize=1024)  # profiles share a few dozen scales; a simulator asks for them with every value
def derive(*, scale: float, offset: float, pow2: int | None, decimals: int | None, is_float: bool) -> Scaling:
    """The scaling of a point with these keys; see `drivers.profile.Point` for what each means."""
    if pow2 is None:
        needed = max(decimals_of(scale), decimals_of(offset))
        div = Decimal(10) ** needed
        mul = Decimal(str(scale)) * div
    else:
        needed = max(math.ceil(pow2 * math.log10(2)), decimals_of(offset))  # enough to tell neighbours apart
        div, mul = Decimal(2) ** pow2, Decimal(1)
    add = Decimal(str(offset)) * div
    if decimals is None:
        decimals = FLOAT_DECIMALS if is_float else needed
    return Scaling(float(mul), float(add), float(div), decimals)
