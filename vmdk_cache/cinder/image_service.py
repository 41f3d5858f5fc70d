"""Images as Cinder sees them: description and bytes, in this package's terms.

Cinder passes ``image_meta`` (the dict of ``GlanceImageService.show``) and ``image_service`` to a
driver. :func:`~vmdk_cache.image.describe` reads the first; :class:`GlanceImageSource` turns the
second into an :class:`~vmdk_cache.image.ImageSource`. Errors of Glance's client, of Cinder's image
service and of HTTP become errors of this package here.

If the image has a hash, the reader of the stream checks it (vmdk/read_ahead.py), and the client
does not. If this package knows no hash, the client checks any that it knows (python-glanceclient,
``common.utils.serious_integrity_iter``) and reports a difference as ``IOError(EPIPE)``. Only that
error means corruption; after any other one, the source is unavailable.

A purge or a warm-up has no user's token, so :class:`GlanceCatalog` asks as Cinder itself. With
Keystone, that is the first user of ``[glance]`` and ``[service_user]`` who has the admin role. To
other users, Glance answers 404 both for a private image of another project and for a deleted one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from cinder import context as cinder_context
from cinder import exception
from cinder.image import glance as cinder_glance
from glanceclient import exc as glance_exc
from oslo_config import cfg

from vmdk_cache import glance_errors
from vmdk_cache.cache.admission import DISK_FORMAT
from vmdk_cache.cinder import upstream
from vmdk_cache.errors import NoGlanceAdmin, SourceRefused, SourceUnavailable
from vmdk_cache.image import ACTIVE, Image, describe
from vmdk_cache.quoting import identifier, sentence

_ADMIN_ROLE = "admin"
_WHO_TO_ASK_AS = (
    "set send_service_user_token = true and the credentials of a user with the admin role in "
    "[service_user], or such credentials with auth_type in [glance]"
)


class GlanceImageSource:
    """Opens images through Cinder's image service, as the user of ``context``.

    :param context: Cinder's request context; its project must be able to read the image
    :param image_service: ``cinder.image.glance.GlanceImageService`` or anything with its
        ``download(context, image_id)``
    """

    def __init__(self, context: Any, image_service: Any) -> None:
        self._context = context
        self._image_service = image_service

    def open(self, image: Image) -> Iterator[bytes]:
        """Chunks of the image's file; closing the iterator closes the connection.

        The first ``next`` sends the request. An empty file has no chunks.

        :raises ImageDataMissing: Glance has no data of the image, or ended its answer early
        :raises SourceRefused: Glance refuses the image to this user
        :raises SourceUnavailable: Glance is unreachable, or the stream broke off
        :raises ImageCorrupt: the bytes differ from a hash that only the client knows; raised after
            the last chunk
        """
        with _translated(image.id, self._shows):
            chunks = upstream.download(
                self._context,
                self._image_service,
                image.id,
                hashed_by_us=bool(image.os_hash_value or image.checksum),
            )
            if glance_errors.has_none(chunks):
                raise glance_errors.missing(str(image))
            try:
                yield from chunks
            finally:
                # A reader that stops early must not leave the connection to garbage collection.
                close = getattr(chunks, "close", None) or getattr(
                    getattr(chunks, "iterable", None), "close", None
                )
                if callable(close):
                    close()

    def _shows(self, image_id: str) -> bool:
        """Whether Glance shows the image to this user although it answers 404 for the data."""
        try:
            self._image_service.show(self._context, image_id)
        except Exception:  # report Glance's first answer
            return False
        return True


class GlanceCatalog:
    """Describes and reads the images of all projects, as Cinder itself: a
    :class:`~vmdk_cache.cache.ports.Catalog` and :class:`~vmdk_cache.cache.ports.MarkedImages`.

    :param image_service: ``cinder.image.glance.GlanceImageService`` or anything with its
        ``show(context, image_id)``, ``detail(context, filters=...)`` and ``download``
    """

    def __init__(self, image_service: Any = None) -> None:
        self._image_service = image_service or cinder_glance.get_default_image_service()

    def describe(self, image_id: str) -> Image | None:
        """The image as it is now, None if it was deleted; one request.

        :raises SourceUnavailable: Glance could not be asked
        :raises NoGlanceAdmin: Glance does not say until an operator configures a user
        """
        try:
            context, sees_all = _as_cinder()
            return describe(self._image_service.show(context, image_id))
        except exception.ImageNotFound as gone:
            if sees_all:
                return None
            raise NoGlanceAdmin(
                f"Glance does not say whether image {identifier(image_id)} is deleted or private "
                f"to another project: {_WHO_TO_ASK_AS}"
            ) from gone
        except SourceUnavailable:
            raise
        except Exception as failure:
            # From Keystone's client, Glance's client, HTTP, or an empty service catalog.
            raise SourceUnavailable(
                f"Glance could not be asked for image {identifier(image_id)}: "
                f"{sentence(repr(failure))}"
            ) from failure

    def marked(self) -> list[Image]:
        """The active VMDK images to keep warm, sorted by id: of all projects if Cinder's user is an
        admin, else those that it sees. One request per page of 100 active VMDK images, since Glance
        can filter properties by their exact text only.

        :raises SourceUnavailable: Glance could not be asked
        """
        try:
            context, _ = _as_cinder()
            filters = {"status": ACTIVE, "disk_format": DISK_FORMAT}
            listed = self._image_service.detail(context, filters=filters)
            images = [image for image in map(describe, listed) if image.keep_warm]
        except SourceUnavailable:
            raise
        except Exception as failure:
            raise SourceUnavailable(
                f"Glance could not list images: {sentence(repr(failure))}"
            ) from failure
        return sorted(images, key=lambda image: image.id)

    def open(self, image: Image) -> Iterator[bytes]:
        """See :meth:`GlanceImageSource.open`; as Cinder itself."""
        context, _ = _as_cinder()
        return GlanceImageSource(context, self._image_service).open(image)


def _as_cinder() -> tuple[Any, bool]:
    """A context for Cinder's own requests to Glance, and whether it sees all projects' images.

    :raises NoGlanceAdmin: Keystone is in use, and no user is configured for these requests
    """
    if cfg.CONF.auth_strategy != "keystone":
        return cinder_context.get_admin_context(), True
    users = upstream.own_users()
    if not users:
        raise NoGlanceAdmin(f"Cinder has no user of its own to ask Glance as: {_WHO_TO_ASK_AS}")
    user, session = next((each for each in users if _is_admin(*each)), users[0])
    interface = cfg.CONF.glance_catalog_info.split(":")[-1]
    region = upstream.glance_region()
    url = session.get_endpoint(user, service_type="image", interface=interface, region_name=region)
    context = cinder_context.RequestContext(
        is_admin=True,
        overwrite=False,
        user_auth_plugin=user,
        # Read only where glance_api_servers is not set.
        service_catalog=[{"type": "image", "endpoints": [{interface: url, "region": region}]}],
    )
    return context, _is_admin(user, session)


def _is_admin(user: Any, session: Any) -> bool:
    """One request to Keystone if the user has no token yet."""
    return _ADMIN_ROLE in user.get_access(session).role_names


@contextlib.contextmanager
def _translated(image_id: str, is_shown: Callable[[str], bool]) -> Iterator[None]:
    """As :func:`glance_errors.translated`, and Cinder's own exceptions as well."""
    what, user = f"image {identifier(image_id)}", "this project"
    with glance_errors.translated(what, user, is_stream=True):
        try:
            yield
        except (exception.ImageNotFound, glance_exc.HTTPNotFound) as failure:
            if is_shown(image_id):  # an image without a location
                raise glance_errors.missing(what) from failure
            raise SourceRefused(f"Glance does not show {what} to {user}") from failure
        except (
            exception.NotAuthorized,
            exception.ImageNotAuthorized,  # no subclass of it, and what Cinder makes of 401 and 403
        ) as failure:
            raise SourceRefused(f"Glance refuses {what} to {user}") from failure
        except exception.ImageDownloadFailed as failure:  # Cinder's image service: empty answer
            raise glance_errors.missing(what) from failure
        except exception.CinderException as failure:
            if glance_errors.ended_early(failure):
                raise glance_errors.cut_short(what, sentence(failure)) from failure
            raise SourceUnavailable(f"Glance did not give {what}: {sentence(failure)}") from failure
