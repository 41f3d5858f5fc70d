from __future__ import annotations

import pytest

from vmdk_cache.cinder.opt_in import Unclear, asked


def asks(
    *ways: str,
    metadata: str | None = None,
    spec: str | None = None,
    image: object = None,
) -> bool:
    return answer(*ways, metadata=metadata, spec=spec, image=image) is True


@pytest.mark.parametrize("text", ["true", "True", " TRUE ", "yes", "on", "1", "t", "y"])
def test_a_yes_in_any_of_cinders_spellings_is_a_yes(text: str) -> None:
    assert asks("metadata", metadata=text)


@pytest.mark.parametrize("text", ["", "false", "no", "0", "perhaps", "tru", "ja", None])
def test_anything_else_is_no_yes(text: str | None) -> None:
    assert not asks("metadata", metadata=text)


def test_a_way_that_the_operator_does_not_allow_does_not_count() -> None:
    assert not asks("volume_type", metadata="true", image="true")
    assert not asks("metadata", spec="true", image="true")
    assert not asks("image", metadata="true", spec="true")


def test_each_allowed_way_suffices() -> None:
    ways = ("metadata", "volume_type", "image")
    assert asks(*ways, metadata="true")
    assert asks(*ways, spec="true")
    assert asks(*ways, spec="<is> True")
    assert asks(*ways, image="true")
    assert asks(*ways, image=True)
    assert not asks(*ways)


def test_always_needs_no_request() -> None:
    assert asks("always")


@pytest.mark.parametrize("ways", [("always",), ("image",), ("volume_type",)])
def test_a_user_may_always_say_no(ways: tuple[str, ...]) -> None:
    assert not asks(*ways, metadata="false", spec="true", image="true")


def answer(
    *ways: str, metadata: str | None = None, spec: str | None = None, image: object = None
) -> bool | Unclear:
    return asked(
        frozenset(ways),
        metadata={} if metadata is None else {"use_image_cache": metadata},
        extra_spec=spec,
        image_properties={} if image is None else {"use_image_cache": image},
    )


OWN = "use_image_cache of the volume"


@pytest.mark.parametrize("text", ["trve", "maybe", "", " ", "flase", "2", "x" * 60_000])
def test_a_value_that_is_neither_yes_nor_no_is_reported_with_its_place(text: str) -> None:
    assert answer("metadata", metadata=text) == Unclear(OWN, text)
    assert answer("image", image=text) == Unclear("use_image_cache of the image", text)
    where = "vmware:use_image_cache of the volume type"
    assert answer("volume_type", spec=text) == Unclear(where, text)


@pytest.mark.parametrize(
    "others", [{"spec": "true"}, {"image": "true"}, {"spec": "maybe"}, {"image": "maybe"}]
)
def test_the_volumes_own_value_wins_even_if_it_is_unclear(others: dict[str, str]) -> None:
    """The user may have meant no."""
    ways = ("volume_type", "image")
    assert answer(*ways, metadata="flase", **others) == Unclear(OWN, "flase")
    assert answer("always", metadata="flase") == Unclear(OWN, "flase")


def test_an_unclear_value_is_ignored_where_a_clear_one_would_be() -> None:
    assert answer("image", metadata="maybe", spec="maybe") is False
    assert answer("metadata", spec="maybe", image="maybe") is False
    assert answer(metadata="maybe") is False


def test_a_clear_yes_of_one_outweighs_an_unclear_one_of_another() -> None:
    assert answer("volume_type", "image", spec="true", image="maybe") is True
    assert answer("volume_type", "image", spec="maybe", image="true") is True
    assert answer("metadata", "image", metadata="true", image="maybe") is True
    assert answer("always", "image", image="maybe") is True


def test_an_unclear_answer_is_no_clear_yes() -> None:
    assert not asks("metadata", metadata="maybe")
    assert answer("metadata", "image", metadata="false", image="maybe") is False
    assert answer("image", image="false") is False
