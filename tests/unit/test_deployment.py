"""The id derived from a cinder.conf: one for each cloud, the same on all its hosts."""

from __future__ import annotations

import pathlib

import pytest

from vmdk_cache import errors
from vmdk_cache.conf import OPTIONS
from vmdk_cache.deployment import DERIVED, configured_region, derived_id

KOLLA = """
[DEFAULT]
glance_api_servers = http://10.0.0.250:9292
my_ip = 10.0.0.11
[keystone_authtoken]
www_authenticate_uri = http://10.0.0.250:5000
auth_url = http://10.0.0.250:5000
password = secret
region_name = RegionOne
[nova]
auth_url = http://10.0.0.250:5000
region_name = RegionOne
"""
NONE_AT_ALL = derived_id([])


@pytest.fixture
def id_of(tmp_path: pathlib.Path):  # type: ignore[no-untyped-def]
    def derived(text: str) -> str:
        path = tmp_path / "cinder.conf"
        path.write_text(text)
        return derived_id([str(path)])

    return derived


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("my_ip = 10.0.0.11", "my_ip = 10.0.0.12"),
        ("password = secret", "password = another"),
        ("auth_url = http://10.0.0.250:5000", "auth_url = https://10.0.0.250/identity/v3"),
        ("auth_url = http://10.0.0.250:5000", "auth_url = HTTP://10.0.0.250:35357"),
        ("www_authenticate_uri = http://10.0.0.250", "www_authenticate_uri = http://public"),
        ("glance_api_servers = http://10.0.0.250:9292", ""),
        ("[nova]", "[somewhere_else]"),
        ("region_name = RegionOne\n[nova]", "[nova]"),
    ],
)
def test_options_that_differ_between_hosts_or_releases_do_not_count(
    id_of,
    before: str,
    after: str,  # type: ignore[no-untyped-def]
) -> None:
    assert before in KOLLA
    assert id_of(KOLLA.replace(before, after)) == id_of(KOLLA)


@pytest.mark.parametrize("change", [("10.0.0.250", "10.1.0.250"), ("RegionOne", "RegionTwo")])
def test_another_cloud_or_region_has_another_id(id_of, change: tuple[str, str]) -> None:  # type: ignore[no-untyped-def]
    assert id_of(KOLLA.replace(*change)) != id_of(KOLLA)


@pytest.mark.parametrize(
    "text",
    [
        "[keystone_authtoken]\nauth_url = http://k",
        "[keystone_authtoken]\nwww_authenticate_uri = http://k:5000",
        "[service_user]\nauth_url = k:5000/v3",
        "[nova]\nauth_url = http://k/",
        "[glance]\nauth_url = http://k/v3",
        "[keystone_authtoken]\nauth_url = http://localhost:5000\n[nova]\nauth_url = http://k",
        "[DEFAULT]\nglance_api_servers = http://g:9292\n[nova]\nauth_url = http://k",
    ],
)
def test_keystone_is_found_in_whatever_section_names_it(id_of, text: str) -> None:  # type: ignore[no-untyped-def]
    assert id_of(text) == id_of("[keystone_authtoken]\nauth_url = http://k:5000/v3")
    assert id_of(text) != id_of(f"{text}\n[glance]\nregion_name = two")


def test_without_keystone_the_hosts_of_glance_count_in_any_order(id_of) -> None:  # type: ignore[no-untyped-def]
    one = id_of("[DEFAULT]\nauth_strategy = noauth\nglance_api_servers = http://a:9292,b:9292")
    assert one == id_of("[DEFAULT]\nglance_api_servers = https://b,http://a:80/v2")
    assert one not in (id_of("[DEFAULT]\nglance_api_servers = http://a"), NONE_AT_ALL)


@pytest.mark.parametrize(
    "text",
    [
        "[DEFAULT]\nenabled_backends = vmware1",
        "[DEFAULT]\nglance_api_servers = http://127.0.0.1:9292",
        "[keystone_authtoken]\nauth_url = http://[::1]:5000",
        "[keystone_authtoken]\nauth_url = http://[broken",
    ],
)
def test_a_configuration_that_tells_no_clouds_apart_has_an_id_as_well(id_of, text: str) -> None:  # type: ignore[no-untyped-def]
    assert id_of(text) == NONE_AT_ALL


def test_a_later_file_counts_and_a_directory_too(tmp_path: pathlib.Path) -> None:
    first, second = tmp_path / "a.conf", tmp_path / "parts" / "b.conf"
    second.parent.mkdir()
    first.write_text("[nova]\nauth_url = http://one")
    second.write_text("[nova]\nauth_url = http://two")
    assert derived_id([str(first), str(second)]) == derived_id([str(second)])
    assert derived_id([str(first)], [str(second.parent)]) == derived_id([str(second)])
    assert derived_id([str(first)]) != derived_id([str(second)])


def test_the_configured_region_is_the_first_that_is_set(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "cinder.conf"
    path.write_text("[glance]\nregion_name = four\n[nova]\nregion_name = three")
    assert configured_region([str(path)]) == "three"
    path.write_text(KOLLA)
    assert configured_region([str(path)]) == configured_region([], [str(tmp_path)]) == "RegionOne"
    path.write_text("no section = 5")
    assert configured_region([str(path)]) == configured_region([]) == ""


def test_a_derived_id_is_one_that_the_option_takes_and_stays_the_same() -> None:
    """Records that outlive every process contain it: a changed id would orphan them."""
    option = next(option for option in OPTIONS if option.name == "image_cache_deployment_id")
    assert option.type(NONE_AT_ALL) == NONE_AT_ALL == "auto-e776a0709093"
    assert NONE_AT_ALL.startswith(DERIVED)


@pytest.mark.parametrize("text", ["no section = 5", "[nova]\nauth_url = $password_of_nova"])
def test_a_file_that_cannot_be_used_is_named_without_its_text(id_of, text: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(errors.ConfigError, match="set image_cache_deployment_id") as raised:
        id_of(text)
    assert "section = 5" not in str(raised.value)
    assert "password_of_nova" not in str(raised.value)
