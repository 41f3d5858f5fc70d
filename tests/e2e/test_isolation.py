"""Two projects on one cache: what one project gets shows no trace of the other or of the template.

Glance and Cinder both use the user's token here, under their own policies, as with a Keystone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pyVmomi import VmomiSupport, vim

from tests.e2e.cloud import OUR_DRIVER, USE_CACHE, Cloud, cloud, outcome
from tests.e2e.stack.client import CinderClient, RequestRefused
from tests.e2e.stack.glance import ADMIN_TOKEN
from tests.fakes.images import as_stream_optimized, filesystem_disk, not_a_vmdk
from tests.fakes.vcenter.managed_object import ManagedObject

IMAGE = as_stream_optimized(filesystem_disk(16 << 20))
ALICE, BOB = "alice:project-a:member", "bob:project-b:member"
PASSWORD = "pa55-of-the-vcenter-account"
NOWHERE = "11111111-2222-4333-8444-555555555555"

#: Every logger logs everything, including those that oslo.log limits by default. The only exception
#: is suds' internals: half of its messages are about types, none about values.
LOG_LEVELS = "sqlalchemy=WARN,stevedore=WARN,suds=INFO,suds.client=DEBUG,suds.transport=DEBUG"

#: What upstream's loggers reveal at DEBUG, by logger. oslo.log's default_log_levels silence
#: suds.client; oslo_vmware.rw_handles logs during plain imports, backups and uploads to Glance.
UPSTREAM_TELLS = {"suds.client": {"password", "upload"}, "oslo_vmware.rw_handles": {"upload"}}

#: Properties of a virtual machine that differ between two identical ones: its place, times and ids.
#: Everything else in a clone must be as Cinder's own driver makes it.
ITS_OWN = re.compile(
    r"""(summary\.)?runtime\.host
    |config\.(changeVersion|locationId)
    |environmentBrowser
    |(.*\.)?(timestamp|modified|createDate)
    |config\.hardware\.device\[\d+\]\.backing\.(contentId|backingObjectId)
    |recentTask\[\d+\]""",
    re.VERBOSE,
)


@pytest.fixture(scope="module")
def running() -> Iterator[Cloud]:
    options = {"enable_image_cache": "true", "image_cache_replicas": "off"}
    defaults = {"debug": "true", "default_log_levels": LOG_LEVELS}
    with cloud(
        {"vmware": (OUR_DRIVER, options)}, defaults=defaults, projects=True, password=PASSWORD
    ) as running:
        yield running
        assert running.vcenter.errors == []


def create(
    running: Cloud, user: CinderClient, image_id: str, metadata: dict[str, str] = USE_CACHE
) -> tuple[Any, str | None]:
    """A volume's VM, and the cache's note to its user."""
    volume_id = user.create_volume(1, imageRef=image_id, metadata=metadata)
    volume = user.wait("volumes", volume_id, "available")
    return running.backing(volume_id), outcome(volume)


def the_template(running: Cloud, image_id: str) -> Any:
    (template,) = (vm for vm in running.vcenter.vms() if vm.config.template and image_id in vm.name)
    return template


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, text) of every leaf in a property's value; options are identified by their key."""
    if value is None:
        return
    if isinstance(value, ManagedObject):
        yield path, value.moref
    elif isinstance(value, vim.ManagedEntity | VmomiSupport.ManagedObject):
        yield path, value._GetMoId()
    elif isinstance(value, vim.option.OptionValue):
        yield f"{path.rpartition('[')[0]}[{value.key}]", str(value.value)
    elif isinstance(value, VmomiSupport.DataObject):
        for one in value._GetPropertyList():
            yield from leaves(getattr(value, one.name, None), f"{path}.{one.name}".strip("."))
    elif isinstance(value, list | tuple):
        for number, one in enumerate(value):
            yield from leaves(one, f"{path}[{number}]")
    else:
        yield path, str(value)


def everything(vm: Any) -> dict[str, str]:
    """Everything that vCenter shows of a virtual machine, including the contents of its own
    files.
    """
    with vm.vcenter.lock:
        found = dict(
            leaf
            for one in vim.VirtualMachine._GetPropertyList()
            for leaf in leaves(getattr(vm, one.name, None), one.name)
        )
        storage = vm.home_datastore.storage
        for number, path in enumerate(vm.own_files()):
            content = storage.get(path).content
            found[f"file[{number}]"] = content.read(0, content.size_bytes).decode(errors="replace")
    return found


def without_ids(vm: Any, told: dict[str, str]) -> dict[str, str]:
    """What is known of a volume's VM, with each of its ids replaced by a word."""
    ids = {
        vm.name.removeprefix("volume-"): "VOLUME", vm.moref: "VM", vm.uuid: "UUID",
        vm.instance_uuid: "INSTANCE", vm.disks[0].uuid: "DISK",
    }  # fmt: skip
    pattern = re.compile("|".join(map(re.escape, ids)))
    return {path: pattern.sub(lambda one: ids[one[0]], text) for path, text in told.items()}


