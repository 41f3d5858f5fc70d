"""Glance without Cinder: images looked up, described and read with python-glanceclient.

The servers are those of cinder-volume: ``glance_api_servers``, tried one after the other, else the
service catalog (``glance_catalog_info``, ``[glance] region_name``). vmdk_cache/cli/identity.py
chooses the user; vmdk_cache/glance_errors.py translates errors.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import glanceclient
from glanceclient import exc as glance_exc
from oslo_config import cfg
from oslo_utils.uuidutils import is_uuid_like

from vmdk_cache import glance_errors
from vmdk_cache.cache.admission import DISK_FORMAT
from vmdk_cache.cli import cinder_options
from vmdk_cache.cli.identity import Identity, identity
from vmdk_cache.errors import ConfigError, SourceUnavailable
from vmdk_cache.image import ACTIVE, Image, describe
from vmdk_cache.patience import Patience
from vmdk_cache.quoting import identifier, quoted

T = TypeVar("T")

_PAGE_SIZE = 500


def connect(
    options: cfg.ConfigOpts,
    environ: Mapping[str, str],
    timeout_s: float | None = None,
    patience: Callable[[str], Patience] | None = None,
) -> Glance:
    """The Glance of a cinder.conf; sends no request yet.

    :param options: oslo.config's, already read; Cinder's options about Glance are registered on it
    :param environ: :data:`os.environ`
    :param timeout_s: for each answer, instead of ``glance_request_timeout``
    :param patience: with each server, by its URL
    :raises ConfigError: an option is missing or cannot be used
    """
    asking = identity(options, environ, patience)
    if timeout_s is not None:
        asking.session.timeout = timeout_s
    options.register_opts(cinder_options.GLANCE_SECTION, group="glance")
    servers: list[str | None] = [_url(server) for server in options.glance_api_servers or ()]
    parts = options.glance_catalog_info.split(":")
    if len(parts) != 3:
        raise ConfigError(
            f"glance_catalog_info is {quoted(options.glance_catalog_info)}: expected "
            "<service type>:<service name>:<interface>, e.g. image:glance:publicURL"
        )
    if not servers and asking.source is None:
        raise ConfigError("without Keystone there is no service catalog: set glance_api_servers")
    common = {
        "session": asking.session,
        "auth": asking.plugin,
        "service_type": parts[0],
        "interface": parts[2],
        "region_name": options.glance.region_name,
    }
    # "2" is the version of the API; the endpoint None means that of the service catalog.
    return Glance(
        [glanceclient.Client("2", server, **common) for server in servers or [None]],
        asking,
    )


class Glance:
    """One Glance; thread-safe. An :class:`~vmdk_cache.image.ImageSource` and a
    :class:`~vmdk_cache.cache.ports.Catalog`.

    :param clients: python-glanceclient's clients, one for each server
    """

    def __init__(self, clients: list[Any], asking: Identity) -> None:
        self._clients = clients
        self._asking = asking

    def look(self) -> None:
        """Send one cheap request.

        :raises SourceUnavailable: Glance is unreachable or refuses
        """
        with self._errors("its images"):
            self._call(lambda client: list(client.images.list(limit=1, page_size=1)))

    def sees_every_image(self) -> bool:
        """Whether this user sees the private images of other projects.

        :raises SourceUnavailable: the request failed
        """
        with self._errors("its images"):
            return self._asking.sees_every_image()

    def find(self, name_or_id: str) -> list[Image]:
        """The images with that id or, if there is none, with that name.

        :raises SourceUnavailable: Glance is unreachable or refuses
        """
        if is_uuid_like(name_or_id):
            found = self._show(name_or_id)
            if found is not None:
                return [found]
        return self._listed({"name": name_or_id})

    def describe(self, image_id: str) -> Image | None:
        """The image as it is now, None if it was deleted.

        :raises SourceUnavailable: the request failed, or the image may be another project's
        """
        found = self._show(image_id)
        if found is not None:
            return found
        with self._errors(f"image {identifier(image_id)}"):
            if self._asking.sees_every_image():
                return None
        raise SourceUnavailable(
            f"cannot tell whether image {identifier(image_id)} is deleted or private to another "
            f"project: that requires a user with the admin role, see {self._asking.source}"
        )

    def importable(self) -> list[Image]:
        """The active VMDK images that this user sees, sorted by id.

        :raises SourceUnavailable: the request failed
        """
        listed = self._listed({"status": ACTIVE, "disk_format": DISK_FORMAT})
        return sorted(listed, key=lambda image: image.id)

    def marked(self) -> list[Image]:
        """Those of :meth:`importable` to keep warm.

        :raises SourceUnavailable: the request failed
        """
        return [image for image in self.importable() if image.keep_warm]

    def open(self, image: Image) -> Iterator[bytes]:
        """Chunks of the image's file; the first ``next`` sends the request.

        :raises ImageDataMissing: Glance has no data of the image, or ended its answer early
        :raises SourceUnavailable: Glance refused, is unreachable, or the stream broke off
        :raises ImageCorrupt: the bytes differ from a hash that only Glance's client knows
        """
        with self._errors(f"{image}", is_stream=True):
            # The reader of the stream checks the hash; a second check costs as much as the rest.
            check = not (image.os_hash_value or image.checksum)
            try:
                body = self._call(lambda client: client.images.data(image.id, do_checksum=check))
            except glance_exc.HTTPNotFound as failure:
                if self._show(image.id) is None:
                    raise
                raise glance_errors.missing(str(image)) from failure  # an image without a location
            if glance_errors.has_none(body):
                raise glance_errors.missing(str(image))
            chunks = body.iterable
            try:
                yield from chunks
            finally:
                close = getattr(chunks, "close", None)
                if callable(close):
                    close()

    def _show(self, image_id: str) -> Image | None:
        with self._errors(f"image {identifier(image_id)}"):
            try:
                return describe(dict(self._call(lambda client: client.images.get(image_id))))
            except glance_exc.HTTPNotFound:
                return None

    def _listed(self, filters: dict[str, str]) -> list[Image]:
        def listed(client: Any) -> list[Image]:
            # A copy for each server, because the client changes it.
            images = client.images.list(filters=dict(filters), page_size=_PAGE_SIZE)
            return [describe(image) for image in images]

        with self._errors("its images"):
            return self._call(listed)

    def _call(self, ask: Callable[[Any], T]) -> T:
        """The answer of the first server that can be reached."""
        *others, last = self._clients
        for client in others:
            with contextlib.suppress(
                glance_exc.CommunicationError,
                glance_exc.InvalidEndpoint,
                glance_exc.ServiceUnavailable,
            ):
                return ask(client)
        return ask(last)

    def _errors(
        self, what: str, *, is_stream: bool = False
    ) -> contextlib.AbstractContextManager[None]:
        where = self._asking.source or "auth_strategy of cinder.conf"
        return glance_errors.translated(what, f"the user of {where}", is_stream=is_stream)


def _url(server: str) -> str:
    """The server's URL as Cinder reads it: without a scheme it is http. The API version is removed,
    because the client adds it."""
    url = server if "//" in server else f"http://{server}"
    return re.sub(r"/(v2/?)?$", "", url)
