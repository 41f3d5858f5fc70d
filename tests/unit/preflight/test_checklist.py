"""The probes in their order, each with its own id and its row in the documents."""

from __future__ import annotations

import pathlib
import re
import threading

import pytest

from tests.fakes.vcenter import VCenter
from tests.unit.preflight.conftest import Bench
from vmdk_cache.preflight.checklist import READ_ONLY
from vmdk_cache.preflight.live import LIVE

ROOT = pathlib.Path(__file__).parents[3]

pytestmark = pytest.mark.usefixtures("documented_account")


def test_each_probe_has_its_own_id_and_runs_after_those_that_it_needs() -> None:
    known: set[str] = set()
    for each in READ_ONLY:
        assert each.id not in known
        assert set(each.needs) <= known, each.id
        known.add(each.id)


def test_the_page_lists_the_probes() -> None:
    rows = (ROOT / "docs" / "preflight.rst").read_text().partition("Probes\n======\n")[2]
    names = re.findall(r"``([a-z]+\.[a-z-]+)``", rows)
    assert [name for name in names if not name.startswith("live.")] == [e.id for e in READ_ONLY]
    assert [name for name in names if name.startswith("live.")] == [each.id for each in LIVE]


def test_the_session_is_logged_out(bench: Bench, vcenter: VCenter) -> None:
    bench.run()
    assert vcenter.sessions.active() == []


def test_no_thread_is_left(bench: Bench) -> None:
    before = set(threading.enumerate())
    bench.run()
    mine = {each for each in threading.enumerate() if "ThreadPool" in each.name}
    assert mine <= before
