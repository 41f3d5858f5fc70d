"""Which OpenStack deployment a cinder.conf belongs to: an id that tells clouds apart.

Two clouds may use one vCenter with backends of the same name. Each template's record names the
deployment that made it, so that neither cloud serves, counts or deletes the other's templates.

``image_cache_deployment_id`` sets the id. Without it the id is derived from cinder.conf alone:

    the host name in Keystone's URL, and the region    where Keystone is in use
    the host names of glance_api_servers               else
    nothing                                            else; all such clouds have the same id

These are the same on every host of a cloud and survive restarts, upgrades, and changes of ports,
protocols and passwords. A name of the local host tells no clouds apart and is not used. Nothing
secret goes into the id, for every account that reads vCenter can see it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit

from oslo_config import cfg

from vmdk_cache import errors

#: What a derived id begins with.
DERIVED = "auto-"
#: (section, option) of Keystone's URL, and of the region: the first that is set counts.
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
    """The id of the deployment whose services read these files, in this order.

    :param files: absolute or relative paths, as given to ``--config-file``
    :param directories: as given to ``--config-dir``
    :raises ConfigError: a file or a value cannot be read
    """
    try:
        options = _read(files, directories)
        parts = _distinctive(
            lambda section, option: options[section][option] or "",
            options.glance_api_servers or (),
        )
    except (cfg.Error, OSError, UnicodeDecodeError, SystemExit) as failure:
        # The texts of oslo.config may quote a line, and so a secret.
        raise errors.ConfigError(
            f"the deployment's id cannot be derived from cinder.conf ({type(failure).__name__}): "
            f"set image_cache_deployment_id"
        ) from None
    return DERIVED + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _read(files: Sequence[str], directories: Sequence[str]) -> cfg.ConfigOpts:
    options = cfg.ConfigOpts()
    options.register_opts([cfg.ListOpt("glance_api_servers")])
    for section, option in (*_KEYSTONE, *_REGION):
        options.register_opts([cfg.StrOpt(option)], group=section)
    arguments = [f"--config-file={path}" for path in files]
    arguments += [f"--config-dir={path}" for path in directories]
    # Empty defaults: else oslo.config would look for files of its own choice.
    options(arguments, default_config_files=[], default_config_dirs=[])
    return options


def _distinctive(value: Callable[[str, str], str], glance_servers: Iterable[str]) -> list[str]:
    keystone = next(filter(None, (_host(value(*at)) for at in _KEYSTONE)), "")
    if keystone:
        return ["keystone", keystone, _region(value)]
    glance = sorted({host for server in glance_servers if (host := _host(server))})
    return ["glance", *glance]


def configured_region(files: Sequence[str], directories: Sequence[str] = ()) -> str:
    """The region that these files name, '' if they name none or cannot be read."""
    try:
        options = _read(files, directories)
        return _region(lambda section, option: options[section][option] or "")
    except (cfg.Error, OSError, UnicodeDecodeError, SystemExit):
        return ""


def _region(value: Callable[[str, str], str]) -> str:
    return next(filter(None, (value(*at) for at in _REGION)), "")


def _host(url: str) -> str:
    """The host name in a URL, in lower case; '' if there is none, or it is that of any host."""
    try:
        host = urlsplit(url if "//" in url else f"//{url}").hostname or ""
    except ValueError:
        return ""
    return "" if host in _LOCAL or host.startswith("127.") else host
