"""Cinder's part: volumes are cast to hosts; a host that was killed is started again.

As in Cinder, what a host was at work on when it was killed is an ``error`` once it is back (volume
manager, init_host), or goes to another host, which message brokers do with a request that nobody
has acknowledged.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from tests.fakes.vcenter import VCenter
from tests.hosts import host

#: Forked from a process that has loaded it all: a host is back in a moment.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([host.__name__, "tooz.drivers.etcd3gw", "tooz.drivers.redis"])
#: In the order that an import makes them in.
IMPORT_CALLS = (
    "ImportVApp",
    "nfc:POST",
    "HttpNfcLeaseComplete",
    "RefreshStorageInfo",
    "MarkAsTemplate",
    "CloneVM_Task",
)


@dataclasses.dataclass
class Volume:
    """:ivar status: ``creating``, ``available`` or ``error``, as users see it
    :ivar host: number of the one that it was cast to, None on its way
    """

    number: int
    image: int
    host: int | None = None
    status: str = "creating"
    was_killed: bool = False


class Host:
    """A host whose process may be killed at any moment, and is started again at once."""

    def __init__(self, cloud: Cloud, number: int, part: host.Part) -> None:
        self.cloud = cloud
        self.number = number
        self._part = part
        self._sending = threading.Lock()
        self._ending = False
        self._pipe: Connection
        self._process: Any
        self._begin()
        self._reader = threading.Thread(target=self._read, name=part.name, daemon=True)
        self._reader.start()

    def _begin(self) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=host.serve, args=(self._part, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def cast(self, volume: Volume) -> None:
        """A request waits in the pipe while the process starts; one that reaches a process that is
        dead already is among those lost with it."""
        with self._sending:
            volume.host = self.number
            try:
                self._pipe.send((volume.number, volume.image))
            except OSError:
                pass

    def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """In good order."""
        with self._sending:
            self._ending = True
            self._pipe.send(None)
        self._reader.join(60)
        assert not self._reader.is_alive(), f"{self._part.name} does not end"

    def give_up(self) -> None:
        """Kill it, for good."""
        with self._sending:
            self._ending = True
            self.kill()
        self._reader.join(60)

    def _read(self) -> None:
        while True:
            try:
                message = self._pipe.recv()
            except (EOFError, OSError):
                self._process.join()
                if self._ending:
                    return
                with self._sending:
                    lost = self.cloud.lost_with(self.number)
                    self._begin()
                self.cloud.cast_again(lost)
                continue
            self.cloud.told(self.number, *message)


class Cloud:
    """All hosts together.

    :param parts: one for each host
    :param seed: of who is killed when, and of what becomes of the volumes it was at work on
    :ivar downloads: by image
    :ivar kills: how many there were; ``kills_of_importers``: of hosts that were importing
    :ivar retries: how many volumes were cast again after a kill
    :ivar complaints: failures that no kill explains
    :ivar doubled: templates that were seen twice on one datastore
    """

    def __init__(self, vcenter: VCenter, parts: list[host.Part], seed: int) -> None:
        self.vcenter = vcenter
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self.volumes: dict[int, Volume] = {}
        self.downloads: Counter[int] = Counter()
        self.kills = 0
        self.kills_of_importers = 0
        self._kills_left = 0
        self._between = (0, 0)
        self._importing: set[int] = set()
        self.retries = 0
        self.complaints: list[str] = []
        self.doubled: set[tuple[str, str]] = set()
        self._ready: set[int] = set()
        self.hosts = [Host(self, number, part) for number, part in enumerate(parts)]

    def wait_ready(self) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._ready) == len(self.hosts), 120)

    def create(self, first: int, count: int, images: int) -> None:
        """Cast volumes to the hosts in turn, all at once."""
        for number in range(first, first + count):
            made = self.volumes[number] = Volume(number, number % images)
            self.hosts[number % len(self.hosts)].cast(made)

    def kill_at_random(self, kills: int, between: tuple[int, int]) -> None:
        """Kill so many hosts, one at a time: at the first call of an import that is drawn, the host
        that imports; or else at a request to vCenter that is drawn, any host that is at work. The
        kill comes before vCenter acts on that request, which may be that host's or another's.

        :param between: least and most requests from one kill to the next
        """
        with self._changed:
            self._kills_left = kills
            self._between = between
            self._draw()

    def _draw(self) -> None:
        rules = self.vcenter.fault_rules
        rules.clear()
        if self._kills_left:
            call, skip = self._random.choice(IMPORT_CALLS), self._random.randint(0, 2)
            rules.add(call, skip=skip, action=lambda: self._kill(sorted(self._importing)))
            rules.add("*", skip=self._random.randint(*self._between), action=self._kill)

    def _kill(self, preferred: Sequence[int] = ()) -> None:
        with self._changed:
            busy = {v.host for v in self.volumes.values() if v.status == "creating"}
            alive = sorted(number for number in self._ready if number in busy)
            if alive and self._kills_left:
                chosen = [number for number in preferred if number in alive] or alive
                victim = self._random.choice(chosen)
                self._ready.discard(victim)
                self.hosts[victim].kill()
                self._kills_left -= 1
                self.kills += 1
                self.kills_of_importers += victim in self._importing
            self._draw()

    def wait(self, timeout_s: float) -> None:
        """Until every volume is available or in error; meanwhile look for doubled templates."""
        deadline = time.monotonic() + timeout_s
        while any(v.status == "creating" for v in list(self.volumes.values())):
            self.doubled |= doubled(self.vcenter)
            left = [v.number for v in self.volumes.values() if v.status == "creating"]
            assert time.monotonic() < deadline, f"still creating: {left[:20]} ({len(left)})"
            with self._changed:
                self._changed.wait(0.05)
        self.vcenter.fault_rules.clear()

    def end(self) -> None:
        for one in self.hosts:
            one.end()

    def __enter__(self) -> Cloud:
        return self

    def __exit__(self, kind: type[BaseException] | None, *about: object) -> None:
        self.vcenter.fault_rules.clear()
        if kind is None:
            self.end()
        else:
            for one in self.hosts:
                one.give_up()

    # -- what hosts tell

    def lost_with(self, number: int) -> list[Volume]:
        """The host has died: a quarter of its volumes is in error; :returns: the others."""
        with self._changed:
            lost = [v for v in self.volumes.values() if v.host == number and v.status == "creating"]
            for one in lost:
                one.was_killed, one.host = True, None
                if self._random.random() < 0.25:
                    one.status = "error"
            self._importing.discard(number)
            self._changed.notify_all()
        return [one for one in lost if one.status == "creating"]

    def cast_again(self, volumes: list[Volume]) -> None:
        for one in volumes:
            with self._changed:
                self.retries += 1
                another = self._random.choice(self.hosts)
            another.cast(one)

    def told(self, number: int, what: str, *about: Any) -> None:
        with self._changed:
            if what == "ready":
                self._ready.add(number)
            elif what == "download":
                self.downloads[about[0]] += 1
                self._importing.add(number)
            elif what == "imported":
                self._importing.discard(number)
            elif what == "housekeeping":
                self.complaints.append(f"host {number}: {about[0]}")
            else:
                made = self.volumes[about[0]]
                made.status = "available" if what == "made" else "error"
                if what == "failed":
                    killed = " (tried again after a kill)" if made.was_killed else ""
                    self.complaints.append(f"volume {made.number}{killed}: {about[1]}")
            self._changed.notify_all()


def templates(vcenter: VCenter) -> Iterator[tuple[str, str]]:
    """Image (as the template's name has it) and datastore of each template."""
    with vcenter.lock:
        for vm in vcenter.vms():
            if vm.config is not None and vm.config.template:
                yield vm.name.split("(")[1].split(")")[0], vm.home_datastore.name


def doubled(vcenter: VCenter) -> set[tuple[str, str]]:
    """Of which there are two on one datastore."""
    return {which for which, count in Counter(templates(vcenter)).items() if count > 1}
