"""A change stream whose collector, session, connection or vCenter is lost."""

from __future__ import annotations

import threading
from typing import Any, cast

import pytest
from pyVmomi import vim, vmodl

from tests.contract.vim.conftest import Place
from tests.contract.vim.test_10_change_stream import SCOPE, children_of, destroy, make, names
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import Background
from vmdk_cache import errors
from vmdk_cache.vim.change_stream import ChangeStream
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

_pc = vmodl.query.PropertyCollector


@pytest.fixture
def stream(session: Session, place: Place) -> ChangeStream:
    """A stream that knows the folder ``tests`` and a child of it."""
    make(session, place.folder, "a")
    made = ChangeStream(session, session.clock, objects_per_answer=2)
    made.follow(SCOPE, children_of(place.folder))
    made.refresh()
    assert names(made) == {"tests", "a"}
    return made


def test_a_destroyed_collector_is_recreated(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place
) -> None:
    (collector,) = [
        request.target for request in vc.request_log.recent() if request.method == "CreateFilter"
    ]
    session.invoke("PropertyCollector", collector, "DestroyPropertyCollector")
    make(session, place.folder, "b")
    stream.refresh()
    assert names(stream) == {"tests", "a", "b"}
    assert session.generation == 1


@pytest.mark.parametrize(
    "fault",
    [
        vmodl.query.InvalidCollectorVersion(),
        vmodl.fault.RequestCanceled(),
        vmodl.fault.InvalidArgument(invalidProperty="version"),
        vmodl.fault.SystemError(reason="vpxd is starting"),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_version_that_vcenter_forgot_causes_a_complete_read(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place, fault: Exception
) -> None:
    rule = vc.fault_rules.add("WaitForUpdatesEx", fault)
    make(session, place.folder, "b")
    stream.refresh()
    assert rule.hits == 1
    assert names(stream) == {"tests", "a", "b"}


def test_two_watches_that_break_are_not_the_end(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place
) -> None:
    rule = vc.fault_rules.add("WaitForUpdatesEx", vmodl.fault.SystemError(), times=2)
    make(session, place.folder, "b")
    stream.refresh()
    assert rule.hits == 2
    assert names(stream) == {"tests", "a", "b"}


def test_vcenter_sends_whole_values_and_no_parts_of_lists(
    vc: VCenter, stream: ChangeStream
) -> None:
    with vc.lock:
        (made,) = vc.registry.of_type(_pc.Filter)
    assert made.partialUpdates is False


def test_a_fault_that_stays_is_raised_and_not_asked_forever(
    vc: VCenter, session: Session, stream: ChangeStream
) -> None:
    rule = vc.fault_rules.add("WaitForUpdatesEx", vmodl.fault.SystemError(), times=None)
    with pytest.raises(errors.TaskFailed):
        stream.refresh()
    assert rule.hits == 3
    assert names(stream) == {"tests", "a"}
    vc.fault_rules.clear()
    stream.refresh()
    assert names(stream) == {"tests", "a"}


@pytest.mark.parametrize("drop", ["before", "after"])
@pytest.mark.parametrize("method", ["WaitForUpdatesEx", "CreatePropertyCollector", "CreateFilter"])
def test_a_lost_answer_loses_no_change(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place, method: str, drop: str
) -> None:
    inner = make(session, place.folder, "inner")
    stream.follow("inner", children_of(inner))
    vc.fault_rules.add(method, drop=drop)  # type: ignore[arg-type]
    for name in ("b", "c", "d"):
        make(session, inner, name)
        stream.refresh()
    assert names(stream, "inner") == {"inner", "b", "c", "d"}
    assert names(stream) == {"tests", "a", "inner"}


@pytest.mark.parametrize("skip", [0, 1])
def test_a_half_made_watch_is_not_used(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place, skip: int
) -> None:
    stream.follow("inner", children_of(make(session, place.folder, "inner")))
    vc.fault_rules.add("CreateFilter", vmodl.fault.RequestCanceled(), skip=skip)

    stream.refresh()

    assert names(stream, "inner") == {"inner"}
    assert names(stream) == {"tests", "a", "inner"}
    assert collectors(vc) == 1


@pytest.mark.parametrize("skip", [0, 1])
@pytest.mark.parametrize(
    ("way", "error"),
    [
        ({"drop": "before", "times": 3}, errors.Unreachable),
        ({"fault": vim.fault.NoPermission(privilegeId="made.up")}, errors.NoPermission),
    ],
    ids=["unreachable", "no-permission"],
)
def test_a_watch_that_cannot_be_made_is_an_error_and_publishes_nothing(
    vc: VCenter,
    session: Session,
    stream: ChangeStream,
    place: Place,
    way: dict[str, Any],
    error: type[Exception],
    skip: int,
) -> None:
    stream.follow("inner", children_of(make(session, place.folder, "inner")))
    vc.fault_rules.add("CreateFilter", skip=skip, **way)

    with pytest.raises(error):
        stream.refresh()
    assert names(stream, "inner") == set()
    assert names(stream) == {"tests", "a"}

    stream.refresh()
    assert names(stream, "inner") == {"inner"}
    assert names(stream) == {"tests", "a", "inner"}


@pytest.mark.parametrize(
    ("way", "destroyed"),
    [
        ({"drop": "before", "times": 3}, 1),
        ({"fault": vim.fault.NoPermission(privilegeId="made.up")}, 2),
    ],
    ids=["unreachable", "no-permission"],
)
def test_a_half_made_watch_is_destroyed_unless_vcenter_is_unreachable(
    vc: VCenter,
    session: Session,
    stream: ChangeStream,
    place: Place,
    way: dict[str, Any],
    destroyed: int,
) -> None:
    """The previous watch is destroyed in both cases, while vCenter still answers."""
    stream.follow("inner", children_of(make(session, place.folder, "inner")))
    vc.fault_rules.add("CreateFilter", **way)
    vc.request_log.reset()

    with pytest.raises(errors.VCenterError):
        stream.refresh()

    assert vc.request_log.count("DestroyPropertyCollector") == destroyed


def test_a_watch_that_is_replaced_is_destroyed(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place
) -> None:
    for number in range(3):
        inner = f"inner {number}"
        stream.follow(inner, children_of(make(session, place.folder, inner)))
        stream.refresh()
    assert collectors(vc) == 1
    for number in range(3):
        stream.unfollow(f"inner {number}")
    stream.unfollow(SCOPE)
    stream.refresh()
    assert collectors(vc) == 0
    assert names(stream) == set()


def test_a_watch_of_an_earlier_log_in_is_not_destroyed(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place
) -> None:
    """vCenter has ended it with its session."""
    vc.sessions.expire_all()
    make(session, place.folder, "b")  # logs in again
    vc.request_log.reset()
    stream.refresh()
    assert vc.request_log.count("DestroyPropertyCollector") == 0
    assert collectors(vc) == 1


def collectors(vc: VCenter) -> int:
    """Collectors that clients have created, in addition to every session's default one."""
    with vc.lock:
        given = [session.property_collector for session in vc.sessions.active()]
        found = vc.registry.of_type(_pc)
        return len([c for c in found if c.moref != "propertyCollector" and c not in given])


def test_a_filter_made_twice_by_a_lost_answer_does_not_stay(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place
) -> None:
    stream.follow("inner", children_of(make(session, place.folder, "inner")))
    vc.fault_rules.add("CreateFilter", drop="after")
    stream.refresh()
    stream.refresh()
    with vc.lock:
        filters = vc.registry.of_type(_pc.Filter)
    assert len(filters) == 2


@pytest.mark.parametrize("skip", [0, 1, 2])
def test_an_answer_in_pieces_that_breaks_off_publishes_nothing_and_misses_nothing(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place, skip: int
) -> None:
    for number in range(6):
        make(session, place.folder, f"b{number}")
    rule = vc.fault_rules.add("WaitForUpdatesEx", drop="after", skip=skip, times=3)
    with pytest.raises(errors.Unreachable):
        stream.refresh()
    assert rule.hits == 3
    assert names(stream) == {"tests", "a"}
    stream.refresh()
    assert names(stream) == {"tests", "a", *(f"b{number}" for number in range(6))}


def test_a_session_that_ends_between_the_pieces_publishes_no_half(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place
) -> None:
    for number in range(6):
        make(session, place.folder, f"b{number}")
    vc.fault_rules.add("WaitForUpdatesEx", skip=1, action=vc.sessions.expire_all)
    stream.refresh()
    assert len(stream.table(SCOPE)) == 8
    assert session.generation == 2


@pytest.mark.parametrize("method", ["WaitForUpdatesEx", "CreateFilter", "CreatePropertyCollector"])
def test_a_session_that_ends_on_the_way_is_renewed(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place, method: str
) -> None:
    stream.follow("inner", children_of(make(session, place.folder, "inner")))
    vc.fault_rules.add(method, action=vc.sessions.expire_all)
    stream.refresh()
    assert names(stream, "inner") == {"inner"}
    assert names(stream) == {"tests", "a", "inner"}


def test_a_restart_of_vcenter_replaces_the_tables_as_a_whole(
    vc: VCenter, session: Session, waiter: TaskWaiter, stream: ChangeStream, place: Place
) -> None:
    gone = make(session, place.folder, "gone")
    stream.refresh()
    destroy(session, waiter, gone)
    vc.restart()
    make(session, place.folder, "b")
    stream.refresh()
    assert names(stream) == {"tests", "a", "b"}


def test_a_vcenter_out_of_reach_leaves_what_was_known(
    vc: VCenter, session: Session, stream: ChangeStream
) -> None:
    rule = vc.fault_rules.add("*", drop="before", times=None)
    with pytest.raises(errors.Unreachable):
        stream.refresh()
    assert names(stream) == {"tests", "a"}
    vc.fault_rules.remove(rule)
    stream.refresh()


def test_a_missing_privilege_causes_no_log_ins(
    vc: VCenter, session: Session, stream: ChangeStream
) -> None:
    fault = vim.fault.NoPermission(privilegeId="System.View", object=vim.Folder("group-d1"))
    rule = vc.fault_rules.add("WaitForUpdatesEx", fault, times=None)
    with pytest.raises(errors.NoPermission, match=r"System\.View"):
        stream.refresh()
    assert rule.hits == 1
    assert session.generation == 1


class RefusingSession:
    """vCenter answers NotAuthenticated for one property of each object, though the session
    lives.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def invoke(self, type_name: str, moref: str, method: str, /, **args: Any) -> Any:
        answer = self._session.invoke(type_name, moref, method, **args)
        if method == "WaitForUpdatesEx":
            missing = _pc.MissingProperty(path="name", fault=vim.fault.NotAuthenticated())
            for change in (change for found in answer.filterSet for change in found.objectSet):
                change.missingSet = [missing]
        return answer


def test_a_property_refused_to_a_live_session_is_a_missing_privilege(
    vc: VCenter, session: Session, place: Place
) -> None:
    stream = ChangeStream(cast(Session, RefusingSession(session)), session.clock)
    stream.follow(SCOPE, children_of(place.folder))
    vc.request_log.reset()
    with pytest.raises(errors.NoPermission):
        stream.refresh()
    assert vc.request_log.count("WaitForUpdatesEx") == 1
    assert session.generation == 1
    assert names(stream) == set()


def test_callers_that_wait_during_a_request_share_the_next_one(
    vc: VCenter, session: Session, stream: ChangeStream, place: Place
) -> None:
    under_way, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        under_way.set()
        assert go_on.wait(60)

    vc.fault_rules.add("WaitForUpdatesEx", action=hold)
    vc.request_log.reset()
    first = Background(stream.refresh)
    assert under_way.wait(60)
    make(session, place.folder, "b")

    def ask() -> bool:
        stream.refresh()
        return "b" in names(stream)

    others = [Background(ask) for _ in range(10)]
    while len(stream._batch._queue) < len(others):
        threading.Event().wait(0.001)
    go_on.set()
    first.join()
    assert all(other.join() for other in others)
    assert vc.request_log.count("WaitForUpdatesEx") == 2


def test_an_answer_that_expires_during_a_request_is_requested_again(
    vc: VCenter, session: Session, stream: ChangeStream
) -> None:
    vc.fault_rules.add("WaitForUpdatesEx", action=stream.expire)
    stream.refresh()
    vc.request_log.reset()
    stream.refresh(3600)
    assert vc.request_log.count("WaitForUpdatesEx") == 1
