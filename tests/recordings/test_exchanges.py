"""Every recorded exchange, repeated by our session: all of each answer is read."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.recordings import leaves, recordings
from tests.recordings.conftest import Tally
from tests.recordings.exchange_replay import repeat
from tests.recordings.replay import Question, Replay, replaying
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.storage_policy import StoragePolicies

FILES = [
    "manageiq-metrics-capture-hourly.json",
    "manageiq-refresher.json",
    "pyvmomi-basic-container-view.json",
    "pyvmomi-datacenter-explode.json",
    "pyvmomi-datastore-explode.json",
    "pyvmomi-host-explode.json",
    "pyvmomi-network-explode.json",
    "pyvmomi-pbm-check-compatibility.json",
    "pyvmomi-smart-connection.json",
    "pyvmomi-vm-explode-type.json",
    "pyvmomi-vm-nic-data.json",
]
#: Values that pyVmomi adds to an answer, by file and number: VmfsDatastoreInfo.maxMemoryFileSize
#: is required since vSphere 6.0, so that each of the two that a 5.5 leaves out becomes 0.
ADDED = {("manageiq-refresher.json", 4): 2}
LOGOUT = Question("sdk", "Logout", "SessionManager", ())


@pytest.mark.parametrize("file", FILES)
def test_every_recorded_answer_is_read_and_nothing_of_it_is_lost(file: str, tally: Tally) -> None:
    recording = recordings.read(file)
    replay = Replay(recording.exchanges)
    spoken = [one for one in recording.exchanges if one.method is not None]
    lost: dict[int, tuple[int, int]] = {}
    with replaying(replay) as endpoint, Session(endpoint) as session:
        policies = StoragePolicies(session)
        for exchange in spoken:
            if exchange.method in ("Login", "Logout"):  # opening and closing the session send them
                continue
            found: Any = repeat(session, policies, exchange)
            sizes = leaves.in_answer(exchange.response), leaves.in_value(found)
            if sizes[0] + ADDED.get((file, exchange.number), 0) != sizes[1]:
                lost[exchange.number] = sizes

    assert lost == {}
    assert replay.replayed == {exchange.number for exchange in spoken}
    # Some of the recorded clients never logged out.
    assert replay.unanswered in ([], [LOGOUT])
    tally.setdefault(recording.vcenter, Counter())["answers"] += len(replay.replayed)
