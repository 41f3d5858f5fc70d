"""Glance and Cinder together, in a directory of their own that is removed at the end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from tests.e2e.stack.cinder import Cinder, Threads
from tests.e2e.stack.client import CinderClient
from tests.e2e.stack.config import Backend
from tests.e2e.stack.glance import Glance
from tests.e2e.stack.service_process import tail


class OpenStack:
    """A context manager: ready inside, everything stopped and removed after it.

    Enter it from the main thread (see service_process.py).

    :param backends: sections of ``enabled_backends``
    :param glance: a running Glance, which keeps running afterwards; by default, a new one
    :param await_backends: False if a backend is not supposed to come up
    :param defaults: options of Cinder's ``[DEFAULT]``
    :param projects: the new Glance has projects, and Cinder passes it the user's token
    :param property_protections: of the new Glance, see there
    :param directory: a path where nothing is yet; by default, in the directory of temporary files
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        glance: Glance | None = None,
        threads: Threads = "eventlet",
        defaults: Mapping[str, str] | None = None,
        await_backends: bool = True,
        projects: bool = False,
        property_protections: str = "",
        directory: Path | None = None,
    ) -> None:
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="vmdk-cache-stack-"))
        else:
            directory.mkdir()
        self.directory = directory
        self._await_backends = await_backends
        for name in ("glance", "cinder"):
            (self.directory / name).mkdir()
        self._own_glance: Glance | None = None
        if glance is None:
            glance = self._own_glance = Glance(
                self.directory / "glance",
                projects=projects,
                property_protections=property_protections,
            )
        else:
            assert not projects and not property_protections, "the given Glance has neither"
        self.glance = glance
        self.cinder = Cinder(
            self.directory / "cinder",
            self.glance.url,
            backends,
            threads=threads,
            defaults={**({"auth_strategy": "keystone"} if projects else {}), **(defaults or {})},
        )

    @property
    def client(self) -> CinderClient:
        return self.cinder.client

    def __enter__(self) -> OpenStack:
        try:
            if self._own_glance:
                self._own_glance.prepare()
            self.cinder.start()  # takes the longest; it needs no Glance to boot
            if self._own_glance:
                self._own_glance.start()
            if self._await_backends:
                self.cinder.wait_ready()
            else:
                self.cinder.wait_answering()
        except BaseException as exc:
            exc.add_note(self.logs())
            exc.add_note(f"--- Cinder: where its threads are\n{self.cinder.stacks()}")
            self.close()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything and remove the directory; can be called again."""
        self.cinder.stop()
        if self._own_glance:
            self._own_glance.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def logs(self) -> str:
        """Logs that explain a failure: Cinder's complaints, then the ends of all logs."""
        complaints = self.cinder.log_lines(r" (WARNING|ERROR|CRITICAL) \S+ \[")
        if len(complaints) > 80:  # the first ones name the cause, the last ones only repeat
            complaints = [*complaints[:40], "...", *complaints[-40:]]
        parts = [
            "--- Cinder: warnings and errors, without stack traces",
            *(line[:400] for line in complaints),
        ]
        for log in (self.glance.log, self.cinder.output, self.cinder.log):
            parts += [f"--- {log.name}", tail(log, 30)]
        return "\n".join(parts)
