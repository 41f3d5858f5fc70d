"""Process entry: Cinder's API, scheduler, volume and backup services in one process.

    python -m tests.e2e.stack.cinder_process eventlet|threading --config-file cinder.conf

Everything is Cinder's own code, started as by its console scripts. Only the launchers that would
fork are left out, since the in-memory transport ``fake://`` does not span processes.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

# First of all: this chooses green or native threads for everything that is imported later.
from tests.e2e.stack import concurrency

if __name__ == "__main__":
    concurrency.choose(sys.argv[1])

import os_brick
import os_brick.privileged
import sqlalchemy.engine
from cinder import i18n

i18n.enable_lazy()
from cinder import coordination, objects, rpc, service, utils, version  # noqa: E402
from cinder.common import config, constants  # noqa: E402
from cinder.db import migration  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_log import log as logging  # noqa: E402
from oslo_privsep import priv_context  # noqa: E402
from oslo_reports import guru_meditation_report as gmr  # noqa: E402
from oslo_reports import opts as gmr_opts  # noqa: E402
from sqlalchemy import event  # noqa: E402

from tests.e2e.stack.service_process import end_with_parent  # noqa: E402

CONF = cfg.CONF
START_WITHIN_S = 20.0


def main(arguments: list[str]) -> None:
    """Serve until a signal ends the process."""
    configure(arguments)
    # As in Cinder's console scripts: on SIGUSR2 it prints the stack of every thread.
    gmr.TextGuruMeditation.setup_autorun(version, conf=CONF)
    start_services()
    if concurrency.is_green():
        import eventlet

        service.WSGIService("osapi_volume").start()
        while True:
            eventlet.sleep(3600)
    serve_api_on_threads()


def configure(arguments: list[str]) -> None:
    """Options, logging, privileges, database."""
    objects.register_all()
    gmr_opts.set_defaults(CONF)
    CONF(arguments, project="cinder", version=version.version_string())
    config.set_middleware_defaults()
    os_brick.setup(CONF)
    # Nothing here needs root: run os-brick's calls in this process, not in a daemon under sudo.
    for privileges in vars(os_brick.privileged).values():
        if isinstance(privileges, priv_context.PrivContext):
            privileges.set_client_mode(False)
    if not concurrency.is_green():
        begin_immediately()
    migration.db_sync()
    logging.setup(CONF, "cinder")  # after alembic, which resets the logging setup
    rpc.init(CONF)


def begin_immediately() -> None:
    """Make sqlite lock the database when a transaction begins, not when it first writes.

    oslo.db emits a plain BEGIN; with native threads two transactions that both read and then write
    fail with "database is locked", whatever the timeout.
    """

    @event.listens_for(sqlalchemy.engine.Engine, "before_cursor_execute", retval=True)
    def _lock_first(
        conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> tuple[str, Any]:
        return ("BEGIN IMMEDIATE" if statement == "BEGIN" else statement), parameters


def start_services() -> None:
    """Start the cinder-volumes first: the scheduler waits for the first report of every backend."""
    services = []
    for name in CONF.enabled_backends:
        CONF.register_opt(cfg.StrOpt("backend_host"), group=name)
        services.append(
            service.Service.create(
                host=f"{CONF.host}@{name}",
                service_name=name,
                binary=constants.VOLUME_BINARY,
                coordination=True,
            )
        )
    services.append(
        service.Service.create(
            binary=constants.BACKUP_BINARY,
            coordination=True,
            service_name="backup",
            process_number=1,
            semaphore=utils.semaphore_factory(15, 1),
        )
    )
    services.append(service.Service.create(binary=constants.SCHEDULER_BINARY))
    for one in services:
        start(one)
    coordination.COORDINATOR.start()


def start(one: Any) -> None:
    """Start a service; continue without it if it takes long.

    The driver of a backend retries forever if its vCenter cannot be reached. In a real deployment
    each service has its own process, so that delays no other.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            one.start()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(START_WITHIN_S)
    if failures:
        raise failures[0]


def serve_api_on_threads() -> None:
    """cinder-api's own server needs eventlet; on native threads another WSGI server runs it."""
    import waitress
    from oslo_service import wsgi

    waitress.serve(
        wsgi.Loader(CONF).load_app(name="osapi_volume"),
        host=CONF.osapi_volume_listen,
        port=CONF.osapi_volume_listen_port,
        threads=32,
    )


if __name__ == "__main__":
    end_with_parent()
    main(sys.argv[2:])
