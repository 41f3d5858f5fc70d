"""The inventory and folders."""

from __future__ import annotations

import threading

import pytest

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import Place
from vmdk_cache import errors
from vmdk_cache.vim import folder, inventory
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter


def test_a_snapshot_is_one_request_and_hangs_together(session: Session) -> None:
    before = session.request_count

    found = inventory.snapshot(session)

    assert session.request_count - before == 1
    assert [host.name for host in found.hosts] == ["DC0_C0_H0", "DC0_C0_H1"]
    assert len(found.datastores) == 2
    (datacenter,) = found.datacenters
    assert {host.datacenter for host in found.hosts} == {datacenter.moref}
    hosts = {host.moref for host in found.hosts}
    for datastore in found.datastores:
        assert datastore.capacity_bytes >= datastore.free_bytes > 0
        assert datastore.accessible
        assert datastore.maintenance == "normal"
        assert datastore.datacenter == datacenter.moref
        assert {mount.host for mount in datastore.mounts} == hosts
        assert all(m.read_write and m.mounted and m.accessible for m in datastore.mounts)
    assert all(host.connected and not host.in_maintenance for host in found.hosts)


def test_clusters_by_name_limit_the_hosts(session: Session) -> None:
    assert inventory.snapshot(session, ["DC0_C0"]) == inventory.snapshot(session)


def test_an_unknown_cluster_is_a_config_error_that_lists_the_known(session: Session) -> None:
    with pytest.raises(errors.ConfigError, match=r"vmware_cluster_name 'prod'.*DC0_C0"):
        inventory.snapshot(session, ["DC0_C0", "prod"])


def test_a_folder_that_is_not_there_is_none_and_not_made(session: Session, place: Place) -> None:
    path = ["tests", "never made"]

    assert folder.find_folder(session, place.datacenter, path) is None
    assert folder.find_folder(session, place.datacenter, path) is None


def test_a_folder_is_made_once_and_then_remembered(session: Session, place: Place) -> None:
    path = ["tests", "kept", "a", "b"]
    made = folder.ensure_folder(session, place.datacenter, path)
    before = session.request_count

    assert folder.ensure_folder(session, place.datacenter.moref, path) == made
    assert session.request_count == before
    session.folders.clear()
    assert folder.find_folder(session, place.datacenter.moref, path) == made


def test_a_folder_that_was_deleted_is_looked_up_anew(
    session: Session, waiter: TaskWaiter, place: Place
) -> None:
    path = ["tests", "deleted"]
    old = folder.ensure_folder(session, place.datacenter, path)
    waiter.wait(session.invoke("Folder", old, "Destroy_Task"), timeout_s=60)
    with pytest.raises(errors.ObjectNotFound):
        session.invoke("Folder", old, "CreateFolder", name="x")

    assert folder.ensure_folder(session, place.datacenter, path) != old


def test_threads_that_make_a_folder_together_get_one(target: Target, place: Place) -> None:
    made: list[str] = []

    def make() -> None:
        with Session(target.endpoint()) as session:
            made.append(folder.ensure_folder(session, place.datacenter, ["tests", "raced", "x"]))

    threads = [threading.Thread(target=make) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(made) == 6
    assert len(set(made)) == 1


def test_names_with_slashes_and_percents_are_one_folder(
    target: Target, session: Session, place: Place
) -> None:
    """vcsim escapes what is escaped already, so that it can make but not find such a folder."""
    path = ["tests", "50% a/b\\c"]
    made = folder.ensure_folder(session, place.datacenter, path)
    session.folders.clear()

    assert folder.ensure_folder(session, place.datacenter, path) == made
    if target.name != "vcsim":
        session.folders.clear()
        assert folder.find_folder(session, place.datacenter, path) == made
