"""Redis as a coordinator of locks."""

from __future__ import annotations

from collections.abc import Sequence

from tests.services.program import Server, require

#: What a lock outlives its holder by, seconds.
LOCK_TIMEOUT_S = 3


class Redis(Server):
    """In memory only.

    :ivar url: for ``[coordination] backend_url``
    """

    def __init__(self) -> None:
        self._program = require("redis-server", "redis-server")
        super().__init__()
        self.url = f"redis://127.0.0.1:{self.port}?lock_timeout={LOCK_TIMEOUT_S}"

    def command(self) -> Sequence[str]:
        return [
            self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no",
        ]  # fmt: skip
