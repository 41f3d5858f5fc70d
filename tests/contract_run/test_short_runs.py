"""``make contract VCENTER=...`` as a process of its own, on a vCenter in another: it runs the suite
and leaves nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyVmomi import vim

from tests.contract import second_opinion
from tests.contract.run import run_of
from tests.contract_run import stock
from tests.contract_run.servers import (
    ADMINISTRATOR,
    Server,
    fake,
    make_contract,
    outcome,
    run_until_it_has_machines,
)
from vmdk_cache.cache.record import ATTRIBUTES

#: Some of the suite, which makes some of each: templates, volumes, directories, attributes, disks.
SHORT = (
    "tests/contract/cache/test_engine.py",
    "tests/contract/cache/test_placement.py",
    "tests/contract/cache/test_template_store.py::"
    "test_a_use_from_an_outdated_entry_does_not_undo_a_warm_up",
    "tests/contract/cache/test_template_store.py::test_a_pin_is_seen_until_it_is_removed",
    "tests/contract/vim/test_07_custom_attribute.py",
    "tests/contract/vim/test_08_datastore_browser.py",
)
ONE = "tests/contract/vim/test_05_template.py::test_marking_twice_is_fine"


@pytest.fixture
def server() -> Iterator[Server]:
    """With an account that may do what the documents say, and no more."""
    with fake() as running:
        yield running


def test_a_run_leaves_nothing_and_says_what_it_could_not_run(server: Server) -> None:
    stock.somebody_elses(server.target)
    before = stock.taken(server.target)
    assert not any(mine in name for mine in ATTRIBUTES for name in before["attributes"]), (
        "it would not be made"
    )

    done = make_contract(server, *SHORT)

    said = outcome(done)
    assert done.returncode == 0, said
    assert "nothing is left" in done.stderr
    assert "renames a datastore" in done.stdout, "the reason of what was not run is not shown"
    assert stock.taken(server.target) == before


def test_a_run_whose_tests_fail_leaves_nothing_and_shows_no_password(server: Server) -> None:
    before = stock.taken(server.target)

    done = make_contract(
        server,
        ONE,
        "tests/contract/vim/test_06_storage_policy.py",
        POLICY="there-is-none",
        CLUSTER="DC0_C1",
        DATASTORES="DC0_DS2,DC0_DS1",
    )

    said = outcome(done)
    assert done.returncode != 0
    assert "'there-is-none' does not exist" in said
    assert "cluster 'DC0_C1', datastores 'DC0_DS1', 'DC0_DS2'," in said
    assert "nothing is left" in said
    assert stock.taken(server.target) == before


def descendants(pid: int) -> list[int]:
    """The process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in descendants(int(child)))]


def test_clean_removes_what_killed_runs_and_other_machines_have_left() -> None:
    other = run_of("vct0123456789")
    assert other is not None
    with fake(user=ADMINISTRATOR) as server:
        before = stock.taken(server.target)
        with second_opinion.of(server.target) as seen:
            datacenter = seen.every(vim.Datacenter)[1]
            datacenter.vmFolder.CreateFolder(other.folder).CreateFolder("tests")
        running = run_until_it_has_machines(server)
        for pid in descendants(running.pid):
            os.kill(pid, signal.SIGKILL)
        running.communicate(timeout=60)
        left = stock.taken(server.target)
        assert all(left[kind] != before[kind] for kind in ("machines", "folders", "sessions"))

        done = make_contract(server, "--clean")

        said = outcome(done)
        assert done.returncode == 0, said
        assert stock.taken(server.target) == before
