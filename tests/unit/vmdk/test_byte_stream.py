"""Bytes by count, from chunks of any size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmdk_cache.vmdk.byte_stream import ByteStream


@given(st.lists(st.binary(max_size=20), max_size=10), st.data())
def test_bytes_come_out_in_the_requested_counts(chunks: list[bytes], data: st.DataObject) -> None:
    content = b"".join(chunks)
    stream, position = ByteStream(iter(chunks)), 0
    for _ in range(data.draw(st.integers(0, 20))):
        size = data.draw(st.integers(0, 30))
        match data.draw(st.sampled_from(["peek", "read", "some", "pieces", "skip"])):
            case "peek":
                assert stream.peek(size) == content[position : position + size]
                continue
            case "read":
                assert stream.read(size) == content[position : position + size]
                position = min(position + size, len(content))
            case "some":
                piece = stream.read_some(size + 1)
                assert len(piece) <= size + 1
                assert bool(piece) == (position < len(content))
                assert content[position:].startswith(piece)
                position += len(piece)
            case "pieces":
                data_to_there = b"".join(stream.pieces_to(position + size))
                assert data_to_there == content[position : position + size]
                position = min(position + size, len(content))
            case "skip":
                stream.skip_to(position + size)
                position = min(position + size, len(content))
        assert stream.position == position


def test_no_chunk_is_fetched_before_it_is_needed() -> None:
    chunks = iter([b"abc", b"def"])
    stream = ByteStream(chunks)
    assert stream.read(3) == b"abc"
    stream.skip_to(3)
    assert list(chunks) == [b"def"]
