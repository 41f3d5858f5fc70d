from __future__ import annotations

import pytest

from vmdk_cache import errors
from vmdk_cache.cache.templates_in_use import TemplatesInUse


def test_a_template_that_is_being_cloned_is_not_deleted() -> None:
    templates = TemplatesInUse()
    with (
        templates.use("vm-1"),
        templates.use("vm-1"),
        pytest.raises(errors.InUse),
        templates.deleting("vm-1"),
    ):
        pass


def test_a_template_that_is_being_deleted_is_not_cloned() -> None:
    templates = TemplatesInUse()
    with (
        templates.deleting("vm-1"),
        pytest.raises(errors.ObjectNotFound) as gone,
        templates.use("vm-1"),
    ):
        pass
    assert gone.value.moref == "vm-1"


def test_two_purges_do_not_delete_the_same_template() -> None:
    templates = TemplatesInUse()
    with (
        templates.deleting("vm-1"),
        pytest.raises(errors.InUse),
        templates.deleting("vm-1"),
    ):
        pass


def test_a_failed_deletion_gives_the_template_back() -> None:
    templates = TemplatesInUse()
    with pytest.raises(KeyError), templates.deleting("vm-1"):
        raise KeyError
    with templates.use("vm-1"):
        pass


def test_a_failed_clone_no_longer_uses_its_template() -> None:
    templates = TemplatesInUse()
    with pytest.raises(KeyError), templates.use("vm-1"):
        raise KeyError
    with templates.deleting("vm-1"):
        pass


def test_other_templates_do_not_matter() -> None:
    templates = TemplatesInUse()
    with templates.use("vm-1"), templates.deleting("vm-2"):
        pass


def test_an_awaited_template_is_deleted_only_if_it_is_broken() -> None:
    templates = TemplatesInUse()
    with (
        templates.awaited(["vm-1", "vm-2"]),
        templates.awaited(["vm-1"]),
        templates.use("vm-3"),
    ):
        assert templates.morefs() == {"vm-1", "vm-2", "vm-3"}
        assert [templates.count(moref) for moref in ("vm-1", "vm-2", "vm-3")] == [0, 0, 1]
        with pytest.raises(errors.InUse), templates.deleting("vm-1"):
            pass
        with templates.deleting("vm-1", is_broken=True):
            pass
    assert templates.morefs() == frozenset()
    with templates.deleting("vm-1"):
        pass


def test_holders_are_counted_by_template() -> None:
    templates = TemplatesInUse()
    with templates.use("vm-1"), templates.use("vm-1"), templates.use("vm-2"):
        assert [templates.count(moref) for moref in ("vm-1", "vm-2", "vm-3")] == [2, 1, 0]
    assert templates.count("vm-1") == 0
