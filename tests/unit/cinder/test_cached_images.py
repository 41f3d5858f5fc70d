"""The images in a backend's report: short, and as good as their ids."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from vmdk_cache.cinder.cached_images import DIGEST_CHARACTERS, IDS_KEY, KEY, as_text, holds
from vmdk_cache.periodic.backend_report import MOST_IMAGES

#: Numbered ids, as a deployment tool may choose them: they differ in few characters.
NUMBERED = [str(uuid.UUID(int=number)) for number in range(20_000)]


def test_the_longest_report_takes_a_fifth_of_its_ids() -> None:
    held = NUMBERED[:MOST_IMAGES]
    text = as_text(held)
    assert len(text) == MOST_IMAGES * (DIGEST_CHARACTERS + 1) - 1 <= 1800
    assert len(text) < len(str(held)) / 5


def test_it_names_its_images_and_no_other() -> None:
    held, others = NUMBERED[:MOST_IMAGES], NUMBERED[MOST_IMAGES:]
    reported = {KEY: as_text(held)}
    assert all(holds(reported, image_id) for image_id in held)
    assert not any(holds(reported, image_id) for image_id in others)


def test_an_empty_cache_holds_nothing() -> None:
    assert as_text([]) == ""
    assert not holds({KEY: ""}, NUMBERED[1])
    assert not holds({KEY: ""}, "")


ANY = st.text(st.characters())  # with lone surrogates, which JSON can hold


@given(ANY, ANY)
def test_any_id_can_be_reported(one: str, other: str) -> None:
    """Ids come from records in vCenter, which anyone with access can change."""
    assert holds({KEY: as_text([one])}, one)
    assert holds({KEY: as_text([one])}, other) is (one == other)


def test_the_new_form_decides_while_a_pool_has_both() -> None:
    """Cinder's scheduler may keep keys of an earlier report."""
    both = {KEY: as_text(NUMBERED[:1]), IDS_KEY: NUMBERED[1:2]}
    assert holds(both, NUMBERED[0])
    assert not holds(both, NUMBERED[1])
