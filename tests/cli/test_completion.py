"""Completion in real shells: TAB is pressed in a terminal, and the command says what it got."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pty
import stat
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping

import pytest

from tests.cli.conftest import SCRIPT, TIMEOUT_S, Lab, Run
from tests.services.program import require
from tests.waiting import wait_until
from vmdk_cache.cli import known_names
from vmdk_cache.cli.completion import SHELLS

IMAGE = "0aaa1111-0000-4000-8000-000000000001"
#: Any user may give an image such a name.
NASTY = "rocky $(touch pwned) `touch pwned` 'x\" *"
#: For the terminal to show what it should, on a busy machine.
SHOWN_WITHIN_S = 60
PACKAGES = {"bash": "bash", "zsh": "zsh", "fish": "fish"}

#: Instead of the program: it still completes, but otherwise says what arguments it got.
_ECHO = (
    'vmdk-cache() { if [ "$1" = __complete ]; then command vmdk-cache "$@"; '
    "else printf '<%s>' \"$@\"; printf '<end>\\n'; fi; }\n"
)


@pytest.fixture
def environment(tmp_path: pathlib.Path) -> dict[str, str]:
    """Of a shell, with names that completion knows."""
    names = {IMAGE: "debian-13", "0bbb2222-0000-4000-8000-000000000002": NASTY}
    cache = tmp_path / "cache"
    known_names.remember(cache / "vmdk-cache" / "names.json", "vc", names, ["DS1"], time.time())
    return {
        "PATH": f"{SCRIPT.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "XDG_CACHE_HOME": str(cache),
        "TERM": "dumb",
        "LANG": "C.UTF-8",
    }


class Terminal:
    """A shell in a terminal. Each answer ends with ``<end>``."""

    def __init__(self, command: list[str], env: Mapping[str, str], cwd: pathlib.Path) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=env,
            cwd=cwd,
            start_new_session=True,
        )
        os.close(theirs)
        self._shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self._ours, 1 << 16):
                self._shown += chunk

    def type(self, keys: str, until: str) -> str:
        """What is shown, up to and including ``until``."""
        start = len(self._shown)
        os.write(self._ours, keys.encode())
        try:
            wait_until(lambda: until.encode() in self._shown[start:], timeout_s=SHOWN_WITHIN_S)
        except AssertionError:
            pytest.fail(f"{until!r} is not in {self._shown[start:].decode()!r}")
        return self._shown[start:].decode()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


@contextlib.contextmanager
def shell(
    name: str, env: Mapping[str, str], cwd: pathlib.Path, *, installed: bool = False
) -> Iterator[Terminal]:
    """:param installed: the script is where the shell looks for it, instead of being sourced"""
    path = require(name, PACKAGES[name])
    source = f"source <(command vmdk-cache complete {name})"
    options, begins = {
        "bash": (["--norc", "--noprofile", "-i"], [source]),
        "zsh": (["-f", "-i"], ["autoload -U compinit; compinit -D -u", source]),
    }[name]
    if installed:
        begins = ["vmdk-cache complete zsh > _vmdk-cache; fpath=($PWD $fpath)", begins[0]]
    terminal = Terminal([path, *options], env, cwd)
    try:
        terminal.type("\n".join([*begins, _ECHO, 'echo "rea"dy\n']), "ready")
        yield terminal
    finally:
        terminal.close()


@pytest.mark.parametrize("name", ["bash", "zsh"])
@pytest.mark.parametrize(
    ("typed", "got"),
    [
        ("capa\t", "<capacity>"),
        ("purge --dry\t", "<purge><--dry-run>"),
        ("show debian-\t", "<show><debian-13>"),
        ("show 0aaa\t", f"<show><{IMAGE}>"),
        ("list --datastore D\t", "<list><--datastore><DS1>"),
        ("list -f js\t", "<list><-f><json>"),
        ("--config-file cind\t", "<--config-file><cinder.conf>"),
        ("show ro\t", f"<show><{NASTY}>"),
    ],
    ids=lambda value: value.strip() if "\t" in value else "",
)
def test_a_shell_completes(
    environment: dict[str, str], tmp_path: pathlib.Path, name: str, typed: str, got: str
) -> None:
    (tmp_path / "cinder.conf").write_text("[DEFAULT]\n")
    with shell(name, environment, tmp_path) as terminal:
        # A function hides the program from nothing but the line that is entered.
        assert got in terminal.type(f"vmdk-cache {typed}\n", "<end>")
    assert not (tmp_path / "pwned").exists()


def test_zsh_finds_the_script_in_its_path(
    environment: dict[str, str], tmp_path: pathlib.Path
) -> None:
    with shell("zsh", environment, tmp_path, installed=True) as terminal:
        assert "<show><debian-13>" in terminal.type("vmdk-cache show debian-\t\n", "<end>")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("capa", ["capacity\tshow the space that templates use, and how close the limits are"]),
        ("purge --dry", ["--dry-run\tshow what would be deleted, delete nothing"]),
        ("show debian-", [f"debian-13\t{IMAGE}"]),
        ("show ro", [f"{NASTY}\t0bbb2222-0000-4000-8000-000000000002"]),
        ("list --datastore ", ["DS1"]),
        ("list -f js", ["json"]),
        ("--config-file cind", ["cinder.conf"]),
    ],
)
def test_fish_completes(
    environment: dict[str, str], tmp_path: pathlib.Path, line: str, offered: list[str]
) -> None:
    (tmp_path / "cinder.conf").write_text("[DEFAULT]\n")
    ask = f'vmdk-cache complete fish | source; complete -C "vmdk-cache {line}"'
    done = subprocess.run(
        [require("fish", PACKAGES["fish"]), "--no-config", "-c", ask],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=environment,
        cwd=tmp_path,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == offered
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", SHELLS)
def test_each_shell_accepts_its_script(run: Run, tmp_path: pathlib.Path, name: str) -> None:
    (tmp_path / "script").write_text(run("complete", name, bare=True).stdout)
    subprocess.run([require(name, PACKAGES[name]), "-n", "script"], check=True, cwd=tmp_path)


def test_a_command_in_a_terminal_notes_the_names_for_its_user_alone(
    lab: Lab, run: Run, tmp_path: pathlib.Path
) -> None:
    made = lab.warm()
    file = tmp_path / "cache" / "vmdk-cache" / "names.json"
    environment = run.environment(XDG_CACHE_HOME=str(tmp_path / "cache"))
    options = {"stdout": -1, "text": True, "env": environment, "timeout": TIMEOUT_S}
    subprocess.run(run.command("list"), stderr=-1, check=True, **options)  # type: ignore[call-overload]
    assert not file.exists()
    ours, theirs = pty.openpty()
    try:
        subprocess.run(run.command("list"), stderr=theirs, check=True, **options)  # type: ignore[call-overload]
    finally:
        os.close(theirs)
        os.close(ours)
    [cache] = json.loads(file.read_text())["caches"].values()
    assert [*cache["images"]] == [made.image_id]
    assert cache["datastores"] == ["DC0_DS0", "DC0_DS1"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
