"""The credentials and the session for Glance and Cinder: keystoneauth, without Cinder.

    OS_AUTH_URL or OS_AUTH_TYPE is set    the environment, as with the openstack command
    [glance] auth_type is set             the user of that section, as cinder-volume itself
    [service_user] auth_type is set       likewise
    auth_strategy is noauth               none: requests carry no token

Passwords are read only from the environment and cinder.conf, and appear in no message.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import loading, noauth, plugin, session
from oslo_config import cfg

from vmdk_cache.cli import cinder_options
from vmdk_cache.errors import ConfigError
from vmdk_cache.patience import Patience
from vmdk_cache.quoting import quoted

ENVIRONMENT = "the OS_* variables of the environment"
GLANCE_USER = "[glance] of cinder.conf"
SERVICE_USER = "[service_user] of cinder.conf"
#: Sections that may hold credentials, and their names in messages.
_SECTIONS = {"glance": GLANCE_USER, "service_user": SERVICE_USER}
_ADMIN_ROLE = "admin"


@dataclass(frozen=True)
class Identity:
    """Credentials, and the session that uses them.

    :ivar session: sends the requests; the first one fetches a token
    :ivar plugin: holds the credentials
    :ivar source: where they are configured, for messages; None without authentication
    """

    session: session.Session
    plugin: plugin.BaseAuthPlugin
    source: str | None

    def sees_every_image(self) -> bool:
        """Whether Glance shows this user other projects' private images; if not, a 404 proves
        nothing.

        :raises keystoneauth1.exceptions.ClientException: the request to Keystone failed
        """
        if self.source is None:
            return True
        access = getattr(self.plugin, "get_access", None)
        return access is not None and _ADMIN_ROLE in access(self.session).role_names


#: The errors of ``requests`` that mean that a server did not answer.
SILENCE = (requests.exceptions.ConnectionError, requests.exceptions.Timeout)


def identity(
    options: cfg.ConfigOpts,
    environ: Mapping[str, str],
    patience: Callable[[str], Patience] | None = None,
) -> Identity:
    """The credentials of the first line of the module's table that applies; sends no request yet.

    :param options: the parsed cinder.conf
    :param environ: :data:`os.environ`
    :param patience: with each server, by its URL; None: the session's timeout is the only limit
    :raises ConfigError: credentials are missing or incomplete; the text names the option
    """
    _register(options)
    sending = None if patience is None else PatientSession(patience)
    with _naming("cinder.conf"):
        if environ.get("OS_AUTH_URL") or environ.get("OS_AUTH_TYPE"):
            session = _session(options, environ, sending=sending)
            return Identity(session, _from_environment(environ), ENVIRONMENT)
        for section, source in _SECTIONS.items():
            if options[section].auth_type:
                session = _session(options, {}, section, sending)
                return Identity(session, _from_section(options, section), source)
        if options.auth_strategy != "keystone":
            return Identity(_session(options, {}, sending=sending), noauth.NoAuth(), None)
    raise ConfigError(
        "no Glance credentials are configured: set OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and so on "
        "(source an openrc file), or auth_type and the credentials in [service_user] or [glance] "
        "of cinder.conf"
    )


def cinder_has_its_own(options: cfg.ConfigOpts) -> bool:
    """Whether cinder-volume has Glance credentials of its own, or needs none.

    :raises ConfigError: the value of an option is invalid
    """
    _register(options)
    options.register_opts(cinder_options.SERVICE_USER, group="service_user")
    with _naming("[service_user] send_service_user_token"):
        sends_token = options.service_user.send_service_user_token
    with _naming("cinder.conf"):
        as_service = sends_token and options.service_user.auth_type
        return options.auth_strategy != "keystone" or bool(as_service or options.glance.auth_type)


def _register(options: cfg.ConfigOpts) -> None:
    options.register_opts(cinder_options.GLANCE)
    for section in _SECTIONS:
        loading.register_auth_conf_options(options, section)
        loading.register_session_conf_options(options, section)


def _from_environment(environ: Mapping[str, str]) -> plugin.BaseAuthPlugin:
    name = environ.get("OS_AUTH_TYPE") or "password"

    def value_of(option: loading.Opt) -> str | None:
        return next(filter(None, map(environ.get, option.argparse_envvars)), None)

    if name not in loading.get_available_plugin_names():  # otherwise stevedore logs an error
        raise ConfigError(
            f"OS_AUTH_TYPE is {quoted(name)}, which is not an installed plugin: try 'password'"
        )
    with _naming(f"OS_AUTH_TYPE {quoted(name)}", "OS_"):
        loader: loading.BaseLoader[plugin.BaseAuthPlugin] = loading.get_plugin_loader(name)
        return loader.load_from_options_getter(value_of)


def _from_section(options: cfg.ConfigOpts, section: str) -> plugin.BaseAuthPlugin:
    with _naming(f"[{section}] auth_type", f"[{section}] "):
        made: plugin.BaseAuthPlugin | None = loading.load_auth_from_conf_options(options, section)
    assert made is not None, "there is an auth_type"
    return made


def _session(
    options: cfg.ConfigOpts,
    environ: Mapping[str, str],
    section: str = "service_user",
    sending: requests.Session | None = None,
) -> session.Session:
    """The session for Keystone and Glance: a CA file may hold the certificates of both."""
    ca_file = (
        environ.get("OS_CACERT")
        or options.glance_ca_certificates_file
        or options[section].cafile
        or True
    )
    cert, key = options.glance_certfile, options.glance_keyfile
    return session.Session(
        session=sending,
        verify=False if options.glance_api_insecure else ca_file,
        cert=(cert, key) if cert and key else cert,
        timeout=options.glance_request_timeout or cinder_options.GLANCE_TIMEOUT_S,
    )


class PatientSession(requests.Session):
    """Waits no longer for a server than the user of the command wants to.

    :param patience: with each server, by its URL without a path
    """

    def __init__(self, patience: Callable[[str], Patience]) -> None:
        super().__init__()
        self._patience = patience
        for scheme in list(self.adapters):
            self.mount(scheme, session.TCPKeepAliveAdapter())  # as keystoneauth's own

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        url = urlsplit(request.url or "")
        patience = self._patience(f"{url.scheme}://{url.netloc.rpartition('@')[2]}")
        with patience.asking():
            timeout_s: float = options.get("timeout") or patience.wait_s
            connect_s = answer_s = min(timeout_s, patience.wait_s)
            if url.path.endswith("/file"):
                # Glance may pause in the middle of an image; the download has its own timeout.
                answer_s = timeout_s
            return super().send(request, **{**options, "timeout": (connect_s, answer_s)})


@contextlib.contextmanager
def _naming(what: str, prefix: str = "") -> Iterator[None]:
    """Translate errors of keystoneauth and oslo.config into ConfigError that names the option to
    set and quotes no value.

    :param prefix: prefix of the options' names where they are set
    """
    try:
        yield
    except ksa_exc.MissingRequiredOptions as missing:
        as_set = str.upper if prefix == "OS_" else str
        names = ", ".join(prefix + as_set(option.dest) for option in missing.options)
        raise ConfigError(f"{what} also requires {names}") from None
    except ksa_exc.NoMatchingPlugin as unknown:
        raise ConfigError(f"{what}: no such plugin, try 'password'") from unknown
    except (ksa_exc.OptionError, cfg.Error, ValueError) as failure:
        raise ConfigError(f"{what} is invalid: {type(failure).__name__}") from None
