"""A Glance in one directory: boots it, uploads images, counts downloads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import requests

from tests.e2e.stack import auth, config
from tests.e2e.stack.service_process import ServiceProcess, StackError, free_port, wait_until
from tests.fakes.images import FakeImage

BOOT_TIMEOUT_S = 120.0

ADMIN_TOKEN = "operator:services:admin"


class Glance:
    """Life: :meth:`prepare` (database), :meth:`start`, use, :meth:`stop`, perhaps another start.

    :param directory: an existing directory for Glance alone
    :param projects: authenticate by token, with projects (auth.py) and Glance's own policies;
        otherwise every caller may do everything
    :param property_protections: text of Glance's file property-protections.conf; "": none
    """

    def __init__(
        self, directory: Path, *, projects: bool = False, property_protections: str = ""
    ) -> None:
        self.directory = directory
        self._projects = projects
        self._property_protections = property_protections
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = directory / "glance.log"
        self._downloads = directory / "downloads"
        env = {"OS_GLANCE_CONFIG_DIR": str(directory)}
        self._sync = ServiceProcess(
            "glance.cmd.manage",
            ["--config-file", str(directory / "glance-api.conf"), "db_sync"],
            log=directory / "glance-manage.out",
            env=env,
        )
        self._server = ServiceProcess(
            "tests.e2e.stack.glance_process",
            [str(self.port), str(directory)],
            log=directory / "glance.out",
            env=env,
        )

    def prepare(self) -> None:
        """Write the configuration and start to create the database; :meth:`start` waits for it."""
        for name in ("images", "staging", "tasks", "broken"):
            (self.directory / name).mkdir()
        protections = self._property_protections
        (self.directory / "property-protections.conf").write_text(protections)
        (self.directory / "glance-api.conf").write_text(
            config.glance_api_conf(self.directory, protects_properties=bool(protections))
        )
        shipped = (config.ETC / "glance" / "glance-api-paste.ini").read_text()
        paste = auth.glance_paste_ini(shipped) if self._projects else shipped
        (self.directory / "paste.ini").write_text(paste)
        policy = "" if self._projects else config.GLANCE_POLICY
        (self.directory / "policy.yaml").write_text(policy)
        self._sync.start()

    def start(self) -> None:
        """Start the server; returns when Glance answers."""
        self._sync.wait(BOOT_TIMEOUT_S)
        self._server.start()
        wait_until(self._answers, what="Glance to answer", timeout_s=BOOT_TIMEOUT_S)

    def stop(self) -> None:
        """Stop the server; images stay for another :meth:`start`."""
        self._sync.stop()
        self._server.stop()

    def upload(
        self,
        name: str,
        data: bytes | Path | Iterable[bytes],
        *,
        token: str = ADMIN_TOKEN,
        **properties: str,
    ) -> str:
        """Create an image, public by default, and upload its bytes.

        :param token: the user's, see auth.py
        :param properties: override ``disk_format="vmdk"`` and ``container_format="bare"``, e.g.
            ``vmware_disktype="streamOptimized"``
        :returns: the image's id
        :raises StackError: Glance refused; its answer is in the text
        """
        body = {
            "name": name, "visibility": "public", "disk_format": "vmdk",
            "container_format": "bare", **properties,
        }  # fmt: skip
        image_id: str = self._send("POST", "/v2/images", token, json=body).json()["id"]
        path, headers = f"/v2/images/{image_id}/file", {"Content-Type": "application/octet-stream"}
        if isinstance(data, Path):
            with data.open("rb") as file:
                self._send("PUT", path, token, data=file, headers=headers)
        else:
            self._send("PUT", path, token, data=data, headers=headers)
        return image_id

    def upload_image(self, name: str, image: FakeImage, **more: str) -> str:
        """Upload an image with the properties that an operator would set; :returns: its id.

        :param more: of :meth:`upload`: ``token``, further properties
        """
        return self.upload(
            name,
            image.file_bytes,
            disk_format=image.disk_format,
            container_format=image.container_format,
            **{**image.glance_properties, **more},
        )

    def image(self, image_id: str, *, token: str = ADMIN_TOKEN) -> dict[str, Any]:
        shown: dict[str, Any] = self._send("GET", f"/v2/images/{image_id}", token).json()
        return shown

    def change(self, image_id: str, *, token: str = ADMIN_TOKEN, **properties: str) -> None:
        """Set properties of an image, e.g. its ``visibility``.

        :raises StackError: Glance refused; its answer is in the text
        """
        changes = [
            {"op": "add", "path": f"/{name}", "value": value} for name, value in properties.items()
        ]
        headers = {"Content-Type": "application/openstack-images-v2.1-json-patch"}
        self._send("PATCH", f"/v2/images/{image_id}", token, json=changes, headers=headers)

    def delete(self, image_id: str) -> None:
        self._send("DELETE", f"/v2/images/{image_id}")

    def delete_all(self) -> None:
        """Delete every image."""
        while images := self._send("GET", "/v2/images?limit=1000").json()["images"]:
            for image in images:
                self.delete(image["id"])

    def read(self, image_id: str) -> bytes:
        """The image's bytes from the store itself, which does not count as a download."""
        return self.stored_file(image_id).read_bytes()

    def stored_file(self, image_id: str) -> Path:
        """The file in Glance's store; a test may damage it behind Glance's back."""
        return self.directory / "images" / image_id

    @contextlib.contextmanager
    def broken(self, image_id: str, *, after_bytes: int | None = None) -> Iterator[None]:
        """During the block, downloads of the image end after this many bytes, or at once with
        503.
        """
        mark = self.directory / "broken" / image_id
        mark.write_text("" if after_bytes is None else str(after_bytes))
        try:
            yield
        finally:
            mark.unlink()

    def downloads(self, image_id: str) -> int:
        """How often Glance began to send the image's file since its first start."""
        if not self._downloads.exists():
            return 0
        lines = self._downloads.read_text().splitlines()
        return sum(line in (f"{image_id} 200", f"{image_id} 206") for line in lines)

    def _answers(self) -> bool:
        self._server.check_alive()
        try:
            headers = {"X-Auth-Token": ADMIN_TOKEN}
            answer = requests.get(f"{self.url}/versions", headers=headers, timeout=30)
            return answer.status_code in (200, 300)
        except requests.ConnectionError:
            return False

    def _send(
        self,
        method: str,
        path: str,
        token: str = ADMIN_TOKEN,
        *,
        headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> requests.Response:
        headers = {**(headers or {}), "X-Auth-Token": token}
        response = requests.request(method, self.url + path, timeout=600, headers=headers, **kwargs)
        if not response.ok:
            raise StackError(f"Glance: {method} {path}: {response.status_code} {response.text}")
        return response
