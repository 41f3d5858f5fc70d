"""Bytes that were valid until somebody changed them: numbers lie, parts are cut, moved, doubled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

SECTOR = 512


@dataclass(frozen=True)
class Field:
    """A number in a file, little endian: where it begins, and how many bytes it has."""

    offset: int
    width: int


def numbers(width: int) -> st.SearchStrategy[int]:
    """Numbers of so many bytes, those at which readers go wrong first."""
    top = (1 << 8 * width) - 1
    powers = st.integers(0, 8 * width - 1).map(lambda bit: 1 << bit)
    return st.one_of(
        st.sampled_from([0, 1, 2, 8, 127, 128, 512, top, top - 1, top >> 1, (top >> 1) + 1]),
        powers,
        powers.map(lambda number: number - 1),
        st.integers(0, 4096),
        st.integers(0, top),
    ).map(lambda number: min(number, top))


@st.composite
def mutated(
    draw: st.DrawFn, seeds: Sequence[bytes], fields: Sequence[Field] = (), *, most: int = 4
) -> bytes:
    """One of `seeds` with one to `most` changes.

    :param fields: numbers that are changed more often than other bytes
    """
    data = bytearray(draw(st.sampled_from(list(seeds))))
    for _ in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(["field"] * 3 * bool(fields) + _KINDS))
        if kind == "field":
            field = draw(st.sampled_from(list(fields)))
            value = draw(numbers(field.width)).to_bytes(field.width, "little")
            data[field.offset : field.offset + field.width] = value
        else:
            _change(draw, data, kind)
    return bytes(data)


_KINDS = ["number", "bytes", "cut", "remove", "insert", "repeat", "swap"]


def _change(draw: st.DrawFn, data: bytearray, kind: str) -> None:
    # Where things begin is more telling than anywhere.
    step = draw(st.sampled_from([1, SECTOR, SECTOR]))
    at = draw(st.integers(0, max(0, len(data) - 1) // step)) * step
    if kind == "number":
        width = draw(st.sampled_from([4, 8]))
        data[at : at + width] = draw(numbers(width)).to_bytes(width, "little")
    elif kind == "bytes":
        new = draw(st.binary(min_size=1, max_size=16))
        data[at : at + len(new)] = new
    elif kind == "cut":
        del data[at:]
    elif kind == "remove":
        del data[at : at + draw(st.integers(1, 4)) * step]
    elif kind == "insert":
        data[at:at] = draw(st.sampled_from([bytes(SECTOR), b"\xff" * SECTOR, b"\n", b"\0"]))
    elif kind == "repeat":
        data[at:at] = data[at : at + draw(st.integers(1, 4)) * step]
    else:
        other = draw(st.integers(0, max(0, len(data) - 1) // step)) * step
        one, two = data[at : at + step], data[other : other + step]
        if len(one) == len(two):
            data[at : at + step], data[other : other + step] = two, one
