"""``vmdk-cache verify``: a real Glance, the fake vCenter, and the script in its own process."""

from __future__ import annotations

import contextlib
import json
import pathlib
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pyVmomi import vim

from tests.cli.conftest import MIB, TIMEOUT_S, Lab, Run
from tests.e2e.stack.glance import Glance
from tests.fakes import account as page
from tests.fakes.images import (
    FakeImage,
    FakeImageSource,
    as_flat,
    as_monolithic_sparse,
    as_ova,
    filesystem_disk,
)
from tests.waiting import wait_until
from vmdk_cache.image import describe

pytestmark = pytest.mark.usefixtures("knows_glance")

GRAFFITI = b"not what the image holds"


def cached(lab: Lab, glance: Glance, image_id: str, fake: FakeImage, *datastores: str) -> None:
    """Import the image and replicate it to these datastores, as cinder-volume would."""
    image = describe(glance.image(image_id))
    with lab.cache() as cache:
        morefs = {each.name: each.moref for each in cache.placement.datastores()}
        for name in datastores:
            cache.images.warm(image, "lsiLogic", FakeImageSource(fake), morefs[name])


@pytest.fixture
def two_copies(lab: Lab, glance: Glance, image_id: str, disk_image: FakeImage) -> None:
    cached(lab, glance, image_id, disk_image, "DC0_DS0", "DC0_DS1")


@pytest.fixture(autouse=True)
def no_lease_is_left(lab: Lab) -> Iterator[None]:
    yield
    assert lab.vcenter.leases() == []


def on(lab: Lab, datastore: str) -> Any:
    """The template on that datastore."""
    [vm] = [each for each in lab.vcenter.vms() if f"[{datastore}]" in each.config.files.vmPathName]
    return vm


def damage(lab: Lab, vm: Any, at_byte: int) -> None:
    with lab.vcenter.lock:
        lab.vcenter.read_disk(vm).write(at_byte, GRAFFITI)


def statuses(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["Datastore"]: row["Status"] for row in rows}


@pytest.mark.usefixtures("two_copies")
def test_copies_are_compared_with_the_image_which_is_read_once(
    lab: Lab, run: Run, glance: Glance, image_id: str
) -> None:
    before, listed = glance.downloads(image_id), run.json("list")
    rows = run.json("verify", "debian-13")
    assert statuses(rows) == {"DC0_DS0": "ok", "DC0_DS1": "ok"}
    assert {(row["Image"], row["Name"], row["Backend"]) for row in rows} == {
        (image_id, "debian-13", "vmware1")
    }
    assert all(row["Read"] > 0 and row["Took"] > 0 and row["Detail"] is None for row in rows)
    assert glance.downloads(image_id) == before + 1
    assert run.json("list") == listed, "verifying is no use"


@pytest.mark.usefixtures("two_copies")
@pytest.mark.parametrize("at_byte", [5 * MIB + 17, 15 * MIB], ids=["in the data", "in the zeros"])
def test_a_copy_with_another_content_differs_and_says_where(
    lab: Lab, run: Run, image_id: str, at_byte: int
) -> None:
    damage(lab, on(lab, "DC0_DS1"), at_byte)
    rows = run.json("verify", image_id, code=1)
    assert statuses(rows) == {"DC0_DS0": "ok", "DC0_DS1": "differs"}
    [detail] = [row["Detail"] for row in rows if row["Detail"]]
    begin, end = (int(word) for word in detail.split() if word.isdecimal())
    assert begin <= at_byte < end


@pytest.mark.usefixtures("two_copies")
def test_only_copies_on_a_datastore_are_read_if_it_is_named(lab: Lab, run: Run) -> None:
    damage(lab, on(lab, "DC0_DS1"), 0)
    assert statuses(run.json("verify", "--datastore", "DC0_DS0")) == {"DC0_DS0": "ok"}
    rows = run.json("verify", "debian", "--datastore", "DC0_DS1", code=1)
    assert statuses(rows) == {"DC0_DS1": "differs"}


DISK = filesystem_disk(8 * MIB)


