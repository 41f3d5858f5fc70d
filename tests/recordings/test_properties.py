"""Reading properties of recorded objects, and of one that may not be read."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.recordings import recordings
from tests.recordings.conftest import Open
from tests.recordings.recordings import Exchange
from tests.recordings.replay import Replay, exchange_of, question_of, replaying
from vmdk_cache import errors
from vmdk_cache.vim import properties
from vmdk_cache.vim.session import Session

#: What an account without the privileges gets, which is what nobody gets before a log-in: some
#: properties all the same, and a text that is empty. From govmomi's
#: vim25/mo/fixtures/not_authenticated_fault.xml, which was captured on a real vCenter.
NOT_AUTHENTICATED = """
<RetrievePropertiesResponse xmlns="urn:vim25"><returnval>
<obj type="SessionManager">SessionManager</obj>
<propSet><name>defaultLocale</name><val xsi:type="xsd:string">en</val></propSet>
<missingSet><path>message</path><fault>
<fault xsi:type="NotAuthenticated">
<object type="Folder">group-d1</object><privilegeId>System.View</privilegeId></fault>
<localizedMessage/></fault></missingSet>
</returnval></RetrievePropertiesResponse>
"""
PATHS = ["defaultLocale", "message"]


def recorded_reads(file: str) -> Iterable[tuple[str, str, list[str]]]:
    """Type, moref and paths of what was read of one object."""
    for one in recordings.read(file).exchanges:
        if one.method == "RetrieveProperties":
            type_name = one.request.partition('<obj type="')[2].partition('"')[0]
            *paths, moref = question_of(one.path, one.request).details
            yield type_name, moref, paths


@pytest.mark.parametrize(
    ("file", "objects"),
    [("manageiq-refresher.json", 16), ("manageiq-metrics-capture-hourly.json", 1)],
)
def test_properties_are_read_that_are_set_and_no_others(
    file: str, objects: int, opened: Open
) -> None:
    session, _ = opened(file)
    seen = set()
    for type_name, moref, paths in recorded_reads(file):
        values = properties.read_one(session, type_name, moref, paths)
        assert values and values.keys() <= set(paths)
        seen.add(moref)
    assert len(seen) == objects


def unreadable() -> Exchange:
    telling = "".join(f"<pathSet>{path}</pathSet>" for path in PATHS)
    telling += "<obj>SessionManager</obj>"
    return exchange_of(
        900, "RetrieveProperties", "propertyCollector", NOT_AUTHENTICATED, arguments=telling
    )


def test_a_property_that_the_account_may_not_read_is_a_missing_privilege_by_its_name() -> None:
    """The session lives, as its recording says when it is asked for currentSession."""
    recording = recordings.read("pyvmomi-smart-connection.json")
    replay = Replay([*recording.exchanges, unreadable()])
    with (
        replaying(replay) as endpoint,
        Session(endpoint) as session,
        pytest.raises(errors.NoPermission, match=r"privilege System\.View on group-d1 is required"),
    ):
        properties.read_one(session, "SessionManager", "SessionManager", PATHS)
