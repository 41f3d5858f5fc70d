"""What would let two answers pass for alike that are not."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.recordings.shapes import body, differences

XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def compare(recorded: str, answered: str, *, typed_elements: bool = True) -> list[str]:
    return differences(
        [ElementTree.fromstring(f"<r {XSI}>{recorded}</r>")],
        [ElementTree.fromstring(f"<r {XSI}>{answered}</r>")],
        typed_elements=typed_elements,
    )


@pytest.mark.parametrize(
    ("recorded", "answered", "found"),
    [
        ("<a/><b/>", "<a/>", ["- /b"]),
        ("<a/>", "<a/><b/>", ["+ /b"]),
        ("<a/><b/>", "<b/><a/>", ["< "]),
        ("<a><b/></a>", "<a/>", ["- /a/b"]),
        ("<a>1</a>", "<a>2</a>", []),
        ("<a><b/></a><a/>", "<a/>", []),  # optional in the recording
        ("<a><b/></a><a/>", "<a><b/></a>", []),
        ("<a><b/></a><a><b/></a>", "<a/>", ["- /a/b"]),
        ("<op>assign</op>", "<op>remove</op>", ["@ /op: remove"]),
        ("<op>assign</op><op>remove</op>", "<op>remove</op>", []),
        ('<a type="VM">1</a>', "<a>1</a>", ["@ /a: nothing where type=VM is recorded"]),
        ("<a>1</a>", '<a type="VM">1</a>', ["@ /a: type=VM where nothing is recorded"]),
        (
            '<val xsi:type="xsd:int">1</val>',
            '<val xsi:type="xsd:long">1</val>',
            ["@ /val: xsi:type=long where xsi:type=int is recorded"],
        ),
        (
            '<device xsi:type="Disk"><a/></device><device xsi:type="Card"/>',
            '<device xsi:type="Disk"/>',
            ["- /device[Card]", "- /device[Disk]/a"],
        ),
        (
            "<propSet><name>a</name><val/></propSet><propSet><name>b</name></propSet>",
            "<propSet><name>b</name></propSet><propSet><name>a</name></propSet>",
            ["< ", "- /propSet[a]/val"],
        ),
        (
            '<objectSet><obj type="VM">vm-1</obj><kind>enter</kind></objectSet>',
            '<objectSet><obj type="Host">host-1</obj><kind>enter</kind></objectSet>',
            ["- /objectSet[VM]", "+ /objectSet[Host]"],
        ),
    ],
)
def test_a_difference_is_overlooked_or_invented(
    recorded: str, answered: str, found: list[str]
) -> None:
    assert compare(recorded, answered) == found


def test_a_recording_without_types_is_held_against_types() -> None:
    recorded = "<val><Item><a/></Item></val>"
    answered = '<val><Item xsi:type="Item"><a xsi:type="xsd:int"/></Item></val>'
    assert compare(recorded, answered) != []
    assert compare(recorded, answered, typed_elements=False) == []


def test_an_envelope_is_compared_with_what_is_in_it() -> None:
    assert body("<Envelope><Header/><Body><x/></Body></Envelope>")[0].tag == "x"
    assert body("<namespaces><x/></namespaces>").tag == "namespaces"
