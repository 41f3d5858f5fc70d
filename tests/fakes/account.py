"""The vCenter account that docs/security.rst tells operators to create, read from that page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tests.fakes.vcenter import VCenter
from tests.fakes.vcenter.permissions import Account

PAGE = Path(__file__).parents[2] / "docs" / "security.rst"
USER = "cinder@vsphere.local"
PASSWORD = "a password of its own"
_ROW = re.compile(
    r"^   \* - ``(?P<id>[A-Za-z.]+)``\n"
    r"     - (?P<held_on>.+)\n"
    r"     - (?P<purpose>.+\n(?:       .+\n)*)"
    r"(?:     - (?P<without>\w+))?",
    re.MULTILINE,
)
_ROLE = re.compile(r"govc role\.create (\S+) ((?:[\w.]+|\\\n|[ ])+)")
_GRANT = re.compile(r"govc permissions\.set .*-role (\S+)( -propagate=false)? (/\S*)")


def rows() -> list[dict[str, str | None]]:
    """All rows of both tables, in order. Rows of Cinder's own driver have no ``without``."""
    cache, cinder = PAGE.read_text().split("Privileges of Cinder's own driver\n")
    of_cinder = [{**row.groupdict(), "without": None} for row in _ROW.finditer(cinder)]
    return [*(row.groupdict() for row in _ROW.finditer(cache)), *of_cinder]


def documented() -> tuple[dict[str, str], set[str]]:
    """Returns the privileges of the cache, each with what happens without it (``bypass`` or
    ``degraded``), and the additional privileges of Cinder's own driver."""
    cache, cinder = PAGE.read_text().split("Privileges of Cinder's own driver\n")
    assert "Privileges of the cache\n" in cache
    of_cache = {row["id"]: row["without"] for row in _ROW.finditer(cache)}
    return of_cache, {row["id"] for row in _ROW.finditer(cinder)}


def roles() -> dict[str, set[str]]:
    """Role -> privileges, as the page's govc commands create them."""
    return {
        name: set(ids.replace("\\\n", " ").split()) for name, ids in _ROLE.findall(PAGE.read_text())
    }


def add_documented_account(
    vcenter: VCenter,
    without: str | None = None,
    *,
    user: str = USER,
    password: str = PASSWORD,
    besides: Iterable[str] = (),
) -> Account:
    """Add an account that has the page's roles where the page grants them, in the fake's
    datacenter.

    :param without: a privilege to leave out
    :param besides: additional privileges on the datacenter
    """
    account = vcenter.permissions.add_account(user, password)
    grants = _GRANT.findall(PAGE.read_text())
    assert len(grants) == 2, f"{PAGE.name}: expected two govc permissions.set commands"
    for role, only_here, path in grants:
        entity = vcenter.root_folder if path == "/" else vcenter.root_folder.child(path[1:])
        assert entity is not None, f"{PAGE.name}: {path} is not in the fake"
        held = roles()[role] - {without}
        account.grant(entity, held if only_here else held | {*besides}, propagate=not only_here)
    return account
