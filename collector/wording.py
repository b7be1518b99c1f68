"""Numbers in sentences."""


def counted(number: int, one: str, many: str = "") -> str:
    """`1 bus` or `2 buses`: `one` for exactly one, else `many`, which is `one` with an s where it is not given."""
    return f"{number} {one if number == 1 else many or one + 's'}"
