"""The CRC-32 of texts that are joined, without going over them again."""

from collector.kernels._jit import inlined, kernel

#: Of CRC-32 (ISO-HDLC), reflected, and what one more byte multiplies by.
POLYNOMIAL, X_TO_8 = 0xEDB88320, 1 << 23


@inlined
def times(a: int, b: int) -> int:
    """The product of two polynomials modulo that of CRC-32, the coefficient of x**0 in the highest of 32 bits."""
    product = 0
    for k in range(31, -1, -1):
        product ^= b & -(a >> k & 1)
        b = b >> 1 ^ POLYNOMIAL & -(b & 1)
    return product


@kernel("int64(int64, int64, int64)")
def crc32_joined(first: int, second: int, size: int) -> int:
    """The CRC-32 of one text behind another, from the CRC-32 of each and the number of bytes of the second."""
    power = X_TO_8
    while size > 0:
        if size & 1:
            first = times(first, power)
        power = times(power, power)
        size >>= 1
    return first ^ second
