from __future__ import annotations

import pytest

from vmdk_cache.cinder.opt_in import wants_cache


def asks(
    *ways: str,
    metadata: str | None = None,
    spec: str | None = None,
    image: object = None,
) -> bool:
    return wants_cache(
        frozenset(ways),
        metadata={} if metadata is None else {"use_image_cache": metadata},
        extra_spec=spec,
        image_properties={} if image is None else {"use_image_cache": image},
    )


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


def test_always_needs_nobody_to_ask() -> None:
    assert asks("always")


@pytest.mark.parametrize("ways", [("always",), ("image",), ("volume_type",)])
def test_a_user_may_always_say_no(ways: tuple[str, ...]) -> None:
    assert not asks(*ways, metadata="false", spec="true", image="true")
