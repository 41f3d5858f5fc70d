from __future__ import annotations

import dataclasses

import pytest

from tests.fakes.entries import entry
from vmdk_cache.cache.entry import CacheEntry, Phase
from vmdk_cache.cli.command import CommandFailedError
from vmdk_cache.cli.image_choice import MOST_CANDIDATES, chosen, names_of, short_ids

UBUNTU, DEBIAN, WEB = "2f6c0f0e-1111", "2f6c9a00-2222", "cafe0000-3333"
NAMES = {UBUNTU: "ubuntu-24.04", DEBIAN: "debian-13", WEB: "debian-13-web"}


@pytest.mark.parametrize(
    ("text", "image_id"),
    [
        (UBUNTU, UBUNTU),
        ("ubuntu-24.04", UBUNTU),
        ("ubun", UBUNTU),
        ("2f6c0", UBUNTU),
        ("cafe", WEB),
        ("debian-13", DEBIAN),  # also a prefix of another name
    ],
)
def test_an_id_a_name_or_a_unique_prefix_selects_an_image(text: str, image_id: str) -> None:
    assert chosen(text, NAMES) == image_id


def test_an_id_wins_over_a_name_that_looks_like_it() -> None:
    assert chosen(UBUNTU, {**NAMES, WEB: UBUNTU}) == UBUNTU


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2f6c", f"'2f6c' fits 2 images in the cache: use an id, 'ubuntu-24.04' ({UBUNTU}), "
                 f"'debian-13' ({DEBIAN})"),
        ("ubu", f"no image 'ubu' in the cache; did you mean 'ubuntu-24.04' ({UBUNTU})?"),
        ("Ubuntu-24.04", f"no image 'Ubuntu-24.04' in the cache; did you mean 'ubuntu-24.04' "
                         f"({UBUNTU})?"),
        ("windows", "no image 'windows' in the cache; vmdk-cache list shows what is there"),
        ("", "no image '' in the cache; vmdk-cache list shows what is there"),
    ],
)  # fmt: skip
def test_another_text_is_refused_with_the_nearest_images(text: str, says: str) -> None:
    with pytest.raises(CommandFailedError) as refused:
        chosen(text, NAMES)
    assert str(refused.value) == says


def test_a_name_that_two_images_have_is_refused() -> None:
    with pytest.raises(CommandFailedError, match="fits 2 images in the cache: use an id"):
        chosen("web", {"1": "web", "2": "web"})


def test_an_empty_cache_is_named_as_such() -> None:
    with pytest.raises(CommandFailedError, match="no image 'web' in vmware1, which is empty"):
        chosen("web", {}, "vmware1")


def test_another_place_has_a_hint_of_its_own() -> None:
    for names in (NAMES, {}):
        with pytest.raises(CommandFailedError) as refused:
            chosen("windows", names, "Glance", "openstack image list shows the others")
        said = "no image 'windows' in Glance; openstack image list shows the others"
        assert str(refused.value) == said


def test_a_few_candidates_are_offered_of_many() -> None:
    many = {f"{number:08}": f"ubuntu-{number}" for number in range(40)}
    with pytest.raises(CommandFailedError) as refused:
        chosen("ubuntu", many)
    assert str(refused.value).count("ubuntu-") == MOST_CANDIDATES
    assert "and 35 more" in str(refused.value)


def test_a_hostile_name_is_shown_in_quotes() -> None:
    with pytest.raises(CommandFailedError) as refused:
        chosen("evil", {"1": "evil\x1b[2J", "2": "evil\n"})
    assert "\x1b" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_image_has_the_name_of_its_latest_import() -> None:
    def template(name: str, age_s: float) -> CacheEntry:
        made = entry("vm-1", age_s, image=UBUNTU)
        assert made.record is not None
        return dataclasses.replace(made, record=dataclasses.replace(made.record, image_name=name))

    new, old = template("ubuntu-24.04", 10), template("noble", 60)
    unnamed = template("", 1)  # of an earlier version of this package
    assert names_of([new, unnamed, old]) == {UBUNTU: "ubuntu-24.04"}
    foreign = entry("vm-2", image=DEBIAN, phase=Phase.FOREIGN)
    assert names_of([foreign, entry("vm-3", image=WEB, phase=Phase.ADOPTED)]) == {}


def test_a_short_id_tells_an_image_from_the_others() -> None:
    assert short_ids([UBUNTU, DEBIAN]) == {UBUNTU: "2f6c0f0e", DEBIAN: "2f6c9a00"}
    assert short_ids(["aaaaaaaa-1", "aaaaaaaa-2"]) == {
        "aaaaaaaa-1": "aaaaaaaa-1",
        "aaaaaaaa-2": "aaaaaaaa-2",
    }
    assert short_ids(["short", UBUNTU, UBUNTU]) == {"short": "short", UBUNTU: "2f6c0f0e"}
    assert short_ids([]) == {}
