"""Return codes (RTN). From 80H on they are the makers' own and contradict each other: a profile says what they mean."""

OK, VERSION_ERROR, WRONG_SUM, WRONG_LENGTH, CID2_INVALID = 0, 1, 2, 3, 4
#: The question came damaged: the same one again may succeed at once.
AGAIN = frozenset({WRONG_SUM, WRONG_LENGTH})

_REASONS = {
    VERSION_ERROR: "it speaks another version",
    WRONG_SUM: "CHKSUM was wrong",
    WRONG_LENGTH: "LCHKSUM was wrong",
    CID2_INVALID: "it does not know the command",
    5: "the command's form is wrong",
    6: "the data are invalid",
}


def reason(code: int) -> str:
    """What the standard says of `code`."""
    return _REASONS.get(code, "the maker's own code" if code >= 0x80 else "a code of no standard")