@pytest.mark.parametrize(
    "image",
    [as_flat(DISK), as_monolithic_sparse(DISK), as_ova(as_monolithic_sparse(DISK))],
    ids=["raw", "sparse", "OVA"],
)
def test_an_image_that_was_converted_is_compared_by_its_disk(
    lab: Lab, run: Run, glance: Glance, image: FakeImage
) -> None:
    image_id = glance.upload_image("converted", image)
    cached(lab, glance, image_id, image, "DC0_DS0", "DC0_DS1")
    damage(lab, on(lab, "DC0_DS1"), 4096)
    rows = run.json("verify", "--all", code=1)
    assert statuses(rows) == {"DC0_DS0": "ok", "DC0_DS1": "differs"}


@pytest.mark.usefixtures("two_copies")
def test_progress_is_plain_lines_where_there_is_no_terminal_and_none_with_q(run: Run) -> None:
    said = run("verify", "--all").stderr
    for line in (
        "debian-13 on DC0_DS0: reading",
        "debian-13 in Glance: 100 %",
        "debian-13 on DC0_DS0: ok",
        "debian-13 on DC0_DS1: ok",
    ):
        assert line in said
    assert run("-q", "verify", "--all").stderr == ""


# -- what cannot be verified


def not_verified(rows: list[dict[str, Any]]) -> str:
    """The detail of all rows."""
    assert {row["Status"] for row in rows} == {"not verified"}
    [detail] = {row["Detail"] for row in rows}
    return str(detail)


@pytest.mark.usefixtures("two_copies")
def test_an_image_that_does_not_match_glances_hash_is_blamed(
    lab: Lab, run: Run, glance: Glance, image_id: str
) -> None:
    file = glance.stored_file(image_id)
    intact = file.read_bytes()
    file.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    try:
        detail = not_verified(run.json("verify", image_id, code=1))
    finally:
        file.write_bytes(intact)
    assert "the image in Glance is damaged, not the template" in detail
    assert "sha512" in detail


def test_an_image_that_was_deleted_in_glance_cannot_be_compared(
    lab: Lab, run: Run, glance: Glance, disk_image: FakeImage
) -> None:
    gone = glance.upload_image("gone", disk_image)
    cached(lab, glance, gone, disk_image, "DC0_DS0")
    glance.delete(gone)
    assert "was deleted in Glance" in not_verified(run.json("verify", "gone", code=1))
    assert len(lab.templates()) == 1


@pytest.mark.usefixtures("two_copies")
def test_a_download_from_glance_that_breaks_off_is_no_difference(
    run: Run, glance: Glance, image_id: str
) -> None:
    with glance.broken(image_id, after_bytes=1000):
        assert "ended the data" in not_verified(run.json("verify", image_id, code=4))


@pytest.mark.usefixtures("two_copies")
def test_without_glance_no_copy_is_read(lab: Lab, run: Run) -> None:
    lab.configure("DEFAULT", glance_api_servers="http://127.0.0.1:9")
    assert "glance_api_servers" in not_verified(run.json("verify", "--all", code=4))
    assert lab.vcenter.request_log.count("ExportVm") == 0


@pytest.mark.usefixtures("two_copies")
def test_a_vcenter_that_exports_no_templates_costs_no_download(
    lab: Lab, run: Run, glance: Glance, image_id: str
) -> None:
    lab.vcenter.switches.exports_templates = False
    before = glance.downloads(image_id)
    detail = not_verified(run.json("verify", image_id, code=1))
    assert "vCenter does not export this template" in detail
    assert f"vmdk-cache purge --image {image_id}" in detail
    assert glance.downloads(image_id) == before


@pytest.mark.usefixtures("two_copies")
def test_a_missing_privilege_is_named(lab: Lab, run: Run, image_id: str) -> None:
    page.add_documented_account(lab.vcenter, without="VApp.Export")
    lab.configure(vmware_host_username=page.USER, vmware_host_password=page.PASSWORD)
    rows = run.json("verify", image_id, code=4)
    assert all("VApp.Export" in row["Detail"] for row in rows)


@pytest.mark.usefixtures("two_copies")
def test_a_lease_that_is_lost_spoils_one_copy_and_no_other(lab: Lab, run: Run) -> None:
    lab.vcenter.fault_rules.add("nfc:GET", fault=vim.fault.Timedout())
    rows = run.json("verify", "--all", code=1)
    assert statuses(rows) == {"DC0_DS0": "not verified", "DC0_DS1": "ok"}
    assert "the export lease is error" in rows[0]["Detail"]


