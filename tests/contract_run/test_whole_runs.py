"""``make contract VCENTER=...`` with the whole suite, on our fake and on vcsim, each in a process
of its own. Takes minutes, so ``make vcsim`` runs it."""

from __future__ import annotations

import re

import pytest

from tests.contract.vcenters import running_recorded_vcsim, running_wide_vcsim
from tests.contract_run import stock
from tests.contract_run.servers import TIMEOUT_S, Server, fake, make_contract, outcome
from vmdk_cache.cache.record import ATTRIBUTE

pytestmark = [
    pytest.mark.vcsim,
    pytest.mark.vcsim_inventories,
    pytest.mark.timeout(TIMEOUT_S),
]
STARTS = {
    "fake": lambda: fake("--profile", "gold=DC0_DS0"),
    "vcsim-wide": running_wide_vcsim,
    "vcsim-recorded": running_recorded_vcsim,
}
#: Of tests that have to run, with or without what vcsim cannot do.
LEAST = 150


@pytest.mark.parametrize("kind", STARTS)
def test_a_whole_run_passes_and_leaves_nothing(kind: str) -> None:
    """Not even the cache's own attribute is touched if it is in use there."""
    with STARTS[kind]() as started:
        server = started if isinstance(started, Server) else Server(started, started.user)
        stock.somebody_elses(server.target, with_attribute=ATTRIBUTE)
        before = stock.taken(server.target)

        done = make_contract(server)

        said = outcome(done)
        assert done.returncode == 0, said
        assert stock.taken(server.target) == before
        passed = re.search(r"(\d+) passed", said)
        assert passed is not None and int(passed[1]) >= LEAST, said
