"""The fake vCenter says what real ones said: the same requests, answered by a fake with an
equivalent inventory, have the same status, headers, cookies and elements, except for what
`named_differences.py` names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase

import pytest

from tests.recordings import inventories, recordings, ruby_objects, shapes
from tests.recordings.named_differences import NAMED
from tests.recordings.recorded_client import Answer
from tests.recordings.recordings import Exchange, Recording

_SINGLE = re.compile(r"^/\w+Response(/returnval)?")


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    """The differences of every recording, by its file."""
    return {file: sorted(_of_recording(file)) for file in inventories.BUILDERS} | {
        recordings.SDDC: sorted(inventories.differences_of_sddc()),
        inventories.TASKS: sorted(inventories.differences_of_tasks()),
        ruby_objects.EVENT: sorted(inventories.differences_of_event()),
    }


@pytest.mark.parametrize(
    "file", [*inventories.BUILDERS, recordings.SDDC, inventories.TASKS, ruby_objects.EVENT]
)
def test_the_fake_answers_unlike_a_recording(found: dict[str, list[str]], file: str) -> None:
    patterns = [pattern for named in NAMED for pattern in named.differences]
    unnamed = [each for each in found[file] if not any(fnmatchcase(each, p) for p in patterns)]
    assert unnamed == []


def test_a_named_difference_no_longer_exists(found: dict[str, list[str]]) -> None:
    every = {each for differences in found.values() for each in differences}
    gone = [
        pattern
        for named in NAMED
        for pattern in named.differences
        if not any(fnmatchcase(each, pattern) for each in every)
    ]
    assert gone == []


def _of_recording(file: str) -> set[str]:
    recording = recordings.read(file)
    differences: set[str] = set()
    with inventories.BUILDERS[file](recording) as client:
        for exchange in recording.exchanges:
            differences |= set(_of_exchange(recording, exchange, client.send(exchange)))
        assert [str(error) for error in client.vcenter.errors] == []
    return differences


def _of_exchange(recording: Recording, exchange: Exchange, answer: Answer) -> Iterator[str]:
    name = _name(exchange)
    if answer.status != exchange.status:
        yield f"@ {name}: HTTP {answer.status} where {exchange.status} is recorded"
    theirs, ours = set(exchange.headers), set(answer.headers)
    if "transfer-encoding" in theirs:
        theirs.discard("content-length")  # added by the recorder
    yield from (f"- {name} header {header}" for header in theirs - ours)
    yield from (f"+ {name} header {header}" for header in ours - theirs)
    if _cookies(exchange.headers) != _cookies(answer.headers):
        yield f"@ {name}: {_cookies(answer.headers)} where {_cookies(exchange.headers)} is recorded"
    if exchange.method is None:
        if _versions(exchange.response) != _versions(answer.body):
            yield f"@ {name}: other versions"
        return
    for each in shapes.differences([shapes.body(exchange.response)], [shapes.body(answer.body)]):
        kind, path = each.split(" ", 1)
        yield f"{kind} {name}{_SINGLE.sub('', path)}"


def _name(exchange: Exchange) -> str:
    """What was asked: "VirtualMachine.config" for a Fetch, else the method."""
    target = re.search(r'<_this\b[^>]*type="(\w+)"', exchange.request)
    wanted = re.search(r"<prop\b[^>]*>(\w+)<", exchange.request)
    if exchange.method == "Fetch" and target and wanted:
        return f"{target[1]}.{wanted[1]}"
    return exchange.method or f"GET {exchange.path}"


def _cookies(headers: dict[str, list[str]]) -> list[str]:
    """Cookies with the kinds of their values in place of them."""
    found = []
    for cookie in headers.get("set-cookie", ()):
        cookie = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", cookie)
        found.append(re.sub(r"[0-9a-f]{40}", "<40 hexadecimal digits>", cookie))
    return found


def _versions(document: str) -> list[str]:
    return re.findall(r"<version>([^<]+)</version>", document)
