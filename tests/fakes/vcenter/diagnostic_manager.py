"""DiagnosticManager: vCenter's log, which contains its events, and bundles of it."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

from pyVmomi import vim

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject
from tests.fakes.vcenter.task import Task

if TYPE_CHECKING:
    from tests.fakes.vcenter.http_exchange import HttpExchange
    from tests.fakes.vcenter.vcenter import VCenter

KEY = "vpxd:vpxd.log"
BUNDLES = "/diagnostic/"


class DiagnosticManager(ManagedObject):
    """vCenter has one log; hosts have none."""

    TYPE = vim.DiagnosticManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="DiagMgr")
        self.bundle = b""

    def _lines(self) -> list[str]:
        return [
            f"{event.createdTime:%Y-%m-%dT%H:%M:%SZ} info vpxd [{event.userName}] "
            f"{event.fullFormattedMessage}"
            for event in (one.describe() for one in self.vcenter.events.kept())
        ]

    def QueryDescriptions(self, ctx: Context, host: Any) -> list[Any]:
        """vCenter's log; an empty list for a host."""
        if host is not None:
            self.vcenter.registry.require(host)
            return []
        return [
            vim.DiagnosticManager.LogDescriptor(
                key=KEY,
                fileName="vpxd.log",
                creator="vpxd",
                format="plain",
                mimeType="text/plain",
                info=vim.Description(label="vpxd.log", summary="vpxd.log"),
            )
        ]

    def BrowseDiagnosticLog(
        self, ctx: Context, host: Any, key: str, start: int | None, lines: int | None
    ) -> Any:
        """Lines from ``start``, counted from 1. CannotAccessFile for an unknown key; a real
        vCenter's fault for a bad ``start`` is unconfirmed. (vSphere API reference,
        BrowseDiagnosticLog)"""
        if host is not None or key != KEY:
            raise vim.fault.CannotAccessFile(file=key, msg=f"Cannot access the log {key}.")
        text = self._lines()
        first = max(1, start or 1)
        shown = text[first - 1 :] if lines is None else text[first - 1 : first - 1 + lines]
        # Even without lines, the header says where the log ends.
        return vim.DiagnosticManager.LogHeader(
            lineStart=first if shown else len(text) + 1,
            lineEnd=first + len(shown) - 1 if shown else len(text),
            lineText=shown,
        )

    def GenerateLogBundles_Task(self, ctx: Context, includeDefault: bool, host: Any) -> Task:
        """Create a file with vCenter's log, which the result names; hosts add nothing."""

        def work(task: Task) -> Any:
            self.bundle = gzip.compress("\n".join(self._lines()).encode())
            url = f"https://{self.vcenter.host}:{self.vcenter.port}{BUNDLES}vpxd.log.gz"
            kind = vim.DiagnosticManager.BundleInfo
            return vim.DiagnosticManager.BundleInfo.Array([kind(url=url)])  # type: ignore[attr-defined]

        task: Task = self.vcenter.tasks.start(
            self,
            "GenerateLogBundles_Task",
            "DiagnosticManager.generateLogBundles",
            work,
            session=ctx.session,
        )
        return task


def serve_bundle(exchange: HttpExchange) -> None:
    """Serve the last bundle."""
    manager = exchange.vcenter.registry.get("DiagMgr")
    assert isinstance(manager, DiagnosticManager)
    exchange.respond(200, manager.bundle, "application/gzip")