@pytest.mark.usefixtures("two_copies")
def test_a_host_that_refuses_is_named(lab: Lab, run: Run) -> None:
    lab.vcenter.fault_rules.add("nfc:GET", http_status=503)
    rows = run.json("verify", "--all", code=1)
    assert "refused the download: HTTP 503" in rows[0]["Detail"]


# -- while a copy is read


class Verifying:
    """``verify --all``, held up in the download of its first copy."""

    def __init__(self, lab: Lab, run: Run, directory: pathlib.Path) -> None:
        self._lab, self._run = lab, run
        self._go_on = threading.Event()
        self._stderr = directory / "stderr"
        lab.vcenter.fault_rules.add("nfc:GET", action=lambda: self._go_on.wait(TIMEOUT_S))
        with self._stderr.open("w") as file:
            self.process = subprocess.Popen(
                run.command("verify", "--all", "-f", "json"),
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=run.environment(),
                cwd=directory,
            )
        self.wait(lambda: lab.vcenter.request_log.count("nfc:GET"))

    def wait(self, condition: Callable[[], object]) -> None:
        wait_until(lambda: self.process.poll() is not None or condition(), timeout_s=TIMEOUT_S)

    def said(self) -> str:
        return self._stderr.read_text()

    def end(self) -> list[dict[str, Any]]:
        """Go on; the rows."""
        self._go_on.set()
        out, _ = self.process.communicate(timeout=TIMEOUT_S)
        self._run.check(out + self.said())
        return json.loads(out) if out else []


@pytest.fixture
def verifying(lab: Lab, run: Run, two_copies: None, tmp_path: pathlib.Path) -> Iterator[Verifying]:
    made = Verifying(lab, run, tmp_path)
    yield made
    with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
        made.end()
    made.process.kill()
    made.process.wait()


def test_a_template_that_is_read_is_in_use_for_a_purge(
    lab: Lab, run: Run, verifying: Verifying
) -> None:
    rows = run.json("purge", "--all", "--yes", code=1)
    assert sorted(row["Outcome"] for row in rows) == ["removed", "stayed"]
    [reason] = [row["Reason"] for row in rows if row["Outcome"] == "stayed"]
    assert "in use" in reason
    done = verifying.end()
    assert statuses(done) == {"DC0_DS0": "ok", "DC0_DS1": "not verified"}
    assert "gone" in done[1]["Detail"]
    assert verifying.process.returncode == 1
    assert len(lab.templates()) == 1


def test_two_runs_do_not_read_one_copy_at_a_time(run: Run, verifying: Verifying) -> None:
    rows = run.json("verify", "--all", code=1)
    assert statuses(rows) == {"DC0_DS0": "not verified", "DC0_DS1": "ok"}
    assert "in use" in rows[0]["Detail"]
    assert set(statuses(verifying.end()).values()) == {"ok"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_lease_and_leaves_the_templates(
    lab: Lab, verifying: Verifying, number: signal.Signals
) -> None:
    verifying.process.send_signal(number)
    verifying.wait(lambda: lab.vcenter.request_log.count("HttpNfcLeaseAbort"))
    rows = verifying.end()
    assert verifying.process.returncode == 130
    assert not_verified(rows) == "interrupted"
    assert "aborting, cleaning up" in verifying.said()
    assert lab.vcenter.request_log.count("HttpNfcLeaseAbort") == 1
    assert len(lab.templates()) == 2


# -- wrong usage


@pytest.mark.usefixtures("two_copies")
@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "--all"),
        (["debian-13", "--all"], 2, "--all"),
        (["--datastore", "DC0_DS7"], 2, "'DC0_DS0', 'DC0_DS1'"),
        (["debain-13"], 1, "did you mean 'debian-13'"),
    ],
)
def test_wrong_usage_is_one_line(run: Run, arguments: list[str], code: int, says: str) -> None:
    done = run("verify", *arguments, code=code)
    assert says in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_an_empty_cache_is_said(run: Run) -> None:
    assert "no template to verify" in run("verify", "--all", code=1).stderr
    assert "no template on 'DC0_DS0'" in run("verify", "--datastore", "DC0_DS0", code=1).stderr
