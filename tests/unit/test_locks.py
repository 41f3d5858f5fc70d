from __future__ import annotations

import multiprocessing
import pathlib
from multiprocessing.synchronize import Event

import pytest
import tooz
from tooz.drivers.file import FileDriver

from vmdk_cache import errors
from vmdk_cache.locks import ToozLocks, coordinator


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
