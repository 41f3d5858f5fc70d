"""A manual start of the fake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.vcenter.__main__ import main, model_of, parser, password_of, size_bytes

ROOT = Path(__file__).parents[3]


@pytest.fixture
def program() -> Iterator[Any]:
    environment = {**os.environ, "FAKE_VCENTER_PASSWORD": "from the environment"}
    running = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.vcenter", "--port", "0", "--datastore-size", "5G"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield running
    running.kill()
    running.communicate()


def test_program_prints_its_url_and_stops_on_ctrl_c(program: Any) -> None:
    url, ca_file = (program.stdout.readline().split()[-1] for _ in range(2))
    assert url.startswith("https://127.0.0.1:") and url.endswith("/sdk")
    assert Path(ca_file).exists()
    assert "administrator@vsphere.local" in program.stdout.readline()
    assert "Ctrl-C" in program.stdout.readline()
    program.send_signal(signal.SIGINT)
    output, errors = program.communicate(timeout=60)
    assert program.returncode == 0
    assert "served 0 requests" in output
    assert errors == ""
    assert not Path(ca_file).exists()


@pytest.mark.parametrize(
    ("text", "size"), [("5", 5), ("500G", 500 << 30), ("1T", 1 << 40), ("2TiB", 2 << 40)]
)
def test_size_is_parsed(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--datastore-size", "huge"], "not a size: 'huge'"),
        (["--datastore-size", "0"], "--datastore-size: no datastore has this size: '0'"),
        (["--datastore-size", "9999999T"], "no datastore has this size: '9999999T'"),
        (["--datastore-size", "1G,2G,3G"], "--datastore-size: 3 sizes for 2 datastores"),
        (["--hosts", "0"], "--hosts: must be at least 1, not 0"),
        (["--hosts", "two"], "--hosts: invalid whole number value: 'two'"),
        (["--pods", "-1"], "--pods: must be at least 0, not -1"),
        (["--port", "65536"], "--port: must be at most 65535"),
        (["--profile", "gold"], "not NAME=DATASTORE"),
        (["--profile", "gold=DC0_DS1,DS7"], "gold names DS7; the datastores are DC0_DS0, DC0_DS1"),
        (["--user", " "], "--user: a log-in needs a name"),
        (["--session-timeout", "0"], "--session-timeout: not a number of seconds above 0"),
        (["--session-timeout", "-5"], "--session-timeout: not a number of seconds above 0"),
        (["--session-timeout", "nan"], "--session-timeout: not a number of seconds above 0"),
        (["--session-timeout", "soon"], "--session-timeout: not a number: 'soon'"),
        (["--time-scale", "-1"], "--time-scale: not a factor from 0"),
        (["--time-scale", "nan"], "--time-scale: not a factor from 0"),
        (["--time-scale", "inf"], "--time-scale: not a factor from 0"),
    ],
)
def test_bad_option_starts_no_server(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--port", "0", *arguments])
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


def test_sizes_are_given_to_their_datastores() -> None:
    options = parser().parse_args(["--datastores", "3", "--datastore-size", "1G,2G"])
    model = model_of(options)
    assert [model.size_of(position) >> 30 for position in range(3)] == [1, 2, 2]
    assert "the last one repeats" in " ".join(parser().format_help().split())


def test_password_comes_from_the_file_the_environment_or_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAKE_VCENTER_PASSWORD", raising=False)
    assert password_of(parser().parse_args([])) == "vmware"
    monkeypatch.setenv("FAKE_VCENTER_PASSWORD", "environment")
    assert password_of(parser().parse_args([])) == "environment"
    secret = tmp_path / "password"
    secret.write_text("file\n")
    options = parser().parse_args(["--password-file", str(secret)])
    assert password_of(options) == "file"
    secret.write_text("")
    with pytest.raises(SystemExit, match="empty"):
        password_of(options)
    secret.write_bytes(b"\xff\xfe")
    with pytest.raises(SystemExit, match="cannot read the password file"):
        password_of(options)


def test_taken_port_ends_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert "cannot listen on port" in capsys.readouterr().err
