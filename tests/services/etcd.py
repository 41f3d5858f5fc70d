"""etcd as a coordinator of locks."""

from __future__ import annotations

from collections.abc import Sequence

from tests.services.program import Server, free_ports, require

#: What a lock outlives its holder by, seconds; etcd grants no less than two.
LOCK_TIMEOUT_S = 3


class Etcd(Server):
    """One member, no peers.

    :ivar url: for ``[coordination] backend_url``
    """

    def __init__(self) -> None:
        self._program = require("etcd", "etcd-server")
        super().__init__()
        (self._peer_port,) = free_ports(1)
        self.url = f"etcd3+http://127.0.0.1:{self.port}?lock_timeout={LOCK_TIMEOUT_S}"

    def command(self) -> Sequence[str]:
        client, peer = (f"http://127.0.0.1:{port}" for port in (self.port, self._peer_port))
        return [
            self._program, "--name=test", "--data-dir=data", "--logger=zap", "--log-level=warn",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=test={peer}",
        ]  # fmt: skip
