"""A question to one unit in a text protocol, with what finds and reads its answer."""

from collections.abc import Callable
from dataclasses import dataclass, field

from drivers.text.framing import Framing


@dataclass(frozen=True, slots=True)
class Command:
    """`question` as it goes over the line; b"": it is not asked, the unit says it by itself (`drivers.text.listener`).

    `read` turns a whole frame into the command's register image. It raises OtherUnit for a sound answer of another
    unit, BadFrame for what is no answer to this question, and Refused when the device said no.
    """

    unit: int
    name: str
    question: bytes
    line_bytes: int  #: characters of question and usual answer; 0: nothing is asked
    framing: Framing = field(compare=False, repr=False)
    read: Callable[[bytes], bytes] = field(compare=False, repr=False)
    #: False: an answer does not tell whose it is, so while one is overdue no unit of the line may be asked
    names_unit: bool = field(default=False, compare=False, repr=False)
    #: True: the question coming back is the device's way of refusing it, not the line's echo
    echo_is_answer: bool = field(default=False, compare=False, repr=False)
    #: of what the unit says by itself: for how many seconds it holds
    patience_s: float = field(default=0.0, compare=False, repr=False)
    #: whether the begin of such a frame can be told from the middle of one
    marked: bool = field(default=False, compare=False, repr=False)

    @property
    def unasked(self) -> bool:
        """Whether there is nothing to send: the unit says it by itself."""
        return not self.question

    def __str__(self) -> str:
        return self.name
