"""The fake vCenter in its own process, so that its CPU time does not count for its clients.

with VCenterProcess(Model(datastores=4)) as vcenter:
    vcenter.call(population.add_vms, 1000)      # runs in that process: function(vcenter, 1000)
    ...
    assert vcenter.requests() == {"CloneVM_Task": 100, ...}
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

from tests.fakes.vcenter import CostModel, Model, VCenter

START_TIMEOUT_S = 60.0


class VCenterProcess:
    """See the module's docstring.

    :ivar endpoint: keyword arguments of ``vmdk_cache.vim.endpoint.Endpoint``; plain values
    """

    def __init__(self, model: Model, *, cost_model: CostModel | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, model, cost_model), daemon=True, name="fake-vcenter"
        )
        self.endpoint: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process.start()
        if not self._pipe.poll(START_TIMEOUT_S):
            self._process.terminate()
            raise RuntimeError(f"the fake vCenter did not start within {START_TIMEOUT_S:g} s")
        self.endpoint = self._received()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            errors = self.call(_errors)
            self._pipe.send(None)
        finally:
            self._process.join(10)
            if self._process.is_alive():
                self._process.terminate()
        if errors and error is None:
            raise RuntimeError(f"the fake vCenter failed: {errors[0]}")

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run ``function(vcenter, *arguments)`` in that process; a module's function, plain
        values.
        """
        self._pipe.send((function, arguments))
        return self._received()

    def reset(self) -> None:
        """Restart the count of requests."""
        self.call(_reset)

    def requests(self) -> dict[str, int]:
        """Requests by method since the last reset."""
        counted: dict[str, int] = self.call(_requests)
        return counted

    def cpu_seconds(self) -> float:
        """CPU time of the process so far."""
        seconds: float = self.call(_cpu_seconds)
        return seconds

    def _received(self) -> Any:
        try:
            answer, error = self._pipe.recv()
        except EOFError:
            raise RuntimeError("the fake vCenter has died; see its output above") from None
        if error is not None:
            raise RuntimeError(f"in the fake vCenter's process: {error}")
        return answer


def _serve(pipe: Connection, model: Model, cost_model: CostModel | None) -> None:
    with VCenter(model, cost_model=cost_model) as vcenter:
        # A benchmark may hold a session for minutes without a call.
        vcenter.sessions.idle_timeout_s = 24 * 3600
        endpoint = {
            "host": vcenter.host,
            "port": vcenter.port,
            "user": vcenter.user,
            "password": vcenter.password,
            "ca_file": str(vcenter.ca_file),
        }
        pipe.send((endpoint, None))
        while True:
            try:
                command = pipe.recv()
            except EOFError:
                return
            if command is None:
                return
            function, arguments = command
            try:
                pipe.send((function(vcenter, *arguments), None))
            except Exception as error:
                pipe.send((None, f"{type(error).__name__}: {error}"))


def _errors(vcenter: VCenter) -> list[str]:
    return [str(error) for error in vcenter.errors]


def _reset(vcenter: VCenter) -> None:
    vcenter.request_log.reset()


def _requests(vcenter: VCenter) -> dict[str, int]:
    return vcenter.request_log.by_method()


def _cpu_seconds(vcenter: VCenter) -> float:
    return time.process_time()
