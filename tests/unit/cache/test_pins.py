from __future__ import annotations

import pytest

from vmdk_cache import errors
from vmdk_cache.cache.pins import Pins


def test_a_template_that_is_being_cloned_is_not_deleted() -> None:
    pins = Pins()
    with (
        pins.pin("vm-1"),
        pins.pin("vm-1"),
        pytest.raises(errors.InUse),
        pins.deleting("vm-1"),
    ):
        pass


def test_a_template_that_is_being_deleted_is_not_pinned() -> None:
    pins = Pins()
    with (
        pins.deleting("vm-1"),
        pytest.raises(errors.ObjectNotFound) as gone,
        pins.pin("vm-1"),
    ):
        pass
    assert gone.value.moref == "vm-1"


def test_two_purges_do_not_delete_the_same_template() -> None:
    pins = Pins()
    with (
        pins.deleting("vm-1"),
        pytest.raises(errors.InUse),
        pins.deleting("vm-1"),
    ):
        pass


def test_a_failed_deletion_gives_the_template_back() -> None:
    pins = Pins()
    with pytest.raises(KeyError), pins.deleting("vm-1"):
        raise KeyError
    with pins.pin("vm-1"):
        pass


def test_a_failed_clone_gives_its_pin_back() -> None:
    pins = Pins()
    with pytest.raises(KeyError), pins.pin("vm-1"):
        raise KeyError
    with pins.deleting("vm-1"):
        pass


def test_other_templates_do_not_matter() -> None:
    pins = Pins()
    with pins.pin("vm-1"), pins.deleting("vm-2"):
        pass


def test_an_awaited_template_is_deleted_only_if_it_is_broken() -> None:
    pins = Pins()
    with pins.awaited(["vm-1", "vm-2"]), pins.awaited(["vm-1"]), pins.pin("vm-3"):
        assert pins.in_use() == {"vm-1", "vm-2", "vm-3"}
        assert [pins.count(moref) for moref in ("vm-1", "vm-2", "vm-3")] == [0, 0, 1]
        with pytest.raises(errors.InUse), pins.deleting("vm-1"):
            pass
        with pins.deleting("vm-1", is_broken=True):
            pass
    assert pins.in_use() == frozenset()
    with pins.deleting("vm-1"):
        pass


def test_holders_are_counted_by_template() -> None:
    pins = Pins()
    with pins.pin("vm-1"), pins.pin("vm-1"), pins.pin("vm-2"):
        assert [pins.count(moref) for moref in ("vm-1", "vm-2", "vm-3")] == [2, 1, 0]
    assert pins.count("vm-1") == 0
