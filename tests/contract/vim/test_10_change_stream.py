"""Tables that follow vCenter: whatever is created, changed or removed there shows after one
request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import NO_FOLDER, Place, end_session
from tests.fakes.clock import ManualClock
from vmdk_cache.vim import properties
from vmdk_cache.vim.change_stream import ChangeStream
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

SCOPE = "children"


def children_of(moref: str, paths: Sequence[str] = ("name",)) -> Callable[[], Any]:
    """The folder and its child folders."""

    return lambda: properties.filter_spec(
        ("Folder", moref),
        [("Folder", "childEntity")],
        {"Folder": paths},
        with_root=True,
        may_be_gone=True,
    )


def make(session: Session, parent: str, name: str) -> str:
    return str(session.invoke("Folder", parent, "CreateFolder", name=name))


def destroy(session: Session, waiter: TaskWaiter, moref: str) -> None:
    waiter.wait(session.invoke("Folder", moref, "Destroy_Task"), timeout_s=60)


def names(stream: ChangeStream, scope: str = SCOPE) -> set[str]:
    return {row["name"] for row in stream.table(scope).values()}


@pytest.fixture
def stream(session: Session, place: Place) -> ChangeStream:
    made = ChangeStream(session, ManualClock())
    made.follow(SCOPE, children_of(place.folder))
    return made


@pytest.fixture
def own(session: Session, place: Place) -> str:
    """The name of the test's folder, which is also a row of its table."""
    return str(properties.read_one(session, "Folder", place.folder, ["name"])["name"])


def test_before_the_first_refresh_nothing_is_asked_and_nothing_known(
    session: Session, stream: ChangeStream
) -> None:
    before = session.request_count
    assert stream.table(SCOPE) == {}
    assert session.request_count == before


def test_existing_objects_are_known_after_the_first_refresh(
    session: Session, stream: ChangeStream, place: Place, own: str
) -> None:
    child = make(session, place.folder, "a")
    stream.refresh()
    assert names(stream) == {own, "a"}
    assert stream.table(SCOPE)["Folder", child] == {"name": "a"}


def test_nothing_changed_is_one_request_and_the_same_table(
    session: Session, stream: ChangeStream
) -> None:
    stream.refresh()
    table = stream.table(SCOPE)
    before = session.request_count
    stream.refresh()
    assert session.request_count - before == 1
    assert stream.table(SCOPE) is table


def test_changes_show_at_the_next_refresh(
    session: Session, waiter: TaskWaiter, stream: ChangeStream, place: Place, own: str
) -> None:
    stream.refresh()
    first, second = make(session, place.folder, "a"), make(session, place.folder, "b")
    stream.refresh()
    assert names(stream) == {own, "a", "b"}

    task = session.invoke("Folder", first, "Rename_Task", newName="c")
    waiter.wait(task, timeout_s=60)
    stream.refresh()
    assert names(stream) == {own, "b", "c"}

    destroy(session, waiter, second)
    stream.refresh()
    assert names(stream) == {own, "c"}


def test_rows_that_did_not_change_are_the_same_objects(
    session: Session, stream: ChangeStream, place: Place
) -> None:
    child = make(session, place.folder, "a")
    stream.refresh()
    before = stream.table(SCOPE)
    make(session, place.folder, "b")
    stream.refresh()
    assert stream.table(SCOPE)["Folder", child] is before["Folder", child]
    assert len(before) == 2, "a table that was handed out has changed"


def test_scopes_are_independent(
    session: Session, stream: ChangeStream, place: Place, own: str
) -> None:
    inner = make(session, place.folder, "inner")
    stream.refresh()
    stream.follow("inner", children_of(inner))
    make(session, inner, "x")
    stream.refresh()
    assert names(stream, "inner") == {"inner", "x"}
    assert names(stream) == {own, "inner"}

    stream.unfollow("inner")
    stream.refresh()
    assert stream.table("inner") == {}
    assert names(stream) == {own, "inner"}


