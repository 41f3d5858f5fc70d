"""The vCenter of ``make contract VCENTER=...``: read from variables, and checked.

An error in a variable is one line that names the variable. No line contains the password.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tests.contract.ground import Choice
from tests.contract.run import Run
from vmdk_cache import errors
from vmdk_cache.quoting import quoted, sentence
from vmdk_cache.vim.endpoint import Endpoint

#: Tells pytest which run it is part of.
PLAN = "VMDK_CACHE_CONTRACT_PLAN"
#: Options in a session's errors -> our variables.
_VARIABLES = {
    "vmware_host_username and vmware_host_password":
        "the user in VCENTER, and VCENTER_PASSWORD or VCENTER_PASSWORD_FILE",
    "vmware_host_ip and vmware_host_port": "VCENTER",
    "vmware_host_ip": "VCENTER",
    " (or vmware_insecure in a test bed)": "",
    "vmware_ca_file": "CA",
}  # fmt: skip
_FORM = "VCENTER must be https://user@host or https://user@host:port"


class Problem(Exception):
    """The suite cannot run; the text is one line for the user who started it."""


@dataclass(frozen=True)
class Given:
    """:ivar ca_file: None for the system's CAs"""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    ca_file: str | None
    choice: Choice = field(default_factory=Choice)
    policy: str = ""

    @property
    def server(self) -> str:
        return f"{self.host}:{self.port}"

    def endpoint(self, **changes: object) -> Endpoint:
        values: dict[str, object] = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password,
            "ca_file": self.ca_file,
        }
        return Endpoint(**{**values, **changes})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Plan:
    """What the command passes to pytest about the run.

    :ivar sessions: file with the keys of the sessions that the run opens
    """

    run: Run
    is_vcsim: bool
    choice: Choice
    sessions: str

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_environment(cls) -> Plan | None:
        """None in every other run of pytest."""
        text = os.environ.get(PLAN)
        if not text:
            return None
        said = json.loads(text)
        choice = said["choice"]
        return cls(
            Run(**said["run"]),
            said["is_vcsim"],
            Choice(choice["datacenter"], choice["cluster"], tuple(choice["datastores"])),
            said["sessions"],
        )


def read(variables: Mapping[str, str]) -> Given | None:
    """None without ``VCENTER``.

    :raises Problem: a variable cannot be used
    """
    if not variables.get("VCENTER"):
        return None
    host, port, user = _address(variables["VCENTER"])
    ca_file = variables.get("CA") or None
    datastores = (name.strip() for name in variables.get("DATASTORES", "").split(","))
    found = Given(
        host,
        port,
        user,
        _password(variables),
        ca_file,
        Choice(
            variables.get("DATACENTER", ""),
            variables.get("CLUSTER", ""),
            tuple(name for name in datastores if name),
        ),
        variables.get("POLICY", ""),
    )
    try:
        found.endpoint().ssl_context()
    except errors.ConfigError as unusable:
        raise Problem(in_variables(unusable)) from unusable
    return found


def in_variables(error: BaseException) -> str:
    """An error of a session, with our variables instead of Cinder's options."""
    text = str(error)
    for option, variable in _VARIABLES.items():
        text = text.replace(option, variable)
    return sentence(text)


def _address(url: str) -> tuple[str, int, str]:
    """Host, port, user. No message contains the URL, which may include a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Problem(f"{_FORM}, and it is no URL") from None
    if parts.scheme != "https":
        raise Problem(f"{_FORM}, and it does not begin with https://")
    if parts.password is not None:
        raise Problem(
            "VCENTER holds a password, which others can read on a command line: give it in "
            "VCENTER_PASSWORD or in the file VCENTER_PASSWORD_FILE"
        )
    if not host:
        raise Problem(f"{_FORM}, and it names no host")
    if not parts.username:
        raise Problem(f"{_FORM}, and it names no user")
    if parts.path.rstrip("/") not in ("", "/sdk") or parts.query or parts.fragment:
        raise Problem(f"{_FORM}, with nothing after it")
    return host, port or 443, unquote(parts.username)


def _password(variables: Mapping[str, str]) -> str:
    in_words, path = variables.get("VCENTER_PASSWORD"), variables.get("VCENTER_PASSWORD_FILE")
    if re.search(r"(^|\s)VCENTER_PASSWORD=", variables.get("MAKEFLAGS", "")):
        raise Problem(
            "VCENTER_PASSWORD is on the command line, where others can read it: set it in the "
            "environment, or name a file in VCENTER_PASSWORD_FILE"
        )
    if in_words and path:
        raise Problem("VCENTER_PASSWORD and VCENTER_PASSWORD_FILE are both set: unset one")
    if path:
        try:
            lines = Path(path).read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Problem(
                f"VCENTER_PASSWORD_FILE {quoted(path)} cannot be read: {sentence(error)}"
            ) from error
        in_words = lines[0] if lines else ""
        if not in_words:
            raise Problem(f"VCENTER_PASSWORD_FILE {quoted(path)} has no password in its first line")
    if not in_words:
        raise Problem(
            "set VCENTER_PASSWORD in the environment, or VCENTER_PASSWORD_FILE to a file whose "
            "first line is the password of the user in VCENTER"
        )
    return in_words