def test_a_clone_shows_nothing_of_its_template_or_its_first_user(
    running: Cloud, alice: CinderClient, bob: CinderClient
) -> None:
    image_id = running.upload("public", IMAGE)
    hers, noted = create(running, alice, image_id)
    assert noted == "miss"
    template = the_template(running, image_id)
    # What an administrator can write on a template, and vCenter copies to a clone.
    template.settings.annotation = "made for alice of project-a"
    template.settings.managed_by = ("org.example.backup", "nightly")
    template.touch()
    create(running, alice, image_id)  # this records the template's last use
    assert template.custom_values

    his, noted = create(running, bob, image_id)
    assert noted == "hit"
    plain, noted = create(running, bob, image_id, {})
    assert noted is None

    clone = everything(his)
    ours, reference = without_ids(his, clone), without_ids(plain, everything(plain))
    differing = {
        path: (ours.get(path), reference.get(path))
        for path in ours.keys() | reference.keys()
        if ours.get(path) != reference.get(path) and not ITS_OWN.fullmatch(path)
    }
    assert differing == {}

    with running.vcenter.lock:
        record = template.settings.extra_config["vmdk_cache.record"]
    traces = [
        "alice", "project-a", "org.example.backup", "_image_cache", image_id, "vmdk_cache.record",
        hers.name, hers.name.removeprefix("volume-"), hers.moref, hers.instance_uuid, hers.uuid,
        template.name, template.directory, template.moref, template.instance_uuid, template.uuid,
        *re.findall(r'"fingerprint": "(\w+)"', record), *template.custom_values.values(),
        *(disk.uuid for vm in (hers, template) for disk in vm.disks),
    ]  # fmt: skip
    told = "\n".join(f"{path} = {text}" for path, text in clone.items())
    assert [trace for trace in traces if trace and trace in told] == []


def inventory(running: Cloud) -> list[str]:
    return sorted(vm.moref for vm in running.vcenter.vms())


def refusal(user: CinderClient, image_id: str) -> tuple[int, str]:
    """The refusal of an image that the user cannot see, without the image's id."""
    with pytest.raises(RequestRefused) as refused:
        user.create_volume(1, imageRef=image_id, metadata=USE_CACHE)
    return refused.value.status, str(refused.value).replace(image_id, "ID")


def test_a_private_image_in_the_cache_is_of_no_use_to_another_project(
    running: Cloud, alice: CinderClient, bob: CinderClient
) -> None:
    image_id = running.upload("private", IMAGE, token=ALICE, visibility="private")
    assert [create(running, alice, image_id)[1] for _ in range(2)] == ["miss", "hit"]
    own = bob.create_volume(1)
    bob.wait("volumes", own, "available")
    before = inventory(running), running.glance.downloads(image_id)

    # As if there were no such image: even its existence stays hidden.
    assert refusal(bob, image_id) == refusal(bob, NOWHERE)
    with pytest.raises(RequestRefused) as refused:
        bob.act(own, "os-reimage", {"image_id": image_id})
    assert refused.value.status in (400, 404)

    assert (inventory(running), running.glance.downloads(image_id)) == before
    told = str([bob.volumes(), bob.request("GET", "/messages")])
    assert image_id not in told and "_image_cache (" not in told


def test_an_image_that_is_withdrawn_is_refused_although_it_is_in_the_cache(
    running: Cloud, bob: CinderClient
) -> None:
    image_id = running.upload("public at first", IMAGE)
    assert create(running, bob, image_id)[1] == "miss"
    running.glance.change(image_id, visibility="private")
    assert the_template(running, image_id)
    assert refusal(bob, image_id) == refusal(bob, NOWHERE)


def test_no_log_contains_a_secret_even_at_debug(running: Cloud, alice: CinderClient) -> None:
    vcenter = running.vcenter
    cookies = {session.cookie for session in vcenter.sessions.active()}
    image_id = running.upload("logged", IMAGE)
    broken = running.upload("no vmdk", not_a_vmdk())
    assert create(running, alice, image_id)[1] == "miss"
    vcenter.sessions.expire_all()  # both stacks log in again
    assert create(running, alice, image_id)[1] == "hit"
    vcenter.fault_rules.add("CloneVM_Task", vim.fault.NoPermission(), on="task", times=1)
    assert create(running, alice, image_id)[1] == "bypass: fault"
    alice.wait("volumes", alice.create_volume(1, imageRef=broken, metadata=USE_CACHE), "error")
    cookies |= {session.cookie for session in vcenter.sessions.active()}
    uploads = {
        request.target for request in vcenter.request_log.recent() if request.method == "nfc:POST"
    }
    assert len(cookies) >= 4 and uploads

    kinds = {
        "password": {PASSWORD},
        "cookie": cookies,
        "token": {ALICE, ADMIN_TOKEN},
        "upload": uploads,
    }
    told: dict[str, set[str]] = {}
    for logger, text in records(running):
        for kind, secrets in kinds.items():
            if any(secret in text for secret in secrets):
                told.setdefault(logger, set()).add(kind)
    assert "password" in told["suds.client"], "the search finds nothing at all"
    assert {
        logger: kinds - UPSTREAM_TELLS.get(logger, set())
        for logger, kinds in told.items()
        if not kinds <= UPSTREAM_TELLS.get(logger, set())
    } == {}


def records(running: Cloud) -> Iterator[tuple[str, str]]:
    """(logger, text) of each record in Cinder's log, including continuation lines."""
    logger, lines = "", list[str]()
    start = re.compile(r"\d{4}-\d\d-\d\d \S+ \d+ (?:DEBUG|INFO|WARNING|ERROR|CRITICAL|TRACE) (\S+)")
    for line in running.openstack.cinder.log_lines():
        if found := start.match(line):
            yield logger, "\n".join(lines)
            logger, lines = found[1], []
        lines.append(line)
    yield logger, "\n".join(lines)
    yield "its output", running.openstack.cinder.output.read_text(errors="replace")