def test_following_twice_keeps_the_first(stream: ChangeStream, place: Place, own: str) -> None:
    stream.follow(SCOPE, children_of(NO_FOLDER))
    stream.refresh()
    assert own in names(stream)


def test_a_nonexistent_root_is_an_empty_table(stream: ChangeStream, own: str) -> None:
    stream.follow("gone", children_of(NO_FOLDER))
    stream.refresh()
    assert stream.table("gone") == {}
    assert own in names(stream)


def test_a_root_that_is_deleted_leaves_an_empty_table_and_the_others_alone(
    target: Target,
    session: Session,
    waiter: TaskWaiter,
    stream: ChangeStream,
    place: Place,
    own: str,
) -> None:
    if target.is_vcsim:
        pytest.skip(
            "vcsim: a filter forgets its objects when its root changes, and reports no leave"
        )
    inner = make(session, place.folder, "inner")
    stream.follow("inner", children_of(inner))
    stream.refresh()
    assert names(stream, "inner") == {"inner"}
    destroy(session, waiter, inner)
    stream.refresh()
    assert stream.table("inner") == {}
    assert names(stream) == {own}


def test_answers_in_many_pieces_are_one_table(session: Session, place: Place, own: str) -> None:
    stream = ChangeStream(session, ManualClock(), objects_per_answer=2)
    stream.follow(SCOPE, children_of(place.folder))
    for number in range(5):
        make(session, place.folder, f"f{number}")
    stream.refresh()
    assert names(stream) == {own, *(f"f{number}" for number in range(5))}

    for number in range(5):
        make(session, place.folder, f"g{number}")
    stream.refresh()
    assert len(stream.table(SCOPE)) == 11


def test_a_new_log_in_reads_everything_again(
    session: Session, waiter: TaskWaiter, stream: ChangeStream, place: Place, own: str
) -> None:
    gone = make(session, place.folder, "gone")
    make(session, place.folder, "kept")
    stream.refresh()
    end_session(session)
    destroy(session, waiter, gone)
    make(session, place.folder, "new")
    stream.refresh()
    assert session.generation == 2
    assert names(stream) == {own, "kept", "new"}


def test_a_session_that_ends_unnoticed_is_no_empty_table(
    session: Session, stream: ChangeStream, own: str
) -> None:
    stream.refresh()
    table = stream.table(SCOPE)
    end_session(session)
    stream.refresh()
    assert names(stream) == {own}
    assert stream.table(SCOPE) == table


def test_recent_knowledge_is_not_requested_again(session: Session, place: Place) -> None:
    clock = ManualClock()
    stream = ChangeStream(session, clock)
    stream.follow(SCOPE, children_of(place.folder))
    stream.refresh()
    before = session.request_count
    clock.advance(4.9)
    stream.refresh(5)
    assert session.request_count == before
    clock.advance(0.2)
    stream.refresh(5)
    assert session.request_count == before + 1
    stream.refresh()
    assert session.request_count == before + 2
    stream.expire()
    stream.refresh(5)
    assert session.request_count == before + 3


def test_a_scope_that_is_new_is_not_young_enough(
    session: Session, stream: ChangeStream, place: Place
) -> None:
    stream.refresh()
    inner = make(session, place.folder, "inner")
    stream.follow("inner", children_of(inner))
    stream.refresh(3600)
    assert names(stream, "inner") == {"inner"}


def test_concurrent_callers_each_see_their_own_changes(
    session: Session, stream: ChangeStream, place: Place
) -> None:
    stream.refresh()
    missed: list[str] = []

    def work(number: int) -> None:
        for turn in range(5):
            name = f"{number}-{turn}"
            make(session, place.folder, name)
            stream.refresh()
            if name not in names(stream):
                missed.append(name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert missed == []
    assert len(stream.table(SCOPE)) == 31
