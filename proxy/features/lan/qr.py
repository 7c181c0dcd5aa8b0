"""QR codes of short texts (ISO/IEC 18004): always version 2, error correction L, and mask 0, which hold an address.

A version is a size; any mask is valid, and readers take each. The functions know nothing of pages and terminals but how
the squares are drawn there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

SIZE = 25
"""Squares of a side, without the margin."""

TEXT_MAX = 32
"""Bytes that a code holds."""

_MARGIN = 4
_DATA, _CHECK = 34, 10  # codewords of version 2-L
_FORMAT = 0b111011111000100  # error correction L and mask 0, with their own check bits
_PADDING = (0xEC, 0x11)

Squares = Sequence[Sequence[bool]]
"""Rows from the top, each from the left; True is dark."""


def qr_code(text: str) -> Squares:
    """Returns the squares of a code. Raises ValueError for a text of more than TEXT_MAX bytes."""
    data = text.encode()
    if len(data) > TEXT_MAX:
        raise ValueError(f"a code holds {TEXT_MAX} bytes")
    squares, is_fixed = _fixed()
    bits = _bits(_codewords(data))
    for row, column in _places():
        if not is_fixed[row][column]:
            squares[row][column] = next(bits, False) != ((row + column) % 2 == 0)
    return squares


def as_svg_path(squares: Squares) -> str:
    """Returns the dark squares as the data of an SVG path, in a box of `svg_size` units."""
    return "".join(
        f"M{column + _MARGIN} {row + _MARGIN}h1v1h-1z"
        for row, line in enumerate(squares)
        for column, is_dark in enumerate(line)
        if is_dark
    )


def svg_size() -> int:
    """Returns the side of the box, with the margin."""
    return SIZE + 2 * _MARGIN


def as_text(squares: Squares) -> str:
    """Returns the code in lines of half blocks, black on white in any terminal with colors, with the margin."""
    side = [[False] * svg_size() for _ in range(_MARGIN)]
    rows = [*side, *([*[False] * _MARGIN, *line, *[False] * _MARGIN] for line in squares), *side]
    rows += [[False] * svg_size()] * (len(rows) % 2)
    lines = (
        "".join(_HALVES[above, below] for above, below in zip(*rows[at : at + 2], strict=True))
        for at in range(0, len(rows), 2)
    )
    return "".join(f"\x1b[30;107m{line}\x1b[0m\n" for line in lines)


_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def _codewords(data: bytes) -> bytes:
    """Returns the codewords of a text, and those that check them."""
    bits = f"0100{len(data):08b}" + "".join(f"{byte:08b}" for byte in data) + "0000"
    words = [int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8)][:_DATA]
    words += [_PADDING[at % 2] for at in range(_DATA - len(words))]
    return bytes([*words, *_check(words)])


def _check(words: Sequence[int]) -> list[int]:
    """Returns the Reed-Solomon codewords, in GF(256) with the polynomial 0x11D."""
    generator = [1]
    for power in range(_CHECK):
        root = 1
        for _ in range(power):
            root = _times(root, 2)
        generator = [high ^ _times(low, root) for high, low in zip([*generator, 0], [0, *generator], strict=True)]
    remainder = [*words, *[0] * _CHECK]
    for at in range(len(words)):
        factor = remainder[at]
        for place, coefficient in enumerate(generator):
            remainder[at + place] ^= _times(coefficient, factor)
    return remainder[len(words) :]


def _times(one: int, other: int) -> int:
    product = 0
    while other:
        product ^= one if other & 1 else 0
        one = one << 1 ^ (0x11D if one & 0x80 else 0)
        other >>= 1
    return product


def _bits(words: bytes) -> Iterator[bool]:
    return (bool(word >> bit & 1) for word in words for bit in range(7, -1, -1))


def _fixed() -> tuple[list[list[bool]], list[list[bool]]]:
    """Returns the squares that are the same in each code, and which those are."""
    squares = [[False] * SIZE for _ in range(SIZE)]
    is_fixed = [[False] * SIZE for _ in range(SIZE)]

    def put(row: int, column: int, is_dark: bool) -> None:
        if 0 <= row < SIZE and 0 <= column < SIZE:
            squares[row][column], is_fixed[row][column] = is_dark, True

    for at in range(SIZE):  # timing
        put(6, at, at % 2 == 0)
        put(at, 6, at % 2 == 0)
    for top, left in ((0, 0), (0, SIZE - 7), (SIZE - 7, 0)):  # finders, with their separators
        for row in range(-1, 8):
            for column in range(-1, 8):
                ring = max(abs(row - 3), abs(column - 3))
                put(top + row, left + column, ring in (0, 1, 3))
    for row in range(-2, 3):  # alignment
        for column in range(-2, 3):
            put(18 + row, 18 + column, max(abs(row), abs(column)) != 1)
    near = [*((8, at) for at in (0, 1, 2, 3, 4, 5, 7, 8)), *((at, 8) for at in (7, 5, 4, 3, 2, 1, 0))]
    far = [*((SIZE - 1 - at, 8) for at in range(7)), *((8, SIZE - 8 + at) for at in range(8))]
    for places in (near, far):
        for bit, (row, column) in enumerate(places):
            put(row, column, bool(_FORMAT >> (14 - bit) & 1))
    put(SIZE - 8, 8, True)
    return squares, is_fixed


def _places() -> Iterator[tuple[int, int]]:
    """Yields all places in the order of the bits: pairs of columns from the right, up and down in turn."""
    goes_up = True
    for right in (*range(SIZE - 1, 6, -2), 5, 3, 1):
        for row in reversed(range(SIZE)) if goes_up else range(SIZE):
            yield row, right
            yield row, right - 1
        goes_up = not goes_up
