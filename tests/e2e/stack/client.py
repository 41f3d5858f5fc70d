"""Cinder's REST API, as far as the tests use it.

Every call is one request. :meth:`CinderClient.wait` and :meth:`CinderClient.wait_gone` watch the
database where they can: a request costs Cinder 25 ms of processor time, and one every 0.1 s a
quarter of its processor. A resource is the dict of Cinder's API reference.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.e2e.stack.service_process import StackError, wait_until

MICROVERSION = "3.70"
WAIT_TIMEOUT_S = 180.0

T = TypeVar("T")
Resource = dict[str, Any]


class RequestRefused(StackError):
    """Cinder answered with an error.

    :ivar status: the HTTP status
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ResourceFailed(StackError):
    """A resource went to an error status; ``status`` is that status."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class CinderClient:
    """One user of one project: the administrator, who sees all projects, or a member.

    :param url: e.g. ``http://127.0.0.1:8776/v3``
    :param role: ``admin``, ``member`` or ``reader``
    :param database: Cinder's, if it is sqlite
    """

    def __init__(
        self,
        url: str,
        *,
        user: str = "demo",
        project: str = "demo",
        role: str = "admin",
        database: Path | None = None,
    ) -> None:
        self.url = url
        self._database = database
        self._headers = {
            "X-Auth-Token": f"{user}:{project}:{role}",
            "OpenStack-API-Version": f"volume {MICROVERSION}",
        }

    def as_user(self, user: str, project: str) -> CinderClient:
        """The same Cinder for a user without admin rights, perhaps of another project."""
        return CinderClient(
            self.url, user=user, project=project, role="member", database=self._database
        )

    def is_answering(self) -> bool:
        try:
            return requests.get(self.url.removesuffix("v3"), timeout=30).status_code < 500
        except requests.ConnectionError:
            return False

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Resource:
        """Send one request; returns the answer's JSON, ``{}`` if it has none.

        :raises RequestRefused: any status from 400 on
        """
        response = requests.request(
            method, self.url + path, json=body, headers=self._headers, timeout=300
        )
        if response.status_code >= 400:
            raise RequestRefused(
                response.status_code,
                f"Cinder: {method} {path}: {response.status_code} {response.text}",
            )
        answer: Resource = response.json() if response.content else {}
        return answer

    # Resources in general: "volumes", "snapshots", "backups" ...

    def show(self, collection: str, resource_id: str) -> Resource:
        (resource,) = self.request("GET", f"/{collection}/{resource_id}").values()
        assert isinstance(resource, dict)
        return resource

    def wait(
        self, collection: str, resource_id: str, *wanted: str, timeout_s: float = WAIT_TIMEOUT_S
    ) -> Resource:
        """Wait for the resource to reach one of the ``wanted`` statuses; returns the resource.

        :raises ResourceFailed: it went to an error status that was not wanted
        :raises StackError: it did not reach the status in time
        """

        def reached() -> Resource | None:
            resource = self.show(collection, resource_id)
            status = resource["status"]
            if status in wanted:
                return resource
            if status.startswith("error"):
                raise ResourceFailed(status, f"{collection} {resource_id}: {status}")
            return None

        what = f"{collection} {resource_id} to be {' or '.join(wanted)}"
        return self._wait(reached, collection, [resource_id], wanted, what, timeout_s)

    def delete(self, collection: str, resource_id: str) -> None:
        """Request its deletion; :meth:`wait_gone` waits for it."""
        self.request("DELETE", f"/{collection}/{resource_id}")

    def wait_gone(
        self, collection: str, *resource_ids: str, timeout_s: float = WAIT_TIMEOUT_S
    ) -> None:
        """Wait until none of them is listed any more.

        :raises ResourceFailed: one went to an error status
        """

        def gone() -> bool:
            (listed,) = self.request("GET", f"/{collection}/detail?all_tenants=1").values()
            left = [resource for resource in listed if resource["id"] in resource_ids]
            for resource in left:
                if resource["status"].startswith("error"):
                    raise ResourceFailed(
                        resource["status"], f"{collection} {resource['id']}: {resource['status']}"
                    )
            return not left

        self._wait(gone, collection, resource_ids, (), f"{collection} to be gone", timeout_s)

    def _wait(
        self,
        condition: Callable[[], T | None],
        collection: str,
        resource_ids: Collection[str],
        wanted: Collection[str],
        what: str,
        timeout_s: float,
    ) -> T:
        """The first true answer of ``condition``, which sends requests. It is not asked while the
        database shows a resource in a status that is neither ``wanted`` nor an error.
        """
        if self._database is None:
            return wait_until(condition, what=what, timeout_s=timeout_s)
        marks = ",".join("?" * len(resource_ids))
        query = f"SELECT status FROM {collection} WHERE NOT deleted AND id IN ({marks})"
        uri = f"{self._database.as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=60)) as database:

            def asked() -> T | None:
                statuses = {status for (status,) in database.execute(query, [*resource_ids])}
                failed = any(status.startswith("error") for status in statuses)
                return condition() if failed or statuses <= set(wanted) else None

            return wait_until(asked, what=what, timeout_s=timeout_s, interval_s=0.01)

    # Volumes

    def create_volume(self, size_gb: int, **fields: Any) -> str:
        """Request a volume; :returns: its id.

        :param fields: as in the API: ``name``, ``imageRef``, ``snapshot_id``, ``source_volid``,
            ``volume_type``, ``metadata``
        """
        body = {"volume": {"size": size_gb, **fields}}
        volume_id: str = self.request("POST", "/volumes", body)["volume"]["id"]
        return volume_id

    def volumes(self) -> list[Resource]:
        listed: list[Resource] = self.request("GET", "/volumes/detail")["volumes"]
        return listed

    def act(self, volume_id: str, action: str, arguments: Mapping[str, Any] | None) -> Resource:
        """An action of the API on a volume, e.g. ``os-extend``."""
        return self.request("POST", f"/volumes/{volume_id}/action", {action: arguments})

    # Others

    def pools(self) -> list[Resource]:
        """The pools in the scheduler: ``name`` and ``capabilities`` of each."""
        listed: list[Resource] = self.request("GET", "/scheduler-stats/get_pools?detail=true")[
            "pools"
        ]
        return listed

    def messages(self, resource_id: str) -> list[str]:
        """Texts of the user messages about one resource, newest first."""
        listed = self.request("GET", f"/messages?resource_uuid={resource_id}")["messages"]
        return [message["user_message"] for message in listed]

    def create_volume_type(self, name: str, **extra_specs: str) -> str:
        body = {"volume_type": {"name": name, "extra_specs": extra_specs}}
        type_id: str = self.request("POST", "/types", body)["volume_type"]["id"]
        return type_id
