"""``make contract VCENTER=...`` that is broken off. Takes minutes, so ``make vcsim`` runs it."""

from __future__ import annotations

import os
import signal

import pytest

from tests.contract_run import stock
from tests.contract_run.servers import (
    ADMINISTRATOR,
    PASSWORD,
    TIMEOUT_S,
    command,
    fake,
    make_contract,
    outcome,
    run_until_it_has_machines,
)
from tests.contract_run.test_short_runs import ONE, descendants

pytestmark = [
    pytest.mark.vcsim,
    pytest.mark.vcsim_inventories,
    pytest.mark.timeout(TIMEOUT_S),
]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminated"])
def test_a_run_that_is_interrupted_leaves_nothing(sent: signal.Signals) -> None:
    with fake() as server:
        before = stock.taken(server.target)
        running = run_until_it_has_machines(server)

        running.send_signal(sent)
        _, said = running.communicate(timeout=300)

        assert running.returncode == 130
        assert "nothing is left" in said
        assert "Traceback" not in said, said
        assert stock.taken(server.target) == before


def test_the_next_run_removes_what_a_killed_one_has_left() -> None:
    with fake(user=ADMINISTRATOR) as server:
        before = stock.taken(server.target)
        running = run_until_it_has_machines(server)
        for pid in descendants(running.pid):
            os.kill(pid, signal.SIGKILL)
        running.communicate(timeout=60)

        done = make_contract(server, ONE)

        said = outcome(done)
        assert done.returncode == 0, said
        assert stock.taken(server.target) == before


def test_two_runs_of_a_checkout_do_not_remove_each_others_things() -> None:
    """The second does not begin, also while only the tests of the first are left."""
    with fake() as server:
        running = run_until_it_has_machines(server)
        tests = descendants(running.pid)[1:]
        try:
            running.kill()
            second = command({**server.variables, "VCENTER_PASSWORD": PASSWORD})
            _, said = second.communicate(timeout=120)
            assert second.returncode == 2
            assert "from this checkout is in progress" in said
        finally:
            for pid in tests:
                os.kill(pid, signal.SIGKILL)
            running.communicate(timeout=60)
