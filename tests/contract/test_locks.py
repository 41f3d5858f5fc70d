"""Locks of each coordinator that Cinder supports: what the cache needs from them."""

from __future__ import annotations

import contextlib
import multiprocessing
import pathlib
from collections.abc import Iterator
from multiprocessing.synchronize import Event

import pytest

from tests.services.etcd import Etcd
from tests.services.redis import Redis
from vmdk_cache import errors
from vmdk_cache.locks import ToozLocks, coordinator

pytestmark = pytest.mark.not_on_a_given_vcenter("asks no vCenter")


@pytest.fixture(scope="module", params=["file", "etcd", "redis"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        path: pathlib.Path = tmp_path_factory.mktemp("locks")
        if request.param == "file":
            yield f"file://{path}"
        else:
            server = stack.enter_context({"etcd": Etcd, "redis": Redis}[request.param]())
            yield server.url


def hold_until_killed(url: str, held: Event) -> None:
    with coordinator(url) as get_lock, ToozLocks(get_lock, "vc/b1").hold("image-1", 30):
        held.set()
        held_for_good = multiprocessing.get_context("spawn").Event()
        held_for_good.wait(120)


def test_a_held_lock_is_distinguished_from_a_failing_coordinator(url: str) -> None:
    with coordinator(url) as ours, coordinator(url) as theirs:
        waiting = ToozLocks(ours, "vc/b1")
        with ToozLocks(theirs, "vc/b1").hold("image-1", 1):
            for timeout_s in (0, 0.3):
                with pytest.raises(errors.LockTimeout), waiting.hold("image-1", timeout_s):
                    pass
            with waiting.hold("image-2", 0), ToozLocks(ours, "vc/b2").hold("image-1", 0):
                pass  # other names, and other backends' names, are other locks
        with waiting.hold("image-1", 0):
            pass


def test_a_lock_stays_while_its_holder_lives_and_goes_when_it_is_killed(url: str) -> None:
    """Even beyond the coordinator's expiry: the heartbeat renews the lock."""
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold_until_killed, args=(url, held))
    process.start()
    try:
        assert held.wait(60)
        with coordinator(url) as get_lock:
            locks = ToozLocks(get_lock, "vc/b1")
            with pytest.raises(errors.LockTimeout), locks.hold("image-1", 5):
                pass
            process.kill()
            process.join()
            with locks.hold("image-1", 30):
                pass
    finally:
        process.kill()
