"""The text of glance-api.conf and cinder.conf for a stack in one directory.

Pure functions: settings in, text out. All paths are below the given directory, all sockets on
loopback.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Wheels of Cinder and Glance install their paste and filter files below the venv's prefix.
ETC = Path(sys.prefix) / "etc"

GLANCE_POLICY = '"context_is_admin": ""\n"default": ""\n"publicize_image": ""\n'
"""Without authentication, no user has a role, so every rule is open."""


@dataclass(frozen=True)
class Backend:
    """A section of ``enabled_backends``.

    :ivar driver: dotted path of the volume driver
    :ivar options: further options of the section, as text; None removes a default of the stack
    """

    name: str
    driver: str
    options: Mapping[str, str | None] = field(default_factory=dict)


def glance_api_conf(directory: Path, *, protects_properties: bool = False) -> str:
    """Glance with a file store and sqlite; paste.ini and policy.yaml define who may do what.

    :param protects_properties: property-protections.conf does so for the properties of images
    """
    protections = f"{directory}/property-protections.conf" if protects_properties else None
    return _render(
        {
            "DEFAULT": {
                "enabled_backends": "fs:file",
                "log_file": f"{directory}/glance.log",
                "property_protection_file": protections,
            },
            "database": {
                "connection": f"sqlite:///{directory}/glance.sqlite",
                "sqlite_synchronous": "false",
            },
            "glance_store": {"default_backend": "fs"},
            "fs": {"filesystem_store_datadir": f"{directory}/images"},
            "os_glance_staging_store": {"filesystem_store_datadir": f"{directory}/staging"},
            "os_glance_tasks_store": {"filesystem_store_datadir": f"{directory}/tasks"},
            # Clouds have images from before Glance compared bytes with disk_format; a flat extent
            # ("preallocated") has no signature.
            "image_format": {"require_image_format_match": "false"},
            "paste_deploy": {"config_file": f"{directory}/paste.ini"},
            "oslo_concurrency": {"lock_path": str(directory)},
            "oslo_policy": {"policy_file": f"{directory}/policy.yaml"},
        }
    )


def cinder_conf(
    directory: Path,
    *,
    api_port: int,
    glance_url: str,
    backends: Sequence[Backend],
    defaults: Mapping[str, str],
) -> str:
    """All of Cinder in one process: no broker, sqlite, auth.py instead of Keystone.

    :param defaults: options of ``[DEFAULT]`` that extend or replace those given here
    """
    default = {
        "host": "lab",
        "state_path": str(directory),
        "log_file": f"{directory}/cinder.log",
        "transport_url": "fake:///",
        "auth_strategy": "noauth",
        "api_paste_config": f"{directory}/api-paste.ini",
        "resource_query_filters_file": f"{ETC}/cinder/resource_filters.json",
        "osapi_volume_listen": "127.0.0.1",
        "osapi_volume_listen_port": str(api_port),
        "glance_api_servers": glance_url,
        "enabled_backends": ",".join(backend.name for backend in backends),
        "default_volume_type": "__DEFAULT__",
        # Service.service_id is a class attribute in Cinder: with several services in one process,
        # only the last one started sends heartbeats, and the others would count as down.
        "service_down_time": "864000",
        "scheduler_driver_init_wait_time": "5",
        "periodic_fuzzy_delay": "0",
        "periodic_interval": "1",
        "backend_stats_polling_interval": "3",
        "backup_driver": "cinder.backup.drivers.posix.PosixBackupDriver",
        "backup_posix_path": f"{directory}/backups",
        "my_ip": "127.0.0.1",
        # "db sync" copies the quotas into the database once.
        **{
            f"quota_{what}": "-1"
            for what in ("volumes", "gigabytes", "snapshots", "backups", "backup_gigabytes")
        },
        **defaults,
    }
    return _render(
        {
            "DEFAULT": default,
            "database": {
                "connection": f"sqlite:///{directory}/cinder.sqlite?timeout=60",
                "sqlite_synchronous": "false",  # this database need not survive a crash
            },
            "oslo_concurrency": {"lock_path": str(directory)},
            "coordination": {"backend_url": f"file://{directory}/coordination"},
            "oslo_messaging_notifications": {"driver": "log"},
            **{
                backend.name: {
                    "volume_driver": backend.driver,
                    "volume_backend_name": backend.name,
                    "vmware_tmp_dir": f"{directory}/vmware",  # upstream's, for backups
                    **backend.options,
                }
                for backend in backends
            },
        }
    )


def _render(sections: Mapping[str, Mapping[str, str | None]]) -> str:
    lines: list[str] = []
    for name, options in sections.items():
        given = {key: value for key, value in options.items() if value is not None}
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in given.items()), ""]
    return "\n".join(lines)
