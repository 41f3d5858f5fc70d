"""An interrupted demo ends cleanly: no process and no file of it survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.__main__ import main
from tests.e2e.stack.service_process import REPOSITORY


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path: Path, how: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("Upload"):  # everything is running by now
            break
    process.send_signal(how)
    said += process.stdout.readlines()
    assert process.wait(timeout=60) == 130, "".join(said)
    assert "Interrupted" in said[-1]
    assert [path.name for path in tmp_path.iterdir()] == []
    assert processes_naming(str(tmp_path)) == []


def test_an_interrupt_during_the_imports_has_an_exit_status_of_its_own(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "demo"],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    said = []
    for line in process.stderr:  # one line for each imported module
        said.append(line)
        if line.endswith(" argparse\n"):  # the first module that the demo needs
            break
    process.send_signal(signal.SIGINT)
    said += process.stderr.readlines()
    assert process.wait(timeout=60) == 130, "".join(said)
    assert process.stdout.readlines()[-1].startswith("Interrupted")
    assert [path.name for path in tmp_path.iterdir()] == []


@pytest.fixture
def handlers() -> Iterator[None]:
    """Restores pytest's signal handlers after the test."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupted_in_a_lock(arguments: list[str]) -> bool:
    """Ends like a ``with`` of a threading.Condition that was interrupted at the wrong moment."""
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        raise RuntimeError("release unlocked lock")


def swallowed(arguments: list[str]) -> bool:
    """Ends like an interrupt that arrives while the garbage collector runs a finalizer."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        pass
    return True


def impatient(arguments: list[str]) -> bool:
    try:
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.raise_signal(signal.SIGINT)  # would end the clean-up here
        signal.raise_signal(signal.SIGTERM)
        cleaned_up.append(True)
    return True


cleaned_up: list[bool] = []


@pytest.mark.parametrize("story", [interrupted_in_a_lock, swallowed, impatient])
@pytest.mark.usefixtures("handlers")
def test_an_interrupt_is_recognized_wherever_it_arrives(
    story: Callable[[list[str]], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    cleaned_up.clear()
    assert main([], story) == 130
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Interrupted")
    assert cleaned_up == [True] * (story is impatient)


@pytest.mark.usefixtures("handlers")
def test_a_defect_of_the_demo_does_not_look_like_an_interrupt() -> None:
    def defect(arguments: list[str]) -> bool:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError, match="a defect"):
        main([], defect)
    assert main([], lambda arguments: False) == 1
    assert main([], lambda arguments: True) == 0


def processes_naming(text: str) -> list[str]:
    """Command lines that contain ``text``; those of the stack contain their directory."""
    found = []
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = cmdline.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if text in arguments:
            found.append(arguments)
    return found
