"""Whose name a pin gets."""

from __future__ import annotations

import os
import pwd

import pytest

from vmdk_cache.cli.pin import user

UNKNOWN = 2_000_000_000


@pytest.mark.parametrize(
    ("uid", "environ", "name"),
    [
        (0, {}, pwd.getpwuid(0).pw_name),
        (0, {"SUDO_USER": "alice"}, "alice"),
        (os.getuid(), {}, pwd.getpwuid(os.getuid()).pw_name),
        (UNKNOWN, {"SUDO_USER": "alice"}, str(UNKNOWN)),
    ],
    ids=["root", "sudo", "oneself", "a user that the container does not know"],
)
def test_a_pin_names_who_ran_the_command(uid: int, environ: dict[str, str], name: str) -> None:
    assert user(uid, environ) == name
