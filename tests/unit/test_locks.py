from __future__ import annotations

import multiprocessing
import pathlib
import re
import socket
import threading
from multiprocessing.synchronize import Event

import pytest
import tooz
from tooz.drivers.file import FileDriver

from vmdk_cache import errors
from vmdk_cache.locks import ToozLocks, coordinator
from vmdk_cache.patience import LimitedPatience


def hold_in_another_process(url: str, held: Event, release: Event) -> None:
    with coordinator(url) as get_lock, ToozLocks(get_lock, "vc/b1").hold("image/1", 30):
        held.set()
        release.wait(60)


def test_a_lock_binds_other_processes_and_is_free_when_they_die(tmp_path: pathlib.Path) -> None:
    url = f"file://{tmp_path}"
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    process = context.Process(target=hold_in_another_process, args=(url, held, release))
    process.start()
    try:
        assert held.wait(60)
        with coordinator(url) as get_lock:
            locks = ToozLocks(get_lock, "vc/b1")
            with pytest.raises(errors.LockTimeout, match="image/1"), locks.hold("image/1", 0):
                pass
            with pytest.raises(errors.LockTimeout), locks.hold("image/1", 0.05):
                pass
            with ToozLocks(get_lock, "vc/b2").hold("image/1", 0):
                pass  # another backend's lock is another lock
            process.kill()
            process.join()
            with locks.hold("image/1", 30):
                pass
    finally:
        process.kill()


def test_a_lock_is_given_back_after_an_error(tmp_path: pathlib.Path) -> None:
    with coordinator(f"file://{tmp_path}") as get_lock:
        locks = ToozLocks(get_lock, "vc/b1")
        with pytest.raises(KeyError), locks.hold("x", 1):
            raise KeyError
        with locks.hold("x", 0):
            pass


@pytest.mark.parametrize("name", ["../../etc/passwd", "a" * 500, "ümlaut", "a b\n"])
def test_no_name_leaves_the_lock_directory(tmp_path: pathlib.Path, name: str) -> None:
    inside = tmp_path / "locks"
    with coordinator(f"file://{inside}") as get_lock, ToozLocks(get_lock, "s").hold(name, 1):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"locks"}


def test_a_coordinator_that_fails_is_an_error_of_ours() -> None:
    def get_lock(name: str) -> None:
        raise ConnectionError("etcd is down")

    with (
        pytest.raises(errors.LockUnavailable, match=r"backend_url.*etcd is down"),
        ToozLocks(get_lock, "s").hold("x", 1),
    ):
        pass


def test_a_coordinator_that_cannot_be_left_undoes_no_work(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: FileDriver) -> None:
        raise tooz.ToozError("connection reset by user:password@host")

    monkeypatch.setattr(FileDriver, "stop", fail)
    with coordinator(f"file://{tmp_path}") as get_lock, ToozLocks(get_lock, "s").hold("n", 1):
        pass
    (line,) = (record.getMessage() for record in caplog.records)
    assert "ToozError" in line and "password" not in line


def locks(url: str, scope: str = "vc/b1") -> ToozLocks:
    return ToozLocks(lambda name: None, scope, lambda: url)


def test_processes_that_share_locks_have_the_same_domain(tmp_path: pathlib.Path) -> None:
    file = f"file://{tmp_path}"
    (tmp_path / "link").symlink_to(tmp_path)
    same = [
        (file, f"file://{tmp_path}/link"),  # another path to the same directory
        ("etcd3+http://user:secret@host:2379", "etcd3+http://host:2379"),
        ("redis://host:6379?timeout=5", "redis://host:6379"),
    ]
    for one, other in same:
        assert locks(one).domain == locks(other).domain != ""


def test_processes_that_share_no_locks_have_other_domains(tmp_path: pathlib.Path) -> None:
    (tmp_path / "other").mkdir()
    urls = [
        f"file://{tmp_path}",
        f"file://{tmp_path}/other",
        "etcd3+http://host:2379",
        "etcd3+http://host2:2379",
        "redis://host:2379",
        "redis://host:2379/1",
    ]
    domains = {locks(url).domain for url in urls} | {locks(urls[2], "vc/b2").domain}
    assert len(domains) == len(urls) + 1


def test_a_domain_holds_no_password(tmp_path: pathlib.Path) -> None:
    assert re.fullmatch("[0-9a-f]{16}", locks("redis://:secret@host:6379").domain)


@pytest.mark.parametrize("url", ["", "file:///no/such/directory", "zake:", "nonsense"])
def test_a_url_without_a_coordinator_has_no_domain(url: str) -> None:
    assert locks(url).domain == ""
    assert ToozLocks(lambda name: None, "vc/b1").domain == ""


@pytest.mark.parametrize(
    "url",
    [
        "redis://cinder:ss-word/x@127.0.0.1:6379",
        "redis://cinder:ss-word?x@127.0.0.1:6379",
        "redis://cinder:ss-word#x@127.0.0.1:6379",
        "redis://:ss-word@127.0.0.1:port",
        "etcd3+http://:ss-word@127.0.0.1:1",
        "etcd3+http://:ss-word/x@127.0.0.1:1",
        "redis://127.0.0.1:1?password=ss-word&socket_timeout=x",
        "ss-word://127.0.0.1",
    ],
)
def test_an_unusable_url_is_reported_without_its_password(url: str) -> None:
    with pytest.raises(errors.LockUnavailable) as raised, coordinator(url):
        pass
    text = str(raised.value)
    assert "[coordination] backend_url: " in text
    assert ("ss-word" in text) == url.startswith("ss-word"), text


def test_a_coordinator_out_of_reach_is_named_with_the_reason() -> None:
    """etcd's client says so only in the cause of its error."""
    with (
        pytest.raises(errors.LockUnavailable, match=r"127\.0\.0\.1:1\b.*refused"),
        coordinator("etcd3+http://cinder:secret@127.0.0.1:1"),
    ):
        pass


def test_the_look_at_a_silent_network_does_not_double_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Packets to the coordinator's host are dropped: neither tooz nor a connection ends."""
    ended, waited_s = threading.Event(), []

    def get_coordinator(url: str, member: bytes) -> None:
        ended.wait(60)

    def create_connection(address: tuple[str, int], timeout_s: float) -> None:
        waited_s.append(timeout_s)
        raise TimeoutError

    monkeypatch.setattr("tooz.coordination.get_coordinator", get_coordinator)
    monkeypatch.setattr(socket, "create_connection", create_connection)
    patience = LimitedPatience("the coordinator", 1.5, lambda text: None, ())
    try:
        with (
            pytest.raises(errors.LockUnavailable, match=r"did not answer within 1\.5 s"),
            coordinator("redis://coordinator.example.com:6379", patience=patience),
        ):
            pass
    finally:
        ended.set()
    (look_s,) = waited_s
    assert look_s <= 0.5, "after the first second, this is what is left"
