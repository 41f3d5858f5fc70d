"""``vmdk-cache exporter``: metrics of the caches, for Prometheus, and a status page.

    vmdk_cache/cli/metrics.py          the table of all metrics, and their values
    vmdk_cache/cli/scraper.py          one scrape: looks at each vCenter, reads the ledgers
    vmdk_cache/cli/status_page.py      the page at /
    vmdk_cache/cli/metrics_server.py   HTTP

The exporter is read-only in vCenter and in the ledger, and runs until SIGTERM, SIGHUP or Ctrl-C. An
unreachable vCenter shows up as a metric; the exporter starts and runs without it.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import platform
import signal
import threading
import time
from typing import TYPE_CHECKING

import vmdk_cache
from vmdk_cache.cli import command, exit_code
from vmdk_cache.quoting import quoted

if TYPE_CHECKING:
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.cli.metrics_server import Page
    from vmdk_cache.cli.scraper import Observer, Scraper
    from vmdk_cache.locks import Locks
    from vmdk_cache.wiring import RunningCache

#: The port is neither in Prometheus's list of exporters nor one of Linux's ephemeral ports (32768
#: and up).
LISTEN = ("127.0.0.1", 19273)
#: How long the pages wait for vCenter; a first log-in takes seconds.
PAGE_WITHIN_S = 5.0
#: Time limit for the log-out; vCenter ends an idle session by itself.
CLOSED_WITHIN_S = 5.0


class Exporter(command.Command):
    """Serve metrics of the image caches to Prometheus, and a status page, until terminated.

    The metrics are at /metrics, a status page at /, and /healthz answers 200, or 503 if a vCenter
    does not answer or a ledger cannot be read. They contain names of backends, datastores and
    templates, and no secrets. Everyone who can reach the address can read them; by default that
    is only this host.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--listen",
            type=_address,
            default=LISTEN,
            metavar="HOST:PORT",
            help=f"address to listen on (default: {LISTEN[0]}:{LISTEN[1]}); [ADDRESS]:PORT for "
            "IPv6, port 0 for any free port",
        )
        parser.add_argument(
            "--tls-cert",
            metavar="FILE",
            help="PEM file of a certificate with its chain; enables HTTPS",
        )
        parser.add_argument(
            "--tls-key",
            metavar="FILE",
            help="PEM file of the certificate's private key (default: in the file of --tls-cert)",
        )
        parser.add_argument(
            "--tls-client-ca",
            metavar="FILE",
            help="PEM file of CA certificates; only clients with a certificate from one of them "
            "are served",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from vmdk_cache.cli.metrics_server import MetricsServer, tls_context
        from vmdk_cache.cli.scraper import Observer, Scrape, Scraper
        from vmdk_cache.clock import SystemClock

        clock = SystemClock()
        tls = None
        if parsed_args.tls_cert:
            tls = tls_context(parsed_args.tls_cert, parsed_args.tls_key, parsed_args.tls_client_ca)
        elif parsed_args.tls_key or parsed_args.tls_client_ca:
            raise command.UsageError("argument --tls-cert: HTTPS requires a certificate")
        observed = [
            (each, Observer(each.name, functools.partial(_connect, each, self._locks(each)), clock))
            for each in self.configuration.backends
        ]
        scraper = Scraper(observed, vmdk_cache.__version__, clock)
        host, port = parsed_args.listen
        pages = {
            "/": functools.partial(_status, scraper),
            "/healthz": functools.partial(_health, scraper),
        }
        server = MetricsServer(host, port, functools.partial(Scrape, scraper), tls, pages)
        try:
            server.start()
            names = ", ".join(configured.name for configured, _ in observed)
            self.tell(f"serving metrics of {names} at {server.url}")
            while True:  # a signal that arrives just before a wait does not end it
                time.sleep(1)
        except KeyboardInterrupt:  # also SIGTERM and SIGHUP (vmdk_cache/cli/main.py)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        finally:
            server.stop()
            _close([observer for _, observer in observed])
        return exit_code.OK


def _status(scraper: Scraper) -> Page:
    """The page at /; costs vCenter what a scrape does."""
    from vmdk_cache.cli.metrics_server import Page
    from vmdk_cache.cli.status_page import DAYS, POLICY, status_page

    measured = scraper.measure(PAGE_WITHIN_S)
    now = datetime.datetime.now(datetime.UTC)
    days = scraper.daily(now.date() - datetime.timedelta(days=DAYS - 1))
    purges = scraper.last_purges()
    text = status_page(measured, days, purges, now, vmdk_cache.__version__, platform.node())
    return Page(text, content_type="text/html; charset=utf-8", policy=POLICY)


def _health(scraper: Scraper) -> Page:
    """The answer at /healthz: a line for each backend."""
    from vmdk_cache.cli.metrics_server import Page
    from vmdk_cache.cli.status_page import problems

    found = {each.backend: problems(each) for each in scraper.measure(PAGE_WITHIN_S)}
    lines = [f"{name}: {'; '.join(wrong) or 'ok'}\n" for name, wrong in found.items()]
    status = "503 Service Unavailable" if any(found.values()) else "200 OK"
    return Page("".join(lines), status)


def _connect(configured: BackendConfiguration, locks: Locks) -> RunningCache:
    """:param locks: not taken by the exporter"""
    # Imported here, so that the exporter serves soon after its start.
    from vmdk_cache import wiring
    from vmdk_cache.cache import events

    return wiring.build(configured.settings, configured.backend, locks, events=events.log)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)}: write an IPv6 address in brackets, [::1]:9000"
        )
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not HOST:PORT, e.g. {LISTEN[0]}:{LISTEN[1]}"
        )
    return host, int(port)


def _close(observers: list[Observer]) -> None:
    """Log out of all vCenters concurrently, without waiting for one that does not answer."""
    closing = [threading.Thread(target=each.close, daemon=True) for each in observers]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join(CLOSED_WITHIN_S)
