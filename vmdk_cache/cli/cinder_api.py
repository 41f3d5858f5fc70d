"""Reads volumes and volume types from Cinder's API as an administrator; needs no installed Cinder.

Every failure raises SourceUnavailable, and the caller does without. A volume counts as missing only
if the list is certain to be complete: read by a user with the admin role, from the Cinder of this
region, page by page until an empty one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ksa_exc
from oslo_config import cfg

from vmdk_cache.cli.identity import Identity, identity
from vmdk_cache.deployment import configured_region
from vmdk_cache.errors import ConfigError, SourceUnavailable
from vmdk_cache.patience import Patience
from vmdk_cache.periodic.orphaned_backings import KnownVolumes
from vmdk_cache.quoting import sentence

_PAGE_SIZE = 1000
#: Cinder treats an extra spec with and without this scope alike.
_SCOPE = "capabilities:"
_PROJECT = "os-vol-tenant-attr:tenant_id"
#: The id of the volume's VM if the volume has been migrated; otherwise null.
_NAME_ID = "os-vol-mig-status-attr:name_id"


def connect(
    options: cfg.ConfigOpts,
    environ: Mapping[str, str],
    timeout_s: float,
    patience: Callable[[str], Patience] | None = None,
) -> Cinder:
    """Return a client of the Cinder API in the service catalog; sends no request yet.

    :param options: oslo.config's object, with the parsed cinder.conf
    :param environ: :data:`os.environ`
    :param patience: with each server, by its URL
    :raises ConfigError: no credentials are configured, or there is no Keystone
    """
    asking = identity(options, environ, patience)
    if asking.source is None:
        raise ConfigError("without Keystone there is no service catalog to find Cinder's API in")
    asking.session.timeout = timeout_s
    region = environ.get("OS_REGION_NAME") or configured_region(
        options.config_file or (), options.config_dir or ()
    )
    return Cinder(asking, region or None)


class Cinder:
    """Volumes and volume types of all projects; see ``preflight.scheduling.Volumes`` and
    ``periodic.orphaned_backings.Volumes``.

    :param region: region of the endpoints, None if the cloud has only one
    """

    def __init__(self, asking: Identity, region: str | None = None) -> None:
        self._asking = asking
        self._region = region
        common: dict[str, Any] = {
            "session": asking.session,
            "auth": asking.plugin,
            "interface": "public",
            "region_name": region,
        }
        self._api = adapter.Adapter(service_type="block-storage", **common)
        self._keystone = adapter.Adapter(service_type="identity", version="3", **common)

    def pools(self, backend: str) -> Mapping[str, int]:
        """See the protocol; sends one request per thousand volumes."""
        found: Counter[str] = Counter()
        for volume in self._listed("volumes", "/volumes/detail?all_tenants=1"):
            host = str(volume.get("os-vol-host-attr:host") or "")
            service, _, pool = host.partition("#")
            if pool and service.partition("@")[2] == backend:
                found[pool] += 1
        return found

    def known(self) -> KnownVolumes:
        """See the protocol; sends one request per thousand volumes."""
        self._check_that_all_is_listed()
        ids, projects = set(), set()
        for volume in self._listed("volumes", "/volumes/detail?all_tenants=1"):
            if _NAME_ID not in volume or _PROJECT not in volume:
                raise SourceUnavailable(
                    f"Cinder's API does not show {_NAME_ID} and {_PROJECT} of volumes to this user"
                )
            ids |= {str(volume["id"]).lower(), str(volume[_NAME_ID] or volume["id"]).lower()}
            projects.add(str(volume[_PROJECT]))
        return KnownVolumes(frozenset(ids), frozenset(projects))

    def has_project(self, project_id: str) -> bool:
        """See the protocol."""
        try:
            self._keystone.get(f"/projects/{quote(project_id, safe='')}")
        except ksa_exc.NotFound:
            return False
        except (ksa_exc.ClientException, OSError) as failure:
            raise SourceUnavailable(
                f"cannot look up a project in Keystone: {sentence(failure)}"
            ) from failure
        return True

    def _check_that_all_is_listed(self) -> None:
        """:raises SourceUnavailable: this user may see only some of the volumes"""
        try:
            is_admin = self._asking.sees_every_image()
            access = self._asking.plugin.get_access(self._asking.session)  # type: ignore[attr-defined]
            found = access.service_catalog.get_endpoints_data(
                service_type="block-storage", interface="public"
            )
        except (ksa_exc.ClientException, OSError, AttributeError) as failure:
            raise SourceUnavailable(
                f"the request to Keystone failed: {sentence(failure)}"
            ) from failure
        if not is_admin:
            raise SourceUnavailable(
                "listing the volumes of all projects requires the admin role in Cinder"
            )
        regions = {each.region_name for endpoints in found.values() for each in endpoints}
        if self._region is None and len(regions) > 1:
            raise SourceUnavailable(
                f"the service catalog lists Cinder in {len(regions)} regions: set OS_REGION_NAME"
            )

    def backend_names_of_types(self) -> Mapping[str, str]:
        """See the protocol."""
        names = {}
        for found in self._listed("volume_types", "/types?is_public=None"):
            for key, value in (found.get("extra_specs") or {}).items():
                if str(key).removeprefix(_SCOPE) == "volume_backend_name":
                    names[str(found.get("name"))] = str(value)
        return names

    def _listed(self, what: str, path: str) -> Iterator[dict[str, Any]]:
        marker = ""
        while True:
            page = self._get(f"{path}&limit={_PAGE_SIZE}{marker}", what)
            if not page:
                return  # a short page is not the last one: Cinder's osapi_max_limit may be lower
            yield from page
            marker = f"&marker={page[-1]['id']}"

    def _get(self, path: str, what: str) -> list[dict[str, Any]]:
        try:
            listed = self._api.get(path).json()[what]
            assert isinstance(listed, list)
        except (ksa_exc.Unauthorized, ksa_exc.Forbidden) as failure:
            raise SourceUnavailable(
                "Cinder's API refuses this user: the admin role is required"
            ) from failure
        except ksa_exc.ClientException as failure:
            raise SourceUnavailable(
                f"the request to Cinder's API failed: {sentence(failure)}"
            ) from failure
        except (OSError, LookupError, TypeError, ValueError, AssertionError) as failure:
            raise SourceUnavailable(
                f"not a response of Cinder's API: {sentence(repr(failure))}"
            ) from failure
        return listed
