"""As whom Glance is asked, and over which session: keystoneauth, without Cinder.

    OS_AUTH_URL or OS_AUTH_TYPE is set    the environment, as with the openstack command
    [glance] auth_type is set             the user of that section, as cinder-volume itself
    [service_user] auth_type is set       likewise
    auth_strategy is noauth               nobody: Glance is asked without a token

Passwords are read from these two places only, and appear in no text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keystoneauth1 import exceptions as ksa_exc
from keystoneauth1 import loading, noauth, plugin, session
from oslo_config import cfg

from vmdk_cache.cli import cinder_options
from vmdk_cache.errors import ConfigError
from vmdk_cache.quoting import quoted

ENVIRONMENT = "the OS_* variables of the environment"
GLANCE_USER = "[glance] of cinder.conf"
SERVICE_USER = "[service_user] of cinder.conf"
#: Where credentials may stand, and how texts call it.
_SECTIONS = {"glance": GLANCE_USER, "service_user": SERVICE_USER}
_ADMIN_ROLE = "admin"


@dataclass(frozen=True)
class Identity:
    """Somebody to ask as.

    :ivar session: sends his requests; a token is got with the first one
    :ivar plugin: says who he is
    :ivar source: where that stands, for texts; None: nobody in particular
    """

    session: session.Session
    plugin: plugin.BaseAuthPlugin
    source: str | None

    def sees_every_image(self) -> bool:
        """Whether Glance shows him other projects' private images: if not, a 404 says nothing.

        :raises keystoneauth1.exceptions.ClientException: Keystone does not say
        """
        if self.source is None:
            return True
        access = getattr(self.plugin, "get_access", None)
        return access is not None and _ADMIN_ROLE in access(self.session).role_names


def identity(options: cfg.ConfigOpts, environ: Mapping[str, str]) -> Identity:
    """Who asks, by the first line of the module's table that holds; asks nobody yet.

    :param options: of the cinder.conf, read
    :param environ: :data:`os.environ`
    :raises ConfigError: there is nobody, or what is known of him is not enough; names the option
    """
    options.register_opts(cinder_options.GLANCE)
    for section in _SECTIONS:
        loading.register_auth_conf_options(options, section)
        loading.register_session_conf_options(options, section)
    with _naming("cinder.conf"):
        if environ.get("OS_AUTH_URL") or environ.get("OS_AUTH_TYPE"):
            return Identity(_session(options, environ), _from_environment(environ), ENVIRONMENT)
        for section, source in _SECTIONS.items():
            if options[section].auth_type:
                session = _session(options, {}, section)
                return Identity(session, _from_section(options, section), source)
        if options.auth_strategy != "keystone":
            return Identity(_session(options, {}), noauth.NoAuth(), None)
    raise ConfigError(
        "there is nobody to ask Glance as: set OS_AUTH_URL, OS_USERNAME, OS_PASSWORD and so on "
        "(source an openrc file), or auth_type and the credentials in [service_user] "
        "or [glance] of cinder.conf"
    )


def _from_environment(environ: Mapping[str, str]) -> plugin.BaseAuthPlugin:
    name = environ.get("OS_AUTH_TYPE") or "password"

    def value_of(option: loading.Opt) -> str | None:
        names = (option.dest, *(old.dest for old in option.deprecated))
        values = (environ.get(f"OS_{name.upper()}") for name in names)
        return next(filter(None, values), None)

    if name not in loading.get_available_plugin_names():  # stevedore would log what it misses
        raise ConfigError(
            f"OS_AUTH_TYPE is {quoted(name)}, which is no plugin here: try 'password'"
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
    options: cfg.ConfigOpts, environ: Mapping[str, str], section: str = "service_user"
) -> session.Session:
    """For Keystone and Glance alike: a CA file may hold the certificates of both."""
    ca_file = (
        environ.get("OS_CACERT")
        or options.glance_ca_certificates_file
        or options[section].cafile
        or True
    )
    cert, key = options.glance_certfile, options.glance_keyfile
    return session.Session(
        verify=False if options.glance_api_insecure else ca_file,
        cert=(cert, key) if cert and key else cert,
        timeout=options.glance_request_timeout or cinder_options.GLANCE_TIMEOUT_S,
    )


@contextlib.contextmanager
def _naming(what: str, prefix: str = "") -> Iterator[None]:
    """Errors of keystoneauth and oslo.config that say what to set; none quotes a value.

    :param prefix: of the options' names where they are set
    """
    try:
        yield
    except ksa_exc.MissingRequiredOptions as missing:
        as_set = str.upper if prefix == "OS_" else str
        names = ", ".join(prefix + as_set(option.dest) for option in missing.options)
        raise ConfigError(f"{what} also takes {names}") from None
    except ksa_exc.NoMatchingPlugin as unknown:
        raise ConfigError(f"{what}: there is no such plugin, try 'password'") from unknown
    except (ksa_exc.OptionError, cfg.Error, ValueError) as failure:
        raise ConfigError(f"{what} cannot be used: {type(failure).__name__}") from None
