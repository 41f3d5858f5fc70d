"""All of Cinder in one process: boots it, waits until it is ready, reads its log."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from tests.e2e.stack import auth, config
from tests.e2e.stack.client import CinderClient
from tests.e2e.stack.service_process import ServiceProcess, free_port, wait_until

Threads = Literal["eventlet", "threading"]

BOOT_TIMEOUT_S = 180.0


class Cinder:
    """Life: :meth:`start`, :meth:`wait_ready`, use, :meth:`stop`.

    :param directory: an existing directory for Cinder alone
    :param threads: green threads or native ones
    :param defaults: options of ``[DEFAULT]``
    """

    def __init__(
        self,
        directory: Path,
        glance_url: str,
        backends: Sequence[config.Backend],
        *,
        threads: Threads = "eventlet",
        defaults: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.log = directory / "cinder.log"
        self.output = directory / "cinder.out"
        self.backends = [backend.name for backend in backends]
        self.client = CinderClient(
            f"http://127.0.0.1:{self.port}/v3", database=directory / "cinder.sqlite"
        )
        self._directory = directory
        self._glance_url = glance_url
        self._defaults = defaults or {}
        self._configure(backends)
        shipped = (config.ETC / "cinder" / "api-paste.ini").read_text()
        (directory / "api-paste.ini").write_text(auth.cinder_paste_ini(shipped))
        self._process = ServiceProcess(
            "tests.e2e.stack.cinder_process",
            [threads, "--config-file", str(self.config_file)],
            log=self.output,
            # Cinder lets this variable override the choice, which is in the arguments.
            env={"OS_CINDER_DISABLE_EVENTLET_PATCHING": ""},
        )

    def start(self) -> None:
        """Start to boot; returns at once."""
        self._process.start()

    def wait_ready(self) -> None:
        """Wait until the API answers and the scheduler knows every backend."""
        wait_until(self._is_ready, what="Cinder's backends", timeout_s=BOOT_TIMEOUT_S)

    def wait_answering(self) -> None:
        """Wait until the API answers, whether or not the backends came up."""
        wait_until(self._answers, what="Cinder's API", timeout_s=BOOT_TIMEOUT_S)

    def stop(self) -> None:
        self._process.stop()

    @property
    def config_file(self) -> Path:
        """The path of cinder.conf."""
        return self._directory / "cinder.conf"

    def restart_with(
        self, backends: Sequence[config.Backend], defaults: Mapping[str, str] | None = None
    ) -> None:
        """Stop, write these backends into cinder.conf, start, and wait until they are up.

        :param defaults: options of ``[DEFAULT]`` from now on; None keeps the present ones
        """
        self.stop()
        self._defaults = self._defaults if defaults is None else defaults
        self._configure(backends)
        self.start()
        self.wait_ready()

    def _configure(self, backends: Sequence[config.Backend]) -> None:
        self.config_file.write_text(
            config.cinder_conf(
                self._directory,
                api_port=self.port,
                glance_url=self._glance_url,
                backends=backends,
                defaults=self._defaults,
            )
        )

    def stacks(self) -> str:
        """The stack of each of Cinder's threads, including green ones."""
        return self._process.stacks()

    def log_lines(self, pattern: str = "") -> list[str]:
        """Lines of Cinder's log that contain a match of ``pattern``."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if re.search(pattern, line)]

    def _answers(self) -> bool:
        self._process.check_alive()
        return self.client.is_answering()

    def _is_ready(self) -> bool:
        if not self._answers():
            return False
        known = {pool["name"].partition("@")[2].partition("#")[0] for pool in self.client.pools()}
        return known >= set(self.backends)
