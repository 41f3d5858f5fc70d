"""Cinder as it is deployed: API, scheduler and a cinder-volume on each of several hosts, in
separate processes, with RabbitMQ, PostgreSQL and a coordinator of locks.

Hosts differ in ``host`` and ``state_path``. Their backends' section is the same, so they share the
templates, like cinder-volume hosts of one vCenter.
"""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.e2e.stack import config
from tests.e2e.stack.client import CinderClient, RequestRefused
from tests.e2e.stack.service_process import ServiceProcess, free_port, tail, wait_until

BOOT_TIMEOUT_S = 180.0
MIGRATION_TIMEOUT_S = 120.0


class CinderHosts:
    """A context manager: ready inside, every process gone after it. Enter it from the main thread.

    :param directory: an existing directory for Cinder alone
    :param hosts: names of the hosts with a cinder-volume
    :param servers: options for broker, database and coordinator, by section
    """

    def __init__(
        self,
        directory: Path,
        *,
        hosts: Sequence[str],
        backend: config.Backend,
        glance_url: str,
        servers: Mapping[str, Mapping[str, str]],
        defaults: Mapping[str, str],
    ) -> None:
        self._directory = directory
        self._backend = backend
        self._changed: dict[str, str] = {}
        self._glance_url = glance_url
        self._servers = servers
        self._defaults = defaults
        self._port = free_port()
        self.client = CinderClient(f"http://127.0.0.1:{self._port}/v3")
        self.volume = {host: self._service("volume", host) for host in hosts}
        self._control = [self._service(name, "control") for name in ("scheduler", "api")]
        self._migration = ServiceProcess(
            "tests.e2e.stack.cinder_service",
            ["manage", *self._configured("control"), "db", "sync"],
            log=directory / "manage.out",
            env={},
        )

    def __enter__(self) -> Self:
        try:
            self._migration.start()
            self._migration.wait(MIGRATION_TIMEOUT_S)
            for one in self._all():
                one.start()
            wait_until(self._is_ready, what="Cinder's hosts", timeout_s=BOOT_TIMEOUT_S)
        except BaseException as failure:
            failure.add_note(self.logs())
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            error.add_note(self.logs())
        self.close()

    def kill(self, host: str) -> None:
        """Send SIGKILL to the cinder-volume of a host and its children, all at once."""
        os.killpg(self.volume[host].pid, signal.SIGKILL)

    def restart(self, host: str) -> None:
        """Start a killed cinder-volume again, without waiting until it serves."""
        self.volume[host].start()

    def change_options(self, host: str, **options: str) -> None:
        """Edit the backend's section in the host's cinder.conf, then send SIGHUP to its
        cinder-volume, whose main process passes it on."""
        self._changed = {**self._changed, **options}
        self._configured(host)
        os.kill(self.volume[host].pid, signal.SIGHUP)

    def terminate(self, host: str) -> None:
        """Send SIGTERM to a cinder-volume; returns at once."""
        os.kill(self.volume[host].pid, signal.SIGTERM)

    def log_lines(self, host: str, text: str) -> list[str]:
        """Lines of its cinder-volume's log that contain ``text``."""
        log = self._directory / host / "cinder.log"
        return [line for line in log.read_text(errors="replace").splitlines() if text in line]

    def close(self) -> None:
        for one in self._all():
            one.stop()

    def logs(self) -> str:
        files = sorted(self._directory.glob("*.out")) + sorted(self._directory.glob("*/*.log"))
        return "\n".join(f"--- {path.name}\n{tail(path, 30)}" for path in files)

    def begun(self, host: str) -> int:
        """Number of volumes from images that its cinder-volume has started to create."""
        log = self._directory / host / "cinder.log"
        return log.read_text(errors="replace").count("being created as image")

    def _all(self) -> list[ServiceProcess]:
        """The cinder-volumes come first: the scheduler waits for the first report."""
        return [*self.volume.values(), *self._control]

    def _service(self, name: str, host: str) -> ServiceProcess:
        return ServiceProcess(
            "tests.e2e.stack.cinder_service",
            [name, *self._configured(host)],
            log=self._directory / f"{name}-{host}.out",
            env={"OS_CINDER_DISABLE_EVENTLET_PATCHING": ""},
        )

    def _configured(self, host: str) -> list[str]:
        """Write a host's configuration; returns the options that name it."""
        home = self._directory / host
        home.mkdir(exist_ok=True)
        backend = dataclasses.replace(
            self._backend, options={**self._backend.options, **self._changed}
        )
        text = config.cinder_conf(
            home,
            api_port=self._port,
            glance_url=self._glance_url,
            backends=[backend],
            defaults={
                "host": host,
                "api_paste_config": f"{config.ETC}/cinder/api-paste.ini",
                "osapi_volume_workers": "1",
                "service_down_time": "30",
                "report_interval": "3",
                "graceful_shutdown_timeout": "5",
                **self._defaults,
            },
        )
        (home / "cinder.conf").write_text(text)
        # The second file's options take precedence.
        servers = "\n".join(
            "\n".join([f"[{section}]", *(f"{key} = {value}" for key, value in options.items())])
            for section, options in self._servers.items()
        )
        (home / "servers.conf").write_text(servers)
        return [
            "--config-file", str(home / "cinder.conf"),
            "--config-file", str(home / "servers.conf"),
        ]  # fmt: skip

    def _is_ready(self) -> bool:
        for one in self._all():
            one.check_alive()
        if not self.client.is_answering():
            return False
        try:
            pools = self.client.pools()
        except RequestRefused as refused:
            if refused.status < 500:
                raise
            return False  # the scheduler does not answer the API yet
        return {pool["name"].partition("@")[0] for pool in pools} >= set(self.volume)
