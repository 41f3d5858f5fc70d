"""``vmdk-cache preflight``: checks what the cache requires of vCenter and the account."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib.metadata
import os
import platform
import socket
import stat
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import command, exit_code
from vmdk_cache.cli.columns import Lines, Seconds, machine_readable
from vmdk_cache.quoting import sentence

if TYPE_CHECKING:
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.locks import Locks
    from vmdk_cache.preflight.live_target import LiveTarget
    from vmdk_cache.preflight.probe import Result
    from vmdk_cache.preflight.target import Surroundings, Target

COLUMNS = ("Backend", "Probe", "Object", "Result", "Seen", "What To Do", "Seconds")
#: Of the table that people read, whose last column needs the width of the terminal.
_READABLE = ("Backend", "Probe", "Result", "Seen, What To Do")
#: A probe that takes longer is announced on stderr.
_PATIENCE_S = 2.0
_CONNECT_TIMEOUT_S = 10
#: Packages whose versions the report states.
_PACKAGES = ("vmdk-cache", "pyvmomi", "oslo.config", "tooz")


class Preflight(command.Lister):
    """Check vCenter, the account and the configuration before you enable the cache.

    Changes nothing without --live. Each row is one requirement of the cache: ok, warning, failed,
    or not tried, with what was seen and what to do. The exit code is 0 if nothing failed.
    """

    columns = COLUMNS

    #: For each request, because most probes send a few.
    default_timeout_s = 30.0
    _report: _Report | None = None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--live",
            action="store_true",
            help="also import, clone, copy, move and delete a generated 8 MiB disk in the cache's "
            "own folder, leaving nothing behind. Runs only if no probe failed",
        )
        parser.add_argument(
            "--report",
            metavar="FILE",
            help="also write a JSON file to attach to a bug report: versions, results, and the "
            "SOAP messages of --live, with host names, user names, addresses, tokens and passwords "
            "removed. One backend only",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        rows: list[list[Any]] = []
        backends = self._backends()
        if parsed_args.report is not None:
            if len(backends) > 1:
                raise command.UsageError("argument --report: select one backend with --backend")
            self._report = _Report(parsed_args.report)
            self._opened.callback(self._write_report, self._report, rows)
        for configured in backends:
            with self.reporting(f"backend {configured.name}"):
                target = self._target(configured, self.timeout_s)
                results = self._results(configured, target, live=parsed_args.live)
                with contextlib.closing(results):
                    for result in results:
                        rows.append(_row(configured.name, result))
                        self._count(configured.name, result)
        if not self.is_for_people(parsed_args):
            return COLUMNS, rows
        first = 0 if len(backends) > 1 else 1
        shown = [_readable(row)[first:] for row in rows]
        last = _READABLE[-1]
        how = {"flexible": {last: 30}, "wrapped": [last]}
        return self.fitted(parsed_args, _READABLE[first:], shown, **how)

    def _write_report(self, report: _Report, rows: list[list[Any]]) -> None:
        try:
            report.write(
                [dict(zip(COLUMNS, map(machine_readable, row), strict=True)) for row in rows]
            )
        except OSError as failure:
            self.tell(f"argument --report: cannot write the report: {sentence(failure)}")
            self.fail()

    def _backends(self) -> tuple[BackendConfiguration, ...]:
        """The selected backends. If the configuration is invalid, misspelt option names are
        printed too, because they may be the reason."""
        from vmdk_cache.cli.configuration import KNOWN_OPTIONS, option_names
        from vmdk_cache.preflight.configuration import strange_options

        try:
            return self.configuration.backends
        except errors.ConfigError:
            options: Any = self.app_args
            sections = option_names(options.config_file, options.config_dir)
            lines = [
                f"{found.seen}: {found.to_do}"
                for section in options.backend or sections
                for found in strange_options(section, sections, KNOWN_OPTIONS)
            ]
            for line in dict.fromkeys(lines):
                self.tell(line)
            raise

    def _target(self, configured: BackendConfiguration, timeout_s: float) -> Target:
        from vmdk_cache.clock import SystemClock
        from vmdk_cache.preflight.target import Target

        endpoint = dataclasses.replace(
            configured.backend.endpoint,
            connect_timeout_s=min(timeout_s, _CONNECT_TIMEOUT_S),
            read_timeout_s=timeout_s,
            api_retry_count=1,
        )
        backend = dataclasses.replace(configured.backend, endpoint=endpoint)
        around = self._surroundings(configured, timeout_s)
        made = Target(backend, configured.settings, around, SystemClock())
        if self._report is not None:
            self._report.target = made
        return self._opened.enter_context(made)

    def _surroundings(self, configured: BackendConfiguration, timeout_s: float) -> Surroundings:
        from vmdk_cache.cli import cinder_api, glance
        from vmdk_cache.cli.configuration import KNOWN_OPTIONS, option_names
        from vmdk_cache.preflight.target import Surroundings

        options: Any = self.configuration.options
        return Surroundings(
            sections=option_names(options.config_file or (), options.config_dir or ()),
            known_options=KNOWN_OPTIONS,
            coordination_url=self.configuration.coordination_url,
            locks=lambda: self._briefly(configured),
            workers=self.configuration.workers,
            storage_profiles=configured.storage_profiles,
            ledger_path=configured.ledger_path,
            images=lambda: glance.connect(options, os.environ, timeout_s),
            host_name=socket.gethostname(),
            scheduling=self.configuration.scheduling(
                configured.name, lambda: cinder_api.connect(options, os.environ, timeout_s)
            ),
        )

    @contextlib.contextmanager
    def _briefly(self, configured: BackendConfiguration) -> Iterator[Locks]:
        """The backend's locks, from a coordinator that is closed after the block."""
        with self.configuration.locks() as locks:
            yield locks(configured)

    def _results(
        self, configured: BackendConfiguration, target: Target, *, live: bool
    ) -> Generator[Result, None, None]:
        from vmdk_cache.preflight import probe
        from vmdk_cache.preflight.checklist import READ_ONLY
        from vmdk_cache.preflight.live import LIVE, obstacle

        with self._word() as say_if_late:

            def started(name: str) -> None:
                say_if_late(
                    f"backend {configured.name}: {name} is still running; --timeout limits the "
                    "wait for each response"
                )

            has_failed = False
            for result in probe.run(READ_ONLY, target, target.clock, started):
                has_failed |= result.finding.status is probe.Status.FAILED
                yield result
            if self._report is not None:
                self._report.product = target.product
            if not live:
                return
            reason = obstacle(target, has_failed=has_failed)
            if reason is not None:
                yield from probe.none_of(LIVE, reason)
                return
            if target.missing_privileges:  # reported before anything changes; the table comes later
                self.tell(
                    f"backend {configured.name}: the account lacks "
                    f"{', '.join(sorted(target.missing_privileges))}; --live skips the steps that "
                    "need them"
                )
            try:
                with self._live(configured, target, say_if_late) as made:
                    yield from probe.run(LIVE, made, target.clock, started)
            except errors.LockTimeout:
                yield from probe.none_of(LIVE, "another live run of this backend is in progress")

    @contextlib.contextmanager
    def _live(
        self,
        configured: BackendConfiguration,
        target: Target,
        say_if_late: Callable[[str], None],
    ) -> Iterator[LiveTarget]:
        """Yield the target of a live run; everything it created is removed at the end."""
        from vmdk_cache import wiring
        from vmdk_cache.cache import events
        from vmdk_cache.preflight.live_target import SETTINGS, LiveNames, LiveTarget, live_backend

        listener = None if self._report is None else self._report.exchanges
        backend = live_backend(target.backend, listener)
        locks = self._locks(dataclasses.replace(configured, backend=backend))
        names, adapter = LiveNames.new(target.surroundings.host_name), configured.adapter_type
        with (
            locks.hold("live", 0),
            contextlib.closing(wiring.build(SETTINGS, backend, locks, events=events.log)) as cache,
            LiveTarget(target, cache, names, adapter) as made,
        ):
            try:
                yield made
            except KeyboardInterrupt:
                removes = f"backend {configured.name}: removing what this run created"
                self.tell(removes)
                say_if_late(f"{removes}, still running")
                raise

    @contextlib.contextmanager
    def _word(self) -> Iterator[Any]:
        """Yield a function to call with a text when a step starts. The text is printed on stderr if
        the next step does not start soon."""
        timers: list[threading.Timer] = []

        def say_if_late(text: str) -> None:
            while timers:
                timers.pop().cancel()
            timers.append(threading.Timer(_PATIENCE_S, self.tell, [text]))
            timers[0].daemon = True
            timers[0].start()

        try:
            yield say_if_late
        finally:
            while timers:
                timers.pop().cancel()

    def _count(self, backend: str, result: Result) -> None:
        """Raise the exit code for a failure; one that makes the rest pointless is also printed on
        stderr."""
        from vmdk_cache.preflight.probe import Status

        failure = result.finding.failure
        if failure is not None and exit_code.of(failure) >= exit_code.CONFIGURATION:
            self.report(failure, f"backend {backend}: {result.probe}")
        elif failure is not None or result.finding.status is Status.FAILED:
            self.fail()


