"""The id of the OpenStack deployment that a cinder.conf belongs to; it distinguishes clouds.

Two clouds may use one vCenter with backends of the same name. Each template's record names the
deployment that made it, so that neither cloud serves, counts or deletes the other's templates.

``image_cache_deployment_id`` sets the id. Without it the id is derived from cinder.conf alone:

    the host name in Keystone's URL, and the region    with Keystone
    the host names of glance_api_servers               without Keystone
    nothing                                            if neither is set; the id is then the same

These are the same on every host of a cloud and do not change with restarts, upgrades, ports,
protocols and passwords. Names of the local host do not distinguish clouds and are not used. The id
contains no secret, because every account that can read vCenter can see it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from urllib.parse import urlsplit

from oslo_config import cfg

from vmdk_cache import errors

#: Prefix of a derived id.
DERIVED = "auto-"
#: (section, option) of Keystone's URL, and of the region; the first that is set counts.
_KEYSTONE = (
    ("keystone_authtoken", "auth_url"),
    ("keystone_authtoken", "www_authenticate_uri"),
    ("service_user", "auth_url"),
    ("nova", "auth_url"),
    ("glance", "auth_url"),
)
_REGION = (
    ("keystone_authtoken", "region_name"),
    ("service_user", "region_name"),
    ("nova", "region_name"),
    ("glance", "region_name"),
)
_LOCAL = ("localhost", "localhost.localdomain", "::1")


def derived_id(files: Sequence[str], directories: Sequence[str] = ()) -> str:
    """Derive the id of the deployment whose services read these files, in this order.

    :param files: absolute or relative paths, as given to ``--config-file``
    :param directories: as given to ``--config-dir``
    :raises ConfigError: a file or a value cannot be read
    """
    try:
        parts = _distinctive(_read(files, directories))
    except (cfg.Error, OSError, UnicodeDecodeError, SystemExit) as failure:
        # Messages of oslo.config may quote a line, and with it a secret.
        raise errors.ConfigError(
            f"cannot derive the deployment's id from cinder.conf ({type(failure).__name__}): set "
            "image_cache_deployment_id"
        ) from None
    return DERIVED + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _read(files: Sequence[str], directories: Sequence[str]) -> cfg.ConfigOpts:
    options = cfg.ConfigOpts()
    options.register_opts([cfg.ListOpt("glance_api_servers", default=[])])
    for section, option in (*_KEYSTONE, *_REGION):
        options.register_opts([cfg.StrOpt(option, default="")], group=section)
    arguments = [f"--config-file={path}" for path in files]
    arguments += [f"--config-dir={path}" for path in directories]
    # Empty defaults: otherwise oslo.config searches for files itself.
    options(arguments, default_config_files=[], default_config_dirs=[])
    return options


def _distinctive(options: cfg.ConfigOpts) -> list[str]:
    keystone = next(filter(None, (_host(options[at][name]) for at, name in _KEYSTONE)), "")
    if keystone:
        return ["keystone", keystone, _region(options)]
    glance = sorted({host for server in options.glance_api_servers if (host := _host(server))})
    return ["glance", *glance]


def configured_region(files: Sequence[str], directories: Sequence[str] = ()) -> str:
    """The region set in these files, '' if none is set or they cannot be read."""
    try:
        return _region(_read(files, directories))
    except (cfg.Error, OSError, UnicodeDecodeError, SystemExit):
        return ""


def _region(options: cfg.ConfigOpts) -> str:
    return next(filter(None, (options[at][name] for at, name in _REGION)), "")


def _host(url: str) -> str:
    """The host name in a URL, in lower case; '' if there is none, or it means the local host."""
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""
    return "" if host in _LOCAL or host.startswith("127.") else host
