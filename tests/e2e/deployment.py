"""Cinder with a process for each service, a broker and a database, as deployed, on a fake vCenter.

cloud.py runs all of Cinder in one process, which starts much faster.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.cloud import HOST_MANAGER, OUR_DRIVER, vcenter_options
from tests.e2e.stack.cinder_hosts import CinderHosts
from tests.e2e.stack.config import Backend
from tests.e2e.stack.glance import Glance
from tests.fakes.vcenter import VCenter
from tests.services.postgresql import PostgreSQL
from tests.services.rabbitmq import RabbitMQ


@dataclass(frozen=True)
class Deployment:
    """The running parts."""

    vcenter: VCenter
    glance: Glance
    cinder: CinderHosts


@contextlib.contextmanager
def deployment(
    directory: Path,
    vcenter: VCenter,
    glance: Glance,
    *,
    hosts: Sequence[str],
    options: Mapping[str, str],
    coordination_url: str | None = None,
    defaults: Mapping[str, str] | None = None,
) -> Iterator[Deployment]:
    """A running deployment; enter it from the main thread.

    :param directory: an existing directory, Cinder's alone
    :param vcenter: a running one; it must have no error of its own at the end
    :param glance: a running one
    :param hosts: names of the hosts that run a cinder-volume, each with the backend ``vmware``
    :param options: of the backend, in addition to those that connect it to the fake vCenter
    :param coordination_url: of the coordinator of locks; by default, each host has its own files
    :param defaults: options of Cinder's ``[DEFAULT]``
    """
    with PostgreSQL() as database, RabbitMQ() as broker:
        servers = {
            "DEFAULT": {"transport_url": broker.url},
            "database": {"connection": database.url},
        }
        if coordination_url is not None:
            servers["coordination"] = {"backend_url": coordination_url}
        with CinderHosts(
            directory,
            hosts=hosts,
            backend=Backend("vmware", OUR_DRIVER, {**vcenter_options(vcenter), **options}),
            glance_url=glance.url,
            servers=servers,
            defaults={"scheduler_host_manager": HOST_MANAGER, **(defaults or {})},
        ) as cinder:
            yield Deployment(vcenter, glance, cinder)
        assert vcenter.errors == []
