"""Checks that docs/tour.rst shows what the commands do: runs each of them, in the page's order.

A line of a console block that begins with ``$`` is a command, the lines after it are its output.
``vmdk-cache`` runs as itself, the test answers ``echo $?``, and :data:`ELSEWHERE` does what other
programs would do. Times, ids and widths are normalized on both sides. To rewrite the page's output:
``python -m tests.cli.test_tour``.
"""

from __future__ import annotations

import contextlib
import difflib
import pathlib
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.cli.conftest import MIB, Lab, Run
from tests.e2e.stack.glance import Glance
from tests.fakes.images import FakeImageSource, as_stream_optimized, filesystem_disk
from tests.fakes.vcenter import Model, VCenter
from vmdk_cache.cache.ports import Volume
from vmdk_cache.ledger import Ledger

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "tour.rst"
CONF_OF_THE_PAGE = "/etc/cinder/cinder.conf"
_BLOCK = re.compile(r"\.\. code-block:: console\n\n((?:   .*\n|\n(?=   ))+)")
_INDENT = "   "
#: Text that differs between two runs.
_VARIES = [
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?"), "TIME"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "FINGERPRINT"),
    (re.compile(r"\b(vm|host)-\d+"), r"\1-N"),
    (re.compile(r"(Imported By: )\S+"), r"\1PROCESS"),
    (re.compile(r"\b\d+ s old"), "N s old"),
    (re.compile(r"\d+\.\d+ MiB"), "N MiB"),  # the compressed size of the file system's times
    (re.compile(r"-{2,}"), "-"),
    (re.compile(r" +"), " "),
]


@dataclass
class Step:
    """A command, and the output on the page."""

    command: str
    shown: str


def steps(page: str) -> Iterator[Step]:
    for block in _BLOCK.findall(page):
        step: Step | None = None
        for line in (each.removeprefix(_INDENT) for each in block.splitlines()):
            if line.startswith("$ "):
                if step:
                    yield step
                step = Step(line[2:], "")
            else:
                assert step is not None, f"{PAGE.name}: an answer before its command: {line}"
                step.shown += line + "\n"
        if step:
            yield step


def make_volume(lab: Lab, number: int) -> None:
    """Create a volume as cinder-volume would, with its events counted."""
    identity = f"10000000-0000-4000-8000-{number:012}"
    volume = Volume(
        id=identity,
        name=f"volume-{identity}",
        instance_uuid=identity,
        size_bytes=1 << 30,
        disk_type="thin",
        adapter_type="lsiLogic",
        storage_profile=None,
        folder=("OpenStack", "Project (demo)", "Volumes"),
        extra_config={},
        managed_by=None,
        is_being_created=lambda: True,
    )
    with lab.cache() as cache:
        cache.images.create_volume(lab.image(), volume, FakeImageSource(lab.disk_image))
    [configured] = lab.configuration().backends
    assert configured.ledger_path
    ledger = Ledger.open(configured.ledger_path)
    for event in lab.events:
        ledger(event)
    lab.events.clear()
    ledger.close()


def make_machine(lab: Lab) -> None:
    """A VM in the cache's folder that is neither a volume nor a template."""
    template = lab.vcenter.find_vm(lab.templates()[0])
    with lab.cache() as cache:
        from vmdk_cache.vim import clone_spec, inventory
        from vmdk_cache.vim import template as vim_template

        entry = cache.store.entries()[0]
        request = clone_spec.CloneRequest(
            name="jumphost",
            folder=template.parent.moref,
            datastore=entry.datastore or "",
            host=None,
            pool=inventory.snapshot(cache.session).hosts[0].pool or "",
            disk_key=entry.disk_key or 0,
            extra_config={"vmdk_cache.record": ""},
        )
        vim_template.clone(cache.session, cache.waiter, entry.moref, request, timeout_s=60)


_CREATE = "openstack volume create --image ubuntu --size 1 --property use_image_cache=true"
ELSEWHERE: dict[str, Callable[[Lab], None]] = {
    f"{_CREATE} first": lambda lab: make_volume(lab, 1),
    f"{_CREATE} second": lambda lab: make_volume(lab, 2),
    "govc vm.create -on=false -folder 'OpenStack/Project (vmware1_image_cache)/Volumes' jumphost": (
        make_machine
    ),
}


@contextlib.contextmanager
def glance_with_an_image(lab: Lab, directory: pathlib.Path) -> Iterator[None]:
    """A real Glance with the images that the page warms."""
    directory.mkdir()
    running = Glance(directory)
    try:
        running.prepare()
        running.start()
        running.upload_image("debian-13", lab.disk_image, id=lab.image(2).id)
        lab.configure("DEFAULT", auth_strategy="noauth", glance_api_servers=running.url)
        yield
    finally:
        running.stop()


class Tour:
    """Runs the page's commands one by one; ``printed`` collects their output."""

    def __init__(self, lab: Lab, run: Run) -> None:
        self._lab = lab
        self._run = run
        self._code = 0

    def take(self, command: str) -> str:
        if command == "echo $?":
            return f"{self._code}\n"
        if command in ELSEWHERE:
            ELSEWHERE[command](self._lab)
            return ""
        program, *arguments = shlex.split(command)
        assert program == "vmdk-cache", f"{PAGE.name}: unknown command {command!r}"
        done = self._run(*arguments, code=None)
        self._code = done.returncode
        said = done.stdout + done.stderr
        return said.replace(str(self._lab.path), CONF_OF_THE_PAGE).strip("\n") + "\n"


def alike(text: str) -> list[str]:
    for pattern, instead in _VARIES:
        text = pattern.sub(instead, text)
    return [line.rstrip() for line in text.strip("\n").splitlines()]


def test_the_tour_shows_what_the_commands_print(lab: Lab, run: Run, tmp_path: pathlib.Path) -> None:
    tour = Tour(lab, run)
    found = list(steps(PAGE.read_text()))
    assert len(found) >= 20, f"{PAGE.name}: too few steps"
    with glance_with_an_image(lab, tmp_path / "glance"):
        for step in found:
            printed = tour.take(step.command)
            difference = list(difflib.unified_diff(alike(step.shown), alike(printed), lineterm=""))
            assert not difference, "\n".join([f"$ {step.command}", *difference])


def write_anew() -> None:
    """Write the commands' present output into the page."""
    page = PAGE.read_text()
    with (
        tempfile.TemporaryDirectory() as directory,
        VCenter(Model(hosts_per_cluster=2, datastores=2), password="not shown") as vcenter,
    ):
        path = pathlib.Path(directory)
        lab = Lab(vcenter, as_stream_optimized(filesystem_disk(16 * MIB)), path)
        tour = Tour(lab, Run(path, lambda: [vcenter.password]))

        def answered(match: re.Match[str]) -> str:
            lines = []
            for step in steps(match[0]):
                lines += [f"$ {step.command}", *tour.take(step.command).strip("\n").splitlines()]
            body = "".join(f"{_INDENT}{line.rstrip()}".rstrip() + "\n" for line in lines)
            return f".. code-block:: console\n\n{body}"

        with glance_with_an_image(lab, path / "glance"):
            PAGE.write_text(_BLOCK.sub(answered, page))


if __name__ == "__main__":
    write_anew()
