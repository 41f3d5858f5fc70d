from __future__ import annotations

import pytest

from vmdk_cache import errors
from vmdk_cache.cache.lease import LeaseBook


def test_a_template_that_is_being_cloned_is_not_condemned() -> None:
    book = LeaseBook()
    with book.hold("vm-1"), book.hold("vm-1"), pytest.raises(errors.InUse), book.condemn("vm-1"):
        pass


def test_a_condemned_template_is_not_leased() -> None:
    book = LeaseBook()
    with book.condemn("vm-1"), pytest.raises(errors.ObjectNotFound) as gone, book.hold("vm-1"):
        pass
    assert gone.value.moref == "vm-1"


def test_two_purges_do_not_delete_the_same_template() -> None:
    book = LeaseBook()
    with book.condemn("vm-1"), pytest.raises(errors.InUse), book.condemn("vm-1"):
        pass


def test_a_failed_deletion_gives_the_template_back() -> None:
    book = LeaseBook()
    with pytest.raises(KeyError), book.condemn("vm-1"):
        raise KeyError
    with book.hold("vm-1"):
        pass


def test_a_failed_clone_gives_its_lease_back() -> None:
    book = LeaseBook()
    with pytest.raises(KeyError), book.hold("vm-1"):
        raise KeyError
    with book.condemn("vm-1"):
        pass


def test_other_templates_do_not_matter() -> None:
    book = LeaseBook()
    with book.hold("vm-1"), book.condemn("vm-2"):
        pass


def test_holders_are_counted_by_template() -> None:
    book = LeaseBook()
    with book.hold("vm-1"), book.hold("vm-1"), book.hold("vm-2"):
        assert [book.holders(moref) for moref in ("vm-1", "vm-2", "vm-3")] == [2, 1, 0]
    assert book.holders("vm-1") == 0
    assert book.held() == frozenset()
