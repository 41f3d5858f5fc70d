"""A call without a connection was not sent, so it is repeated, whatever it does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.contract.vcenters import Target
from tests.contract.vim.conftest import Place
from tests.fakes.clock import ManualClock
from tests.fakes.vcenter import VCenter
from tests.unit.vim.conftest import ClientClock
from vmdk_cache import errors
from vmdk_cache.patience import LimitedPatience
from vmdk_cache.vim.session import Session


class Door:
    """A port in front of vCenter; ``shut`` ends its connections, and refuses the next ones."""

    def __init__(self, vcenter_port: int) -> None:
        self._vcenter_port = vcenter_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self._refusals = 0
        self.refused = 0
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def shut(self, refusals: int) -> None:
        self._refusals = refusals
        self._end_connections()

    def close(self) -> None:
        self._listener.close()
        self._end_connections()

    def _end_connections(self) -> None:
        for side in self._open:
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()
        self._open.clear()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusals > 0:
                self._refusals -= 1
                self.refused += 1
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._vcenter_port))
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def door(vc: VCenter) -> Iterator[Door]:
    made = Door(vc.port)
    yield made
    made.close()


@pytest.fixture
def through_the_door(target: Target, vc: VCenter, door: Door) -> Iterator[Session]:
    with Session(target.endpoint(port=door.port), ClientClock(vc.clock)) as session:
        yield session


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_call_that_was_never_sent_is_repeated(
    vc: VCenter, door: Door, through_the_door: Session, place: Place, refusals: int
) -> None:
    before = vc.request_log.count("CreateFolder")
    door.shut(refusals)

    through_the_door.invoke("Folder", place.folder, "CreateFolder", name="x")

    assert door.refused == refusals
    assert vc.request_log.count("CreateFolder") - before == 1


def test_a_call_that_is_never_sent_is_given_up_after_the_bound(
    vc: VCenter, door: Door, through_the_door: Session, place: Place
) -> None:
    before = vc.request_log.count("CreateFolder")
    door.shut(1000)

    with pytest.raises(errors.Unreachable):
        through_the_door.invoke("Folder", place.folder, "CreateFolder", name="x")

    assert door.refused == through_the_door.endpoint.api_retry_count
    assert vc.request_log.count("CreateFolder") == before
    door.shut(0)


def test_a_command_does_not_try_a_refused_log_in_again(target: Target) -> None:
    clock = ManualClock()
    patience = LimitedPatience("vCenter", 60, pytest.fail, (errors.Unreachable,), clock)
    endpoint = target.endpoint(host="127.0.0.1", port=1, api_retry_count=10, patience=patience)
    with pytest.raises(errors.Unreachable, match="refused"):
        Session(endpoint, clock).open()
    assert clock.slept == []
