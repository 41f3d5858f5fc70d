"""What pyVmomi's own client sees in a vCenter, to check our code against other code."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from pyVim.connect import Disconnect, SmartConnect

from tests.contract.vcenters import Target


class SecondOpinion:
    """:ivar content: vSphere's ServiceContent"""

    def __init__(self, content: Any) -> None:
        self.content = content

    def every(self, kind: type) -> list[Any]:
        """All managed objects of the type, including its subtypes."""
        view = self.content.viewManager.CreateContainerView(self.content.rootFolder, [kind], True)
        try:
            return list(view.view)
        finally:
            view.DestroyView()

    def refer(self, kind: type, moref: str) -> Any:
        """The managed object with that id."""
        return kind(moref, self.content.rootFolder._stub)


@contextmanager
def of(target: Target) -> Iterator[SecondOpinion]:
    instance = SmartConnect(
        host=target.host,
        port=target.port,
        user=target.user,
        pwd=target.password,
        sslContext=ssl.create_default_context(cafile=target.ca_file),
    )
    try:
        yield SecondOpinion(instance.RetrieveContent())
    finally:
        Disconnect(instance)


def plain(name: str) -> str:
    """A name in its original form: vCenter escapes three characters."""
    return unquote(name)
