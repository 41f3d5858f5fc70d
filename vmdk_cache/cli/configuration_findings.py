"""Problems in cinder.conf that ``vmdk-cache check`` reports: pure diagnosis.

kind             meaning                                                repaired by
--------------   ----------------------------------------------------   -----------
NO_GLANCE_USER   Cinder has no Glance credentials of its own            the operator
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

from keystoneauth1 import loading
from oslo_config import cfg

from vmdk_cache.cli import cinder_options

_SERVICE_USER = "service_user"
_GLANCE = "glance"


class Kind(enum.StrEnum):
    """See the module's table."""

    NO_GLANCE_USER = "no-glance-user"


@dataclass(frozen=True)
class ConfigurationFinding:
    """One problem.

    :ivar name: section, or section and option
    :ivar says: one sentence: the problem and its remedy
    """

    kind: Kind
    name: str
    says: str


def findings(options: cfg.ConfigOpts) -> Iterator[ConfigurationFinding]:
    """Yield the problems that cinder-volume has with this cinder.conf.

    :param options: the parsed cinder.conf; Cinder's Glance options are registered on it
    """
    options.register_opts(cinder_options.GLANCE)
    options.register_opts(cinder_options.SERVICE_USER, group=_SERVICE_USER)
    for name in (_SERVICE_USER, _GLANCE):
        loading.register_auth_conf_options(options, name)
    section = options[_SERVICE_USER]
    if options.auth_strategy != "keystone":
        return
    if not ((section.send_service_user_token and section.auth_type) or options[_GLANCE].auth_type):
        yield ConfigurationFinding(
            Kind.NO_GLANCE_USER,
            f"[{_SERVICE_USER}]",
            "cinder-volume has no Glance credentials of its own: templates of images that were "
            "deleted, changed or deactivated stay until they expire, and image_cache_auto_warm has "
            "no effect; set send_service_user_token = true, auth_type and the credentials of a "
            "user with the admin role (or auth_type and such credentials in [glance])",
        )
