"""What the tests on recordings share: a session on a replay, and the table of what was read."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from pyVmomi import version_info_str

from tests.recordings import recordings
from tests.recordings.replay import Replay, replaying
from vmdk_cache.vim.session import Session

#: As in "8.0.3": release of vCenter -> how much of it was read, by kind of thing.
Tally = dict[str, Counter[str]]
KINDS = ("answers", "objects", "tasks")

Open = Callable[[str], tuple[Session, Replay]]


@pytest.fixture(scope="session")
def tally() -> Iterator[Tally]:
    """Printed at the end; ``-s`` shows it."""
    counted: Tally = {}
    yield counted
    rows = [("vCenter", *KINDS)]
    rows += [
        (vcenter, *(str(counted[vcenter][kind] or "-") for kind in KINDS))
        for vcenter in sorted(counted)
    ]
    rows.append(("total", *(str(sum(c[kind] for c in counted.values())) for kind in KINDS)))
    print(f"\nRead of what real vCenters said, with pyvmomi {version_info_str}:")
    for row in rows:
        print("  " + "".join(f"{column:>10}" for column in row))


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens sessions on replays of recordings, by the recording's file name."""
    with contextlib.ExitStack() as stack:

        def open_(file: str) -> tuple[Session, Replay]:
            replay = Replay(recordings.read(file).exchanges)
            endpoint = stack.enter_context(replaying(replay))
            return stack.enter_context(Session(endpoint)), replay

        yield open_
