"""``vmdk-cache warm``: a real Glance, the fake vCenter, and the script in its own process."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import pty
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.cli.conftest import MIB, TIMEOUT_S, Lab, Run
from tests.e2e.stack.glance import Glance
from tests.fakes.images import FakeImage, as_stream_optimized, filesystem_disk, noise
from tests.fakes.web_server import Handler, web_server
from tests.waiting import wait_until
from vmdk_cache.ledger import Ledger
from vmdk_cache.vmdk.read_ahead import READ_AHEAD_BYTES

pytestmark = pytest.mark.usefixtures("knows_glance")

ABORTING = "aborting, cleaning up"


def test_an_image_is_imported_once_and_the_second_time_its_age_counts_again(
    lab: Lab, run: Run, glance: Glance, image_id: str
) -> None:
    before = glance.downloads(image_id)
    done = run("warm", "debian-13", env={"COLUMNS": "80"})
    assert f"| {image_id[:8]} | debian-13 | DC0_DS" in done.stdout and "imported" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "debian-13 on vmware1: imported in " in done.stderr
    first = run.json("list")[0]
    lab.vcenter.clock.advance(1000)
    [row] = run.json("warm", image_id)
    assert (row["Status"], row["Read"], row["Detail"]) == ("already there", 0, None)
    assert row["Datastore"] == first["Datastore"]
    [again] = run.json("list")
    assert (again["Created"], again["Name"]) == (first["Created"], first["Name"])
    assert again["Expires"] > first["Expires"]
    assert glance.downloads(image_id) == before + 1


def test_each_datastore_gets_its_copy_and_glance_is_read_once(
    lab: Lab, run: Run, glance: Glance, disk_image: FakeImage, image_id: str
) -> None:
    before = glance.downloads(image_id)
    wanted = ("--datastore", "DC0_DS1", "--datastore", "DC0_DS0")
    rows = run.json("-q", "warm", "debian-13", *wanted)
    assert [(r["Datastore"], r["Status"]) for r in rows] == [
        ("DC0_DS1", "imported"),
        ("DC0_DS0", "replicated"),
    ]
    assert [row["Read"] for row in rows] == [len(disk_image.file_bytes), 0]
    assert glance.downloads(image_id) == before + 1
    assert len(lab.templates()) == 2
    path = lab.configuration().backends[0].ledger_path
    assert path is not None
    ledger = Ledger.open(path)
    try:
        kinds = {count.kind: count.count for count in ledger.counts()}
    finally:
        ledger.close()
    assert kinds == {"import": 1, "replica": 1}


def test_progress_is_plain_lines_where_there_is_no_terminal_and_none_with_q(
    run: Run, image_id: str
) -> None:
    said = run("warm", image_id).stderr.splitlines()
    assert any("100 %" in line for line in said)
    assert all(line.startswith("debian-13 on vmware1: ") for line in said)
    assert run("-q", "warm", image_id).stderr == ""


def test_a_terminal_shows_a_bar_and_the_table_stays_clean(
    lab: Lab, run: Run, image_id: str, tmp_path: pathlib.Path
) -> None:
    ours, theirs = pty.openpty()
    shown = b""

    def read() -> None:
        nonlocal shown
        with contextlib.suppress(OSError):  # a terminal's way to report that the writer has closed
            while chunk := os.read(ours, 1 << 16):
                shown += chunk

    reader = threading.Thread(target=read)
    reader.start()
    try:
        command = run.command("warm", image_id, "-f", "json")
        env = run.environment(TERM="xterm", COLUMNS="120")
        done = subprocess.run(
            command, stdout=-1, stderr=theirs, text=True, env=env, timeout=TIMEOUT_S, cwd=tmp_path
        )
    finally:
        os.close(theirs)
        reader.join()
        os.close(ours)
    [row] = json.loads(done.stdout)
    assert row["Status"] == "imported"
    assert all(part in shown for part in (b"MiB", b"\x1b[", b"imported in"))


# -- errors are reported before the first byte


def test_no_image_is_imported_unless_all_can_be(
    lab: Lab, run: Run, glance: Glance, image_id: str
) -> None:
    before = glance.downloads(image_id)
    unknown = "11111111-1111-4111-8111-111111111111"
    done = run("warm", "debian-13", unknown, "no-such-name", code=1)
    assert unknown in done.stderr and "no-such-name" in done.stderr
    assert "nothing was imported" in done.stderr
    assert (lab.templates(), glance.downloads(image_id)) == ([], before)


def test_a_prefix_selects_the_image_and_a_misspelt_name_is_answered_with_the_nearest(
    lab: Lab, run: Run, glance: Glance, disk_image: FakeImage
) -> None:
    image_id = glance.upload_image("trixie-golden", disk_image)
    assert [row["Image"] for row in run.json("warm", "trixie-g")] == [image_id]
    told = run("warm", "trixie-goldn", code=1).stderr.splitlines()
    assert told == [
        "vmdk-cache: no image 'trixie-goldn' in Glance; did you mean 'trixie-golden' "
        f"({image_id})?",
        "vmdk-cache: nothing was imported",
    ]


def test_a_name_that_two_images_have_is_answered_with_their_ids(
    lab: Lab, run: Run, glance: Glance, disk_image: FakeImage
) -> None:
    ids = [glance.upload_image("twins", disk_image) for _ in range(2)]
    said = run("warm", "twins", code=1).stderr
    assert all(each in said for each in ids)
    assert lab.templates() == []


def test_an_image_of_another_format_prevents_all_imports(
    lab: Lab, run: Run, glance: Glance, image_id: str
) -> None:
    raw = glance.upload("raw-image", b"\0" * MIB, disk_format="raw")
    done = run("warm", image_id, raw, "-f", "json", code=1)
    assert "nothing was imported" in done.stderr
    rows = json.loads(done.stdout)
    assert [row["Status"] for row in rows] == ["not begun", "refused"]
    assert "qemu-img" in rows[1]["Detail"]
    assert lab.templates() == []


def test_an_image_beyond_the_limit_is_refused_with_the_option(
    lab: Lab, run: Run, glance: Glance, image_id: str
) -> None:
    lab.configure(image_cache_max_total_gb=1)
    big = as_stream_optimized(filesystem_disk(16 * MIB), capacity_bytes=2 << 30)
    [row] = run.json("warm", glance.upload_image("big", big), code=1)
    assert row["Status"] == "refused"
    assert "image_cache_max_total_gb" in row["Detail"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--datastore", "DC0_DS7"], "DC0_DS0, DC0_DS1"),
        (["--parallel", "0"], "--parallel"),
        (["--parallel", "many"], "--parallel"),
        (["second-image", "--from-file", "disk.vmdk"], "--from-file"),
        (["--datastore"], "--datastore"),
    ],
)
def test_wrong_usage_names_the_argument(
    lab: Lab, run: Run, image_id: str, arguments: list[str], says: str
) -> None:
    assert says in run("warm", "debian-13", *arguments, code=2).stderr
    assert lab.templates() == []


def test_a_backend_without_the_cache_is_refused_only_if_it_is_asked_for(
    lab: Lab, run: Run, image_id: str
) -> None:
    lab.sections["vmware2"] = {**lab.backend(), "enable_image_cache": "false"}
    lab.configure("DEFAULT", enabled_backends="vmware1,vmware2")
    [row] = run.json("warm", image_id)
    assert (row["Backend"], row["Status"]) == ("vmware1", "imported")
    both = run.json("warm", image_id, "--backend", "vmware1", "--backend", "vmware2", code=1)
    assert [row["Status"] for row in both] == ["not begun", "refused"]
    assert "enable_image_cache" in both[1]["Detail"]


def test_room_is_not_taken_from_an_image_that_the_services_keep_warm(
    lab: Lab, run: Run, glance: Glance, disk_image: FakeImage, image_id: str
) -> None:
    lab.configure(image_cache_max_count=1, image_cache_auto_warm="true")
    marked = glance.upload_image("kept", disk_image, image_cache_warm="true")
    run("warm", marked)
    try:
        [row] = run.json("warm", image_id, code=1)
        assert (row["Status"], row["Read"]) == ("refused", 0)
        assert "image_cache_max_count" in row["Detail"]
    finally:
        glance.delete(marked)


def test_a_purge_that_asks_glance_removes_warm_images_last(
    lab: Lab, run: Run, glance: Glance, disk_image: FakeImage, image_id: str
) -> None:
    marked = glance.upload_image("kept", disk_image, image_cache_warm="true")
    run("warm", marked)
    lab.vcenter.clock.advance(100)
    run("warm", image_id)
    lab.configure(image_cache_max_count=1, image_cache_auto_warm="true")
    try:
        [row] = run.json("purge", "--ask-glance", "--dry-run")
        assert row["Image"] == image_id
        lab.configure("DEFAULT", glance_api_servers="http://127.0.0.1:9")
        assert "glance_api_servers" in run("purge", "--ask-glance", "--dry-run", code=4).stderr
    finally:
        glance.delete(marked)


# -- from a file


def test_a_file_spares_the_download(
    lab: Lab, run: Run, glance: Glance, disk_image: FakeImage, image_id: str, tmp_path: pathlib.Path
) -> None:
    before = glance.downloads(image_id)
    (tmp_path / "disk.vmdk").write_bytes(disk_image.file_bytes)
    [row] = run.json("warm", "debian-13", "--from-file", "disk.vmdk")
    assert (row["Status"], row["Read"]) == ("imported", len(disk_image.file_bytes))
    assert glance.downloads(image_id) == before
    with lab.cache() as cache:
        [entry] = cache.store.entries()
        assert entry.size_bytes == 16 * MIB


def test_a_file_with_other_bytes_leaves_nothing(
    lab: Lab, run: Run, disk_image: FakeImage, image_id: str, tmp_path: pathlib.Path
) -> None:
    other = bytearray(disk_image.file_bytes)
    other[-1] ^= 1
    (tmp_path / "disk.vmdk").write_bytes(other)
    [row] = run.json("warm", "debian-13", "--from-file", "disk.vmdk", code=1)
    assert row["Status"] == "failed"
    assert "sha512" in row["Detail"]
    assert (lab.vcenter.vms(), lab.vcenter.leases()) == ([], [])
    (tmp_path / "disk.vmdk").write_bytes(other[:-1])
    assert "a different file" in run("warm", "debian-13", "--from-file", "disk.vmdk", code=1).stderr
    gone = run("warm", "debian-13", "--from-file", "nowhere.vmdk", code=3).stderr
    assert "nowhere.vmdk" in gone


# -- trouble


def test_a_download_that_breaks_off_fails_one_image_and_no_other(
    lab: Lab, run: Run, glance: Glance, disk_image: FakeImage, image_id: str
) -> None:
    broken = glance.upload_image("broken", disk_image)
    with glance.broken(broken, after_bytes=1000):
        rows = run.json("warm", broken, image_id, "--parallel", "1", code=4)
    assert [row["Status"] for row in rows] == ["failed", "imported"]
    assert "ended the data" in rows[0]["Detail"]
    assert len(lab.vcenter.vms()) == 1


def test_glance_away_is_one_line_with_the_option(lab: Lab, run: Run, image_id: str) -> None:
    lab.configure("DEFAULT", glance_api_servers="http://127.0.0.1:9")
    [said] = run("warm", image_id, code=4).stderr.splitlines()
    assert "glance_api_servers" in said


def test_the_next_server_is_asked_when_one_is_away(
    lab: Lab, run: Run, glance: Glance, image_id: str
) -> None:
    lab.configure("DEFAULT", glance_api_servers=f"http://127.0.0.1:9,{glance.url}/v2")
    assert run.json("warm", image_id)[0]["Status"] == "imported"


@contextlib.contextmanager
def refusing_keystone() -> Iterator[str]:
    """A server that supports version 3 of the Identity API and has no users."""

    class Answers(Handler):
        def do_GET(self) -> None:
            self._answer(200, f'{{"version": {{"id": "v3.14", "status": "stable", "links": '
                              f'[{{"rel": "self", "href": "{url}/"}}]}}}}')  # fmt: skip

        def do_POST(self) -> None:
            self._answer(401, '{"error": {"code": 401, "title": "Unauthorized", "message": "no"}}')

        def _answer(self, status: int, body: str) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

    with web_server(Answers) as root:
        url = f"{root}/v3"
        yield url


def test_a_refused_user_is_one_line_and_his_password_is_in_none(lab: Lab, run: Run) -> None:
    with refusing_keystone() as url:
        user = {
            "OS_AUTH_URL": url,
            "OS_USERNAME": "operator",
            "OS_PASSWORD": "not-the-password-3141",
            "OS_PROJECT_NAME": "admin",
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PROJECT_DOMAIN_NAME": "Default",
        }
        done = run("-vv", "warm", "debian-13", code=4, env=user)
        [said] = [line for line in done.stderr.splitlines() if line.startswith("vmdk-cache: ")]
        assert "401" in said and "OS_" in said
        assert "not-the-password-3141" not in done.stdout + done.stderr
        section = {"auth_type": "password", "auth_url": url, "username": "cinder", "password": "p"}
        lab.configure("service_user", **section)
        [said] = run("warm", "debian-13", code=4).stderr.splitlines()
        assert "[service_user]" in said


def test_missing_credentials_say_what_to_set(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", auth_strategy="keystone")
    [said] = run("warm", "debian-13", code=3).stderr.splitlines()
    assert "OS_AUTH_URL" in said and "[service_user]" in said
    [said] = run("warm", "debian-13", code=3, env={"OS_AUTH_TYPE": "password"}).stderr.splitlines()
    assert "OS_AUTH_URL" in said
    [said] = run("warm", "debian-13", code=3, env={"OS_AUTH_TYPE": "magic"}).stderr.splitlines()
    assert "magic" in said


@pytest.fixture(scope="module")
def large_image_id(glance: Glance) -> str:
    """Larger than the read-ahead buffer; created and uploaded once."""
    return glance.upload_image("large", as_stream_optimized(noise(4 * READ_AHEAD_BYTES)))


@pytest.mark.parametrize(
    "numbers",
    [
        [signal.SIGINT],
        [signal.SIGTERM],
        [signal.SIGHUP],
        [signal.SIGHUP, signal.SIGTERM],
        [signal.SIGINT, signal.SIGHUP],
    ],
    ids=[
        "SIGINT",
        "SIGTERM",
        "SIGHUP",
        "both of a closing terminal",
        "Ctrl-C, then the terminal is closed",
    ],
)
def test_a_signal_ends_imports_and_leaves_nothing(
    lab: Lab, run: Run, large_image_id: str, tmp_path: pathlib.Path, numbers: list[signal.Signals]
) -> None:
    """vCenter does not answer the upload before the command has begun to end."""
    go_on = threading.Event()
    lab.vcenter.fault_rules.add("nfc:POST", action=lambda: go_on.wait(TIMEOUT_S))
    command, stderr = run.command("warm", large_image_id, "-f", "json"), tmp_path / "stderr"
    with (
        stderr.open("w") as file,
        subprocess.Popen(
            command,
            stdout=-1,
            stderr=file,
            text=True,
            env=run.environment(PYTHONFAULTHANDLER="1"),
            cwd=tmp_path,
        ) as process,
    ):

        def ended_or(condition: Callable[[], object]) -> bool:
            return process.poll() is not None or bool(condition())

        try:
            wait_until(lambda: ended_or(lab.vcenter.leases), timeout_s=TIMEOUT_S)
            for number in numbers:
                process.send_signal(number)
                wait_until(lambda: ended_or(lambda: ABORTING in stderr.read_text()))
            go_on.set()
            out, _ = process.communicate(timeout=TIMEOUT_S)
        except (AssertionError, subprocess.TimeoutExpired) as failure:
            # Otherwise the test waits for the process, and its report does not show the hang.
            process.send_signal(signal.SIGABRT)
            go_on.set()
            out, _ = process.communicate()
            raise AssertionError(f"{failure}\n{out}\n{stderr.read_text()}") from failure
    err = stderr.read_text()
    run.check(out + err)
    assert process.returncode == 130, (out, err)
    [row] = json.loads(out)
    assert (row["Status"], row["Read"] > 0, row["Took"] > 0) == ("broken off", True, True)
    assert ABORTING in err
    assert "vmdk-cache: interrupted: large on vmware1 broken off after " in err.splitlines()[-1]
    assert (lab.vcenter.vms(), lab.vcenter.leases()) == ([], [])


def test_an_adapter_that_vsphere_does_not_have_is_refused_before_a_byte_is_read(
    lab: Lab, run: Run, glance: Glance, disk_image: FakeImage
) -> None:
    image_id = glance.upload_image("odd-adapter", disk_image, vmware_adaptertype="floppy")
    before = glance.downloads(image_id)
    done = run("warm", image_id, code=None)
    assert done.returncode != 0
    assert "vmware_adaptertype 'floppy'" in done.stderr
    assert glance.downloads(image_id) == before
    assert lab.templates() == []
