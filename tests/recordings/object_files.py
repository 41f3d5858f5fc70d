"""The recorded inventory, file by file, as answers to the client's requests.

Each file is one object's properties as vCenter told them, or one method's answer, without the
envelope. vcsim makes a whole vCenter of them (tests/contract/vcenters.py); here they are sent as
they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.recordings.recordings import Exchange
from tests.recordings.replay import exchange_of
from vmdk_cache.vim.properties import Row
from vmdk_cache.vim.reference import without_references


@dataclass(frozen=True)
class RecordedObject:
    """:ivar paths: the properties that were recorded"""

    type_name: str
    moref: str
    paths: tuple[str, ...]
    exchange: Exchange


@dataclass(frozen=True)
class RecordedMethod:
    """An answer to a method that was called without arguments."""

    type_name: str
    moref: str
    exchange: Exchange


def objects_in(folder: Path) -> list[RecordedObject]:
    """The objects of an unpacked recording, by the numbers of their files."""
    return [_object(number, path) for number, path in enumerate(sorted(folder.glob("*.xml")))]


def methods_in(folder: Path, first_number: int) -> list[RecordedMethod]:
    """The answers to methods, in folders that are named for the object."""
    found = []
    for number, path in enumerate(sorted(folder.glob("*/*.xml")), first_number):
        type_name, _, moref = path.parent.name.partition("-")
        answer = path.read_text().replace("Response>", 'Response xmlns="urn:vim25">', 1)
        found.append(
            RecordedMethod(type_name, moref, exchange_of(number, path.stem, moref, answer))
        )
    return found


def session_of(objects: list[RecordedObject]) -> list[Exchange]:
    """The answers to a log-in, out of the properties that say the same."""
    return [
        exchange_of(len(objects) + 100, method, moref, _property_as_answer(objects, path))
        for method, moref, path in (
            ("RetrieveServiceContent", "ServiceInstance", "content"),
            ("Login", "SessionManager", "currentSession"),
        )
    ]


def row_of(values: Mapping[str, Any], paths: list[str]) -> Row:
    """Values of these paths, of which the recorded properties are the beginnings."""
    row = {}
    for path in paths:
        name, *rest = path.split(".")
        value = values.get(name)
        for step in rest:
            value = getattr(value, step, None)
        if value is not None:
            row[path] = without_references(value)
    return row


def _object(number: int, path: Path) -> RecordedObject:
    content = ElementTree.parse(path).getroot()
    found = content.find("obj")
    assert found is not None and found.text
    names = [element.text or "" for element in content.iterfind("propSet/name")]
    telling = "".join(f"<pathSet>{name}</pathSet>" for name in names)
    answer = path.read_text().replace("ObjectContent>", "returnval>")
    exchange = exchange_of(
        number,
        "RetrieveProperties",
        "propertyCollector",
        f'<RetrievePropertiesResponse xmlns="urn:vim25">{answer}</RetrievePropertiesResponse>',
        arguments=f"{telling}<obj>{found.text}</obj>",
    )
    return RecordedObject(found.attrib["type"], found.text, tuple(names), exchange)


def _property_as_answer(objects: list[RecordedObject], path: str) -> str:
    (recorded,) = (one for one in objects if path in one.paths and one.moref[0].isupper())
    before, _, after = recorded.exchange.response.partition(f"<name>{path}</name>")
    value = after.partition("</propSet>")[0].strip()
    assert before and value.startswith("<val") and value.endswith("</val>")
    inner = value.partition(">")[2].removesuffix("</val>")
    prefix = 'xmlns:XMLSchema-instance="http://www.w3.org/2001/XMLSchema-instance"'
    return f'<XResponse xmlns="urn:vim25" {prefix}><returnval>{inner}</returnval></XResponse>'
