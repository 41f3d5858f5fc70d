"""The inventory and folders."""

from __future__ import annotations

import threading

import pytest
from pyVmomi import vim

from tests.contract import second_opinion
from tests.contract.vcenters import Target
from tests.contract.vim.conftest import CountingSession, Place
from vmdk_cache import errors
from vmdk_cache.vim import folder, inventory
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter


def test_a_snapshot_is_one_read_and_shows_what_another_client_sees(target: Target) -> None:
    with CountingSession(target.endpoint()) as session:
        found = inventory.snapshot(session)
    with second_opinion.of(target) as seen:
        hosts = {host._moId: host for host in seen.every(vim.HostSystem)}
        datastores = {one._moId: one for one in seen.every(vim.Datastore)}

        assert session.asked.pop("RetrievePropertiesEx") == 1
        assert set(session.asked) <= {"ContinueRetrievePropertiesEx"}, "pages, in a large vCenter"
        assert hosts, "there is nothing to compare"
        assert {host.moref for host in found.hosts} == set(hosts)
        for host in found.hosts:
            same = hosts[host.moref]
            assert host.name == second_opinion.plain(same.name)
            assert (host.cluster, host.pool) == (same.parent._moId, same.parent.resourcePool._moId)
            assert host.connected == (same.runtime.connectionState == "connected")
            assert host.in_maintenance == same.runtime.inMaintenanceMode
        assert {one.moref for one in found.datacenters} == {host.datacenter for host in found.hosts}
        assert {one.datacenter for one in found.datastores} <= {
            one.moref for one in found.datacenters
        }
        assert found.datastores
        for datastore in found.datastores:
            same = datastores[datastore.moref]
            assert datastore.name == second_opinion.plain(same.name)
            assert datastore.accessible == same.summary.accessible
            assert datastore.maintenance == same.summary.maintenanceMode
            assert datastore.capacity_bytes == same.summary.capacity
            assert datastore.capacity_bytes >= datastore.free_bytes > 0
            assert {mount.host for mount in datastore.mounts} == {
                mount.key._moId for mount in same.host
            }


def cluster_names(target: Target) -> list[str]:
    """Sorted; standalone hosts are allowed."""
    with second_opinion.of(target) as seen:
        names = [one.name for one in seen.every(vim.ClusterComputeResource) if one.host]
    if not names:
        pytest.skip("needs a cluster, and this vCenter has none")
    return sorted({second_opinion.plain(name) for name in names})


def test_clusters_by_name_limit_the_hosts(target: Target, session: Session) -> None:
    every, names = inventory.snapshot(session), cluster_names(target)

    in_clusters = inventory.snapshot(session, names)
    assert set(in_clusters.hosts) <= set(every.hosts)
    seen: set[str] = set()
    for name in names:
        found = inventory.snapshot(session, [name])
        clusters = {host.cluster for host in found.hosts}
        assert clusters, f"{name} has no host"
        assert not clusters & seen
        assert found.hosts == tuple(host for host in every.hosts if host.cluster in clusters)
        seen |= clusters
    assert seen == {host.cluster for host in in_clusters.hosts}


def test_an_unknown_cluster_is_a_config_error_that_lists_the_known(
    target: Target, session: Session
) -> None:
    names, unknown = cluster_names(target), target.run.named("prod")
    with pytest.raises(errors.ConfigError, match=f"vmware_cluster_name '{unknown}'") as refused:
        inventory.snapshot(session, [names[0], unknown])
    assert str(refused.value).endswith(f"one of: {', '.join(names)}")


def test_a_folder_that_does_not_exist_is_none_and_not_made(
    target: Target, session: Session, place: Place
) -> None:
    path = target.run.path("tests", "never made")

    assert folder.find_folder(session, place.datacenter, path) is None
    assert folder.find_folder(session, place.datacenter, path) is None


def test_a_folder_is_made_once_and_then_remembered(
    target: Target, session: Session, place: Place
) -> None:
    path = target.run.path("tests", "kept", "a", "b")
    made = folder.ensure_folder(session, place.datacenter, path)
    before = session.request_count

    assert folder.ensure_folder(session, place.datacenter.moref, path) == made
    assert session.request_count == before
    session.folders.clear()
    assert folder.find_folder(session, place.datacenter.moref, path) == made


def test_a_folder_that_was_deleted_is_looked_up_again(
    target: Target, session: Session, waiter: TaskWaiter, place: Place
) -> None:
    path = target.run.path("tests", "deleted")
    old = folder.ensure_folder(session, place.datacenter, path)
    waiter.wait(session.invoke("Folder", old, "Destroy_Task"), timeout_s=60)
    with pytest.raises(errors.ObjectNotFound):
        session.invoke("Folder", old, "CreateFolder", name="x")

    assert folder.ensure_folder(session, place.datacenter, path) != old


def test_threads_that_make_a_folder_together_get_one(target: Target, place: Place) -> None:
    made: list[str] = []

    def make() -> None:
        with Session(target.endpoint()) as session:
            path = target.run.path("tests", "raced", "x")
            made.append(folder.ensure_folder(session, place.datacenter, path))

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
    """vcsim escapes a name that is already escaped, so it can create such a folder but not find
    it.
    """
    path = target.run.path("tests", "50% a/b\\c")
    made = folder.ensure_folder(session, place.datacenter, path)
    session.folders.clear()

    assert folder.ensure_folder(session, place.datacenter, path) == made
    if not target.is_vcsim:
        session.folders.clear()
        assert folder.find_folder(session, place.datacenter, path) == made
