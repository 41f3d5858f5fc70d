from __future__ import annotations

import logging

import pytest

from tests.unit.cache.conftest import GIB, IMAGE
from tests.unit.periodic.test_purge import purge
from tests.unit.periodic.test_reconcile import NAME, Checked
from vmdk_cache import errors
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cache.key import CacheKey, template_name
from vmdk_cache.periodic.housekeeping import DATASTORES_EVERY_S, Housekeeping

THEIRS = CacheEntry("vm-99", "golden", Phase.FOREIGN, None, None, 2000, GIB)


@pytest.fixture
def world(caplog: pytest.LogCaptureFixture) -> Checked:
    caplog.set_level("INFO")
    return Checked()


def housekeeping(world: Checked) -> Housekeeping:
    return Housekeeping(purge(world, locks=world.locks), world.reconcile, world.clock)


def test_a_round_purges_and_then_reconciles(world: Checked) -> None:
    world.put()
    broken = template_name("b1", CacheKey(IMAGE.id, "f", "ide"))
    world.store.vms["vm-50"] = CacheEntry("vm-50", broken, Phase.ADOPTED, None, None, 2000, GIB)
    world.clock.advance(101)
    housekeeping(world).run()
    assert world.store.vms == {}


def test_a_failing_purge_blocks_no_check_and_vice_versa(
    world: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    world.put(phase=Phase.ADOPTED, record=None)
    world.store.faults["entries"] = [errors.Unreachable("down"), None]
    rounds = housekeeping(world)
    rounds.run()
    assert world.store.vms == {}
    world.put()
    world.clock.advance(101)
    world.store.faults["entries"] = [None, errors.Unreachable("down")]
    rounds.run()
    assert world.store.vms == {}
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len([line for line in warnings if "retries: down" in line]) == 2


def test_a_finding_is_reported_once_and_again_if_it_returns(
    world: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = housekeeping(world)
    world.store.vms = {"vm-99": THEIRS}
    world.directories.names = {NAME}
    told = []
    for entries in ({"vm-99": THEIRS}, {"vm-99": THEIRS}, {}, {"vm-99": THEIRS}):
        world.store.vms = dict(entries)
        world.clock.advance(DATASTORES_EVERY_S)
        caplog.clear()
        rounds.run()
        told.append([r.levelname for r in caplog.records])
    assert told == [["INFO", "WARNING"], [], [], ["INFO"]]


def test_an_orphaned_directory_is_not_reported_again_after_rounds_without_a_search(
    world: Checked, caplog: pytest.LogCaptureFixture
) -> None:
    world.directories.names = {NAME}
    rounds = housekeeping(world)
    for _ in range(20):
        rounds.run()
        world.clock.advance(DATASTORES_EVERY_S / 6)
    assert world.directories.searches == 4
    assert len(caplog.records) == 1
    assert world.directories.names == {NAME}
