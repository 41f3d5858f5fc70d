"""Logging in to recorded vCenters: the version that is spoken, the cookie, a wrong password."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from pyVmomi import VmomiSupport

from tests.recordings import recordings
from tests.recordings.conftest import Open, Tally
from tests.recordings.replay import Replay, replaying
from tests.recordings.test_exchanges import FILES
from vmdk_cache import errors
from vmdk_cache.vim.api_version import newest_version
from vmdk_cache.vim.session import Session

#: Each release's recording, its apiVersion, and the version that our client then speaks.
RELEASES = [
    ("manageiq-refresher.json", "5.5", "vim25/6.0"),
    ("pyvmomi-pbm-check-compatibility.json", "6.5", "vim25/6.5"),
    ("pyvmomi-smart-connection.json", "8.0.2.0", "vim25/8.0.2.0"),
    ("manageiq-metrics-capture-hourly.json", "9.0.0.0", "vim25/9.0.0.0"),
]
BAD_PASSWORD = "pyvmomi-basic-connection-bad-password.json"


@pytest.mark.parametrize(("file", "api_version", "spoken"), RELEASES)
def test_a_log_in_takes_two_requests_and_the_newest_common_version(
    file: str, api_version: str, spoken: str, opened: Open
) -> None:
    session, replay = opened(file)
    methods = [request.question.method for request in replay.requests]
    actions = [request.soap_action for request in replay.requests]

    assert methods == ["RetrieveServiceContent", "Login"]
    assert session.content.about.apiVersion == api_version
    assert actions == ["urn:vim25/6.0", f"urn:{spoken}"]


@pytest.mark.parametrize("file", [file for file, _, _ in RELEASES])
def test_the_cookie_is_the_one_of_the_log_in_whichever_answer_set_it(
    file: str, opened: Open
) -> None:
    """A 5.5 sets it with the first RetrieveServiceContent's answer, the others with Login's."""
    (cookie,) = {
        value.partition(";")[0]
        for exchange in recordings.read(file).exchanges
        if exchange.path.startswith("/sdk")
        for value in exchange.headers.get("set-cookie", ())
    }
    session, replay = opened(file)

    assert session.cookie() == cookie
    session.close()
    assert replay.requests[-1].question.method == "Logout"
    assert replay.requests[-1].cookie.startswith(cookie)


@pytest.mark.parametrize("file", [file for file in FILES if file.startswith("pyvmomi-")])
def test_the_version_that_is_spoken_is_in_vcenters_own_list(file: str, tally: Tally) -> None:
    """Our client does not ask for /sdk/vimServiceVersions.xml; apiVersion is enough."""
    recording = recordings.read(file)
    (listed,) = (one.response for one in recording.exchanges if one.method is None)
    content = next(
        one.response for one in recording.exchanges if one.method == "RetrieveServiceContent"
    )
    (api_version,) = re.findall("<apiVersion>(.*)</apiVersion>", content)
    spoken = VmomiSupport.GetVersionNamespace(newest_version(api_version)).partition("/")[2]

    assert spoken in re.findall("<version>(.*?)</version>", listed)
    tally.setdefault(recording.vcenter, Counter())["answers"] += 1


def test_a_session_that_lives_is_told_from_one_that_has_ended(opened: Open) -> None:
    session, _ = opened("pyvmomi-smart-connection.json")

    with pytest.raises(errors.NoPermission):
        session.renew(session.generation)


def test_a_wrong_password_is_refused_once_and_not_sent_again(tally: Tally) -> None:
    recording = recordings.read(BAD_PASSWORD)
    replay = Replay(recording.exchanges)
    with replaying(replay) as endpoint:
        with pytest.raises(errors.LoginRefused, match="incorrect user name or password") as first:
            Session(endpoint).open()
        with pytest.raises(errors.LoginRefused, match="not tried again"):
            Session(endpoint).open()

    assert first.value.fault == "vim.fault.InvalidLogin"
    assert endpoint.server in str(first.value)
    methods = [request.question.method for request in replay.requests]
    assert methods.count("Login") == 1
    assert replay.replayed == {0, 1}
    tally.setdefault(recording.vcenter, Counter())["answers"] += len(replay.replayed)
