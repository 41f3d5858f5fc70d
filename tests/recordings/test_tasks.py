"""Tasks as vCenters described them: queued and running ones, and an event's."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.recordings import leaves, recordings
from tests.recordings.conftest import Tally
from tests.recordings.replay import Replay, exchange_of, replaying
from tests.recordings.ruby_objects import task_of_event
from vmdk_cache.vim.session import Session

NEXT_TASKS = "pyvmomi-read-next-tasks.xml"
COLLECTOR = "session[1]2"


def read(answer: str) -> list[Any]:
    """What our session makes of an answer to ReadNextTasks."""
    log_in = recordings.read("pyvmomi-smart-connection.json").exchanges
    asked = exchange_of(900, "ReadNextTasks", COLLECTOR, answer)
    with replaying(Replay([*log_in, asked])) as endpoint, Session(endpoint) as session:
        found = session.invoke("TaskHistoryCollector", COLLECTOR, "ReadNextTasks", maxCount=10)
    assert leaves.in_answer(asked.response) == leaves.in_value(found)
    return list(found)


def body_of(envelope: str) -> str:
    return envelope.partition("<soapenv:Body>")[2].partition("</soapenv:Body>")[0].strip()


def test_queued_and_running_tasks_are_read(tally: Tally) -> None:
    found = read(body_of(recordings.path_of(NEXT_TASKS).read_text()))

    assert [task.state for task in found] == ["running", "queued", "queued", "queued"]
    for task in found:
        assert task.key == task.task._GetMoId()
        assert task.entity._GetMoId() and task.entityName
        assert task.error is None and task.result is None and task.completeTime is None
        assert task.progress is None
        # What waits in the queue has no start, which is how the queue is told from the work.
        assert (task.startTime is None) == (task.state == "queued")
        assert task.queueTime.utcoffset() is not None
    tally.setdefault("5.x", Counter())["tasks"] += len(found)


def test_a_queued_task_of_an_event_is_read(tally: Tally) -> None:
    (task,) = read(
        f'<ReadNextTasksResponse xmlns="urn:vim25">{task_of_event("returnval")}'
        "</ReadNextTasksResponse>"
    )

    assert (task.name.info.wsdlName, task.descriptionId) == (
        "Destroy_Task",
        "VirtualMachine.destroy",
    )
    assert (task.state, task.startTime, task.eventChainId) == ("queued", None, 0)
    assert task.entity._GetMoId() == "vm-854"
    assert task.cancelable and not task.cancelled
    assert task.reason.userName == r"RH CORP\agrare"
    tally.setdefault("6.5.0", Counter())["tasks"] += 1
