"""PostgreSQL with one empty database, which anybody on this machine may use."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

from tests.services.program import Server, require

DEBIAN = [f"/usr/lib/postgresql/{version}/bin" for version in range(20, 12, -1)]


class PostgreSQL(Server):
    """It refuses to run as root: as root's, its processes are those of Debian's user ``postgres``.

    :ivar url: for ``[database] connection``
    """

    user = "postgres"

    def __init__(self, database: str = "cinder") -> None:
        self._initdb = require("initdb", "postgresql", *DEBIAN)
        self._program = require("postgres", "postgresql", *DEBIAN)
        super().__init__()
        self._database = database
        self.url = f"postgresql+psycopg2://postgres@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        if "--reuid=postgres" in self.as_user():
            shutil.chown(self.directory, "postgres")
        subprocess.run(
            [*self.as_user(), self._initdb, "-D", "data", "-A", "trust", "-U", "postgres",
             "--no-sync"],
            cwd=self.directory, check=True, capture_output=True,
        )  # fmt: skip

    def start(self) -> None:
        super().start()
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="postgres", dbname="postgres"
        )
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {self._database}")
        connection.close()

    def answers(self) -> bool:
        """Its port is open before it takes sessions."""
        import psycopg2

        try:
            psycopg2.connect(
                host="127.0.0.1", port=self.port, user="postgres", dbname="postgres"
            ).close()
        except psycopg2.OperationalError:
            return False
        return True

    def command(self) -> Sequence[str]:
        return [
            self._program, "-D", "data", "-c", "listen_addresses=127.0.0.1",
            "-c", f"port={self.port}", "-c", "unix_socket_directories=", "-c", "fsync=off",
            "-c", "max_connections=300",
        ]  # fmt: skip
