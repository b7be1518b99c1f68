"""From a raw number to the published one, in numbers that a double holds exactly."""

import math
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

#: Decimals of a point that does not say, where scale and offset do not tell: floats, and numbers with a scale
#: register. No meter in this trade is better than one in a thousand of its unit.
FLOAT_DECIMALS = 3
#: What a scale register may say: the power of ten, SunSpec's `sunssf`. With it every factor here is exact in a double.
MAX_EXPONENT = 10


@dataclass(frozen=True, slots=True)
class Scaling:
    """Published = (raw * 10**exponent * mul + add) / div, shown with `decimals` digits after the point.

    `mul`, `add` and `div` are whole numbers, so with raw below 2**53 the division gives the double nearest to the
    true decimal: 0.1 is 1/10 here and never 0.1000000000000000055. `exponent` is that of the point's scale register,
    -MAX_EXPONENT to MAX_EXPONENT, and 0 without one.
    """

    mul: float
    add: float
    div: float
    decimals: int

    def published(self, raw: float, exponent: int = 0) -> float:
        up, down = _powers(exponent)
        return (raw * self.mul * up + self.add * down) / (self.div * down)

    def raw(self, published: float, exponent: int = 0) -> float:
        """The inverse; not rounded."""
        up, down = _powers(exponent)
        return (published * self.div - self.add) * down / (self.mul * up)


def _powers(exponent: int) -> tuple[float, float]:
    """10**exponent as a quotient of whole numbers."""
    return 10.0 ** max(exponent, 0), 10.0 ** max(-exponent, 0)


def decimals_of(number: float) -> int:
    """Digits after the point that `number` needs as it is written."""
    exponent = Decimal(str(number)).normalize().as_tuple().exponent
    return max(0, -int(exponent))


@lru_cache(maxsize=1024)  # profiles share a few dozen scales; a simulator asks for them with every value
def derive(*, scale: float, offset: float, pow2: int | None, decimals: int | None, coarse: bool) -> Scaling:
    """The scaling of a point with these keys; see `drivers.meaning.Meaning` for what each means.

    `coarse`: scale and offset do not tell how fine the value is (a float, a scale register).
    """
    if pow2 is None:
        needed = max(decimals_of(scale), decimals_of(offset))
        div = Decimal(10) ** needed
        mul = Decimal(str(scale)) * div
    else:
        needed = max(math.ceil(pow2 * math.log10(2)), decimals_of(offset))  # enough to tell neighbours apart
        div, mul = Decimal(2) ** pow2, Decimal(1)
    add = Decimal(str(offset)) * div
    if decimals is None:
        decimals = FLOAT_DECIMALS if coarse else needed
    return Scaling(float(mul), float(add), float(div), decimals)
