"""Whether a lock can be taken, and whether hosts share their locks."""

from __future__ import annotations

import contextlib
import pathlib
import socket
from collections.abc import Iterator

import pytest

from tests.fakes import account as page
from tests.fakes.memory import MemoryLocks
from tests.fakes.vcenter import VCenter
from tests.services.etcd import Etcd
from tests.services.redis import Redis
from tests.unit.preflight.conftest import Bench, locks_of
from vmdk_cache import errors
from vmdk_cache.preflight.probe import Status


@pytest.fixture(autouse=True)
def account(vcenter: VCenter) -> None:
    page.add_documented_account(vcenter)


@pytest.mark.parametrize("server", [Etcd, Redis])
def test_a_coordinator_that_gives_locks_is_ok(bench: Bench, server: type[Etcd | Redis]) -> None:
    with server() as running:
        bench.change(coordination_url=running.url)
        found = bench.run()
    [taken], [shared] = found["locks.connection"], found["locks.coordinator"]
    assert (taken.status, shared.status) == (Status.OK, Status.OK)
    scheme = running.url.partition(":")[0]
    assert scheme in taken.seen and scheme in shared.seen


def test_files_are_locks_of_one_machine(bench: Bench, tmp_path: pathlib.Path) -> None:
    bench.change(coordination_url=f"file://{tmp_path}/locks")
    found = bench.run()
    assert "with file" in found["locks.connection"][0].seen
    assert "single cinder-volume host" in found["locks.coordinator"][0].seen


@pytest.mark.parametrize(
    "url",
    [
        "etcd3+http://cinder:s3cret@127.0.0.1:1",
        "zookeeper://cinder:s3cret@127.0.0.1:1",
        "nothing://cinder:s3cret@127.0.0.1:1",
        "redis://cinder:s3cret/x@127.0.0.1:6379",
    ],
)
def test_a_coordinator_that_cannot_be_used_is_named_without_its_password(
    bench: Bench, url: str
) -> None:
    bench.change(coordination_url=url)
    found = bench.only("locks.connection")
    assert found.status is Status.FAILED and isinstance(found.failure, errors.LockUnavailable)
    assert "[coordination] backend_url" in found.seen
    assert "s3cret" not in found.seen + found.to_do


def test_a_coordinator_is_looked_at_although_vcenter_is_out_of_reach(bench: Bench) -> None:
    bench.change(port=1)
    found = bench.run()
    assert found["locks.connection"][0].status is Status.OK
    assert found["locks.coordinator"][0].status is Status.NOT_TRIED


def test_a_coordinator_that_never_answers_is_given_up(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        bench.change(
            coordination_url=f"redis://:s3cret@127.0.0.1:{port}?socket_timeout=60",
            read_timeout_s=0.5,
        )
        found = bench.only("locks.connection")
    assert found.status is Status.FAILED and found.to_do
    assert isinstance(found.failure, errors.LockUnavailable), "the exit code is 4"
    assert found.seen == (
        f"no lock was granted within 0.5 s: 127.0.0.1:{port} accepts connections but does not "
        f"answer"
    )


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:s3cret@127.0.0.1:1", "127.0.0.1:1 cannot be reached from this host: "),
        ("redis://:s3cret@127.0.0.1", "the coordinator does not answer"),
        ("redis://:s3cret/@127.0.0.1:1", "the coordinator does not answer"),
        ("zookeeper://one:1,two:1", "the coordinator does not answer"),
    ],
)
def test_a_coordinator_that_never_answers_is_reported_with_what_is_known(
    bench: Bench, url: str, says: str
) -> None:
    @contextlib.contextmanager
    def stuck() -> Iterator[MemoryLocks]:
        over.recv(1)
        yield MemoryLocks()

    over, end = socket.socketpair()
    bench.change(coordination_url=url, locks=stuck, read_timeout_s=0.1)
    try:
        found = bench.only("locks.connection")
    finally:
        end.close()
        over.close()
    assert found.status is Status.FAILED
    assert found.seen.startswith(f"no lock was granted within 0.1 s: {says}")
    assert "s3cret" not in found.seen


def test_a_lock_that_another_preflight_holds_is_no_failure(
    bench: Bench, tmp_path: pathlib.Path
) -> None:
    url = f"file://{tmp_path}/locks"
    bench.change(coordination_url=url)
    with locks_of(url) as locks, locks.hold("preflight", 0):
        assert bench.only("locks.connection").status is Status.OK


def test_the_lock_is_released(bench: Bench, tmp_path: pathlib.Path) -> None:
    url = f"file://{tmp_path}/locks"
    bench.change(coordination_url=url)
    assert bench.only("locks.connection").status is Status.OK
    with locks_of(url) as locks, locks.hold("preflight", 0):
        pass


@pytest.mark.parametrize("scheme", ["file", "ipc"])
def test_locks_of_one_machine_are_distinguished_from_shared_ones(bench: Bench, scheme: str) -> None:
    locks = MemoryLocks()
    bench.change(coordination_url=f"{scheme}://x", locks=lambda: contextlib.nullcontext(locks))
    assert "single cinder-volume host" in bench.only("locks.coordinator").seen


def test_a_shared_coordinator_is_named_without_its_password(bench: Bench) -> None:
    locks = MemoryLocks()
    bench.change(
        coordination_url="etcd3+https://user:secret@etcd/",
        locks=lambda: contextlib.nullcontext(locks),
    )
    found = bench.only("locks.coordinator")
    assert found.status is Status.OK
    assert "etcd3+https" in found.seen and "secret" not in found.seen
