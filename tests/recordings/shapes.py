"""What two XML answers have in common: elements, optional ones, order, attributes, and the values
of those elements that are words of the protocol.

Repeated elements count as one, whose children are those of all of them. An element is required when
every repetition of its parent in the recording has it. What names an element is not its tag alone:
the updates and properties of an answer go by the path that they are about, objects by their type,
the elements of an array by theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
#: Elements that are told apart by the text of one of their children.
_NAMED_BY = {"changeSet": "name", "propSet": "name", "missingSet": "path"}
#: By the type of the object that one of their children refers to.
_NAMED_BY_TYPE = {"objectSet": "obj", "returnval": "obj", "objects": "obj"}
#: Elements that are of one type, whatever it is, or whose type says nothing.
_SINGLE = ("error", "fault", "int", "ManagedObjectReference", "returnval", "string", "val", "value")
#: Elements whose values are words of the protocol, by the ends of their paths.
_WORDS = (
    "/about/apiVersion",
    "/faultcode",
    "/faultstring",
    "/file/type",
    "/kind",
    "/modified",
    "/op",
    "/WaitForUpdatesExResponse/returnval/version",
    "/truncated",
)


def body(answer: str) -> Element:
    """The answer within its SOAP envelope; any other document as it is."""
    root = ElementTree.fromstring(answer)
    for child in root:
        if _local(child.tag) == "Body":
            return child
    return root


def differences(
    recorded: Sequence[Element], answered: Sequence[Element], *, typed_elements: bool = True
) -> list[str]:
    """How the second elements differ from the first.

    - ``- path``: the recording always has it
    - ``+ path``: the recording never has it
    - ``@ path``: attributes, or words of the protocol, that the recording has not
    - ``< path``: children in an order that is not recorded

    :param typed_elements: False if the recording leaves the types of array elements out
    """
    return list(_Comparison(typed_elements).compare(recorded, answered, ""))


class _Comparison:
    def __init__(self, typed: bool) -> None:
        self._typed = typed

    def compare(
        self, recorded: Sequence[Element], answered: Sequence[Element], path: str
    ) -> Iterator[str]:
        theirs, ours = self._attributes(recorded), self._attributes(answered)
        if not ours <= theirs or {name for name, _ in ours} != {name for name, _ in theirs}:
            yield f"@ {path}: {_text(ours)} where {_text(theirs)} is recorded"
        if path.endswith(_WORDS):
            texts = {each.text for each in recorded}
            others = sorted({str(each.text) for each in answered if each.text not in texts})
            if others:
                yield f"@ {path}: {', '.join(others)}"
        their_children, our_children = self._children(recorded), self._children(answered)
        for name, elements in their_children.items():
            owners = sum(any(child in elements for child in each) for each in recorded)
            if name not in our_children and owners == len(recorded):
                yield f"- {path}/{name}"
        for name in our_children:
            if name not in their_children:
                yield f"+ {path}/{name}"
        if not self._orders(answered) <= _possible(self._orders(recorded), self._orders(answered)):
            yield f"< {path}"
        for name, elements in their_children.items():
            if name in our_children:
                yield from self.compare(elements, our_children[name], f"{path}/{name}")

    def _children(self, elements: Iterable[Element]) -> dict[str, list[Element]]:
        found: dict[str, list[Element]] = {}
        for element in elements:
            for child in element:
                found.setdefault(self._name(child), []).append(child)
        return found

    def _orders(self, elements: Iterable[Element]) -> set[tuple[str, str]]:
        """Which children stand before which others, by tag, and by path where that names them."""
        found = set()
        for element in elements:
            tags = list(dict.fromkeys(self._place(child) for child in element))
            found |= {(tag, later) for place, tag in enumerate(tags) for later in tags[place + 1 :]}
        return found

    def _place(self, element: Element) -> str:
        tag = _local(element.tag)
        return self._name(element) if tag in _NAMED_BY else tag

    def _name(self, element: Element) -> str:
        tag = _local(element.tag)
        for child in element:
            if _local(child.tag) == _NAMED_BY.get(tag):
                return f"{tag}[{child.text}]"
            if _local(child.tag) == _NAMED_BY_TYPE.get(tag):
                return f"{tag}[{child.get('type')}]"
        kind = _local(element.get(XSI_TYPE, "").replace(":", "}"))
        if not kind or kind == tag or tag in _SINGLE or not (self._typed or tag == "device"):
            return tag
        return f"{tag}[{kind}]"

    def _attributes(self, elements: Iterable[Element]) -> set[tuple[str, str]]:
        """Attributes; in an untyped recording without the types of array elements."""
        return {
            ("xsi:type", value.rpartition(":")[2]) if name == XSI_TYPE else (name, value)
            for element in elements
            for name, value in element.attrib.items()
            if self._typed or name != XSI_TYPE or _local(element.tag) in ("val", "device")
        }


def _possible(
    recorded: set[tuple[str, str]], answered: set[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Those of the answered orders that no recorded one contradicts."""
    return {(one, two) for one, two in answered if (two, one) not in recorded}


def _text(attributes: set[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(attributes)) or "nothing"


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]