class _Report:
    """The file of ``--report``, readable only by its owner (mode 0600): opened before the first
    request, written last.

    :raises UsageError: the file cannot be opened for writing
    :ivar exchanges: records each SOAP request of the live run
    :ivar target: the target of the probes; None until it is known
    :ivar product: vCenter's product name; '' until the log-in
    """

    def __init__(self, path: str) -> None:
        from vmdk_cache.preflight.report import Exchanges

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

    def write(self, results: list[dict[str, Any]]) -> None:
        """Write the report; call it once.

        :param results: rows of the checklist
        :raises OSError: the file cannot be written
        """
        from vmdk_cache.preflight.redaction import Redaction
        from vmdk_cache.preflight.report import report

        target = self.target
        redaction = Redaction(
            [] if target is None else target.machines(),
            [] if target is None else [target.backend.endpoint.user],
        )
        versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
        versions |= {"python": platform.python_version(), "system": platform.platform()}
        with self._file:
            self._file.write(report(versions, self.product, results, self.exchanges, redaction))


def _row(backend: str, result: Result) -> list[Any]:
    found = result.finding
    return [
        backend,
        result.probe,
        found.subject,
        found.status.value,
        found.seen,
        found.to_do,
        Seconds(result.seconds),
    ]


def _readable(row: list[Any]) -> list[Any]:
    backend, probe, subject, result, seen, to_do, _ = row
    lines = [f"{subject}: {seen}" if subject else seen, *([f"To do: {to_do}"] if to_do else [])]
    return [backend, probe, result, Lines(lines)]
