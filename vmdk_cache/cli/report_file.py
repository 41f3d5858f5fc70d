"""The file of ``vmdk-cache preflight --report``: opened before the first request, written last."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vmdk_cache.cli import command
from vmdk_cache.quoting import sentence

if TYPE_CHECKING:
    from vmdk_cache.preflight.target import Target

_PACKAGES = ("vmdk-cache", "pyvmomi", "oslo.config", "tooz")


class ReportFile:
    """The report; readable only by its owner (mode 0600).

    :param results: rows of the checklist, as dictionaries
    :raises UsageError: the file cannot be opened for writing
    :ivar exchanges: records each SOAP request of the live run
    :ivar target: the target of the probes; None until it is known
    :ivar product: vCenter's product name; '' until the log-in
    """

    def __init__(self, path: str, results: Callable[[], list[dict[str, Any]]]) -> None:
        from vmdk_cache.preflight.report import Exchanges

        self._results = results
        self.exchanges = Exchanges()
        self.target: Target | None = None
        self.product = ""
        try:
            # Otherwise opening a pipe without a reader would block.
            how = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK
            opened = os.open(path, how, 0o600)
            os.set_blocking(opened, True)
            if stat.S_ISREG(os.fstat(opened).st_mode):
                os.fchmod(opened, 0o600)  # an existing file keeps its mode
        except OSError as failure:
            raise command.UsageError(f"argument --report: {sentence(failure)}") from failure
        self._file = os.fdopen(opened, "w", encoding="utf-8")

    def write(self) -> None:
        """Write the report; call it once, at the end.

        :raises OSError: the file cannot be written
        """
        from vmdk_cache.preflight.redaction import Redaction
        from vmdk_cache.preflight.report import report

        target = self.target
        machines = [] if target is None else target.machines()
        users = [] if target is None else [target.backend.endpoint.user]
        with self._file:
            self._file.write(
                report(
                    _versions(),
                    self.product,
                    self._results(),
                    self.exchanges,
                    Redaction(machines, users),
                )
            )


def _versions() -> dict[str, str]:
    packages = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {**packages, "python": platform.python_version(), "system": platform.platform()}
