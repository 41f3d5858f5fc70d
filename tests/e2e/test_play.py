"""``make play``: a stack that people use from another terminal, and that leaves nothing behind."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import playground
from demo.play import Ended
from tests.e2e.stack.service_process import REPOSITORY
from tests.e2e.test_demo import processes_naming

ALL_REQUIRED = os.environ.get("VMDK_CACHE_REQUIRE_ALL") == "1"


def start(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demo.play", "--directory", str(directory)],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(directory.parent)},
        stdout=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What the process says until a line contains the text."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(f"it ended without saying {text!r}:\n{said}")


def enter(directory: Path, command: str) -> str:
    """What a command prints in a second terminal, where another cloud's variables are set."""
    done = subprocess.run(
        ["bash", "-c", f"source {directory / playground.RC} && {command}"],
        env={**os.environ, "OS_AUTH_TYPE": "password", "OS_USERNAME": "somebody"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(
    not importlib.util.find_spec("openstackclient") and not ALL_REQUIRED,
    reason="openstack is not installed: run `make .venv/.ready-play`",
)
def test_a_person_uses_it_until_ctrl_c(tmp_path: Path) -> None:
    directory = tmp_path / "play"
    process = start(directory)
    try:
        read_until(process, "Ctrl-C ends it")
        assert enter(directory, "openstack image list -f value -c Name").split() == sorted(
            playground.IMAGES
        )
        pools = enter(directory, "openstack volume backend pool list -f value")
        assert f"@{playground.CACHED}#" in pools
        assert enter(directory, "vmdk-cache list -f value") == ""
        other = start(directory)
        assert "in use" in read_until(other, str(directory))
        assert other.wait(timeout=60) == 1
        assert enter(directory, "openstack volume list -f value") == ""  # it still runs
        process.send_signal(signal.SIGINT)
        assert "Nothing is left." in read_until(process, "Nothing")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []
    assert processes_naming(str(tmp_path)) == []


def test_an_interrupted_start_leaves_nothing_behind(tmp_path: Path) -> None:
    directory = tmp_path / "play"
    process = start(directory)
    try:
        while not (directory / "stack" / "cinder" / "cinder.log").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert "stopped" in read_until(process, "Interrupted")
        assert process.wait(timeout=60) == 130
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == []
    assert processes_naming(str(tmp_path)) == []


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restores pytest's signal handlers after the test."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("handlers")
def test_a_signal_ends_the_wait_and_disturbs_nothing_when_it_comes_again(
    how: signal.Signals,
) -> None:
    signal.signal(how, signal.SIG_DFL)
    ended = Ended()
    signal.raise_signal(how)
    signal.raise_signal(how)
    ended.wait()
    assert ended.arrived


@pytest.mark.usefixtures("handlers")
def test_under_nohup_a_closed_terminal_does_not_end_it() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ended = Ended()
    signal.raise_signal(signal.SIGHUP)
    assert not ended.arrived


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / playground.RC).touch()
    (tmp_path / "stack").mkdir()
    with playground.own(tmp_path):
        assert not (tmp_path / "stack").exists()
    assert not tmp_path.exists()


def test_a_directory_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(playground.Unusable, match="has other files"), playground.own(tmp_path):
        pass
    assert (tmp_path / "thesis.txt").exists()


def test_a_directory_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    below_a_file = tmp_path / "file" / "play"
    with (
        pytest.raises(playground.Unusable, match=f"cannot create {below_a_file}: "),
        playground.own(below_a_file),
    ):
        pass
