"""What the probes report of options, the ledger, Glance and the workers."""

from __future__ import annotations

import sqlite3

import pytest

from tests.unit.preflight.conftest import Bench
from vmdk_cache import errors
from vmdk_cache.conf import Settings
from vmdk_cache.preflight import configuration
from vmdk_cache.preflight.probe import Status

pytestmark = pytest.mark.usefixtures("documented_account")


KNOWN = frozenset({"image_cache_max_count", "enable_image_cache", "vmware_host_ip"})


def strange(**sections: set[str]) -> list[tuple[str, str]]:
    findings = configuration.strange_options("b1", sections, KNOWN)
    return [(each.seen, each.to_do) for each in findings]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("image_cache_max_cuont", "image_cache_max_count"),
        ("vmware_hostip", "vmware_host_ip"),
        ("enabel_image_cache", "enable_image_cache"),
        ("image_cache_maxcount", "image_cache_max_count"),
    ],
)
@pytest.mark.parametrize("section", ["b1", "backend_defaults"])
def test_a_misspelt_option_is_named_with_the_nearest_known(
    wrong: str, right: str, section: str
) -> None:
    [(seen, to_do)] = strange(**{section: {wrong, "image_cache_max_count"}})
    assert wrong in seen and section in seen
    assert f"did you mean {right}?" in to_do


def test_an_unknown_option_of_ours_is_named_and_others_are_ignored() -> None:
    [(seen, to_do)] = strange(b1={"vmware_zzz", "volume_driver", "nfs_shares_config"})
    assert "vmware_zzz" in seen and "did you mean" not in to_do
    assert strange(other={"image_cache_nonsense"}) == []


def test_an_option_of_a_backend_in_default_is_a_warning() -> None:
    [(seen, to_do)] = strange(DEFAULT={"enable_image_cache", "image_cache_weight_multiplier"})
    assert seen.startswith("enable_image_cache ") and "[b1]" in to_do


def test_a_cache_that_is_switched_off_is_a_warning(bench: Bench) -> None:
    bench.settings = Settings(enabled=False)
    assert bench.only("configuration.enabled").status is Status.WARNING


def test_a_file_that_is_no_ledger_is_named(bench: Bench, tmp_path: object) -> None:
    path = bench.surroundings.ledger_path
    assert path is not None
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE somebody_elses (x)")
    found = bench.only("configuration.ledger")
    assert found.status is Status.FAILED and path in found.seen


@pytest.mark.parametrize(("path", "status"), [(None, "ok"), ("/nowhere/ledger", "warning")])
def test_a_ledger_that_cannot_be_made_is_a_warning(
    bench: Bench, path: str | None, status: str
) -> None:
    bench.change(ledger_path=path)
    assert bench.only("configuration.ledger").status.value == status


def test_a_read_leaves_no_ledger_behind(bench: Bench) -> None:
    assert bench.only("configuration.ledger").status is Status.OK
    with pytest.raises(FileNotFoundError):
        open(bench.surroundings.ledger_path or "").close()


@pytest.mark.parametrize(
    ("auto_warm", "every", "failure", "status"),
    [
        (False, True, None, "ok"),
        (False, False, None, "warning"),
        (True, False, None, "failed"),
        (False, True, errors.SourceUnavailable("out of reach"), "warning"),
        (True, True, errors.SourceUnavailable("out of reach"), "failed"),
        (True, True, errors.ConfigError("no user for Glance"), "failed"),
    ],
)
def test_glance_must_show_all_images_where_images_are_kept_warm(
    bench: Bench, auto_warm: bool, every: bool, failure: errors.VmdkCacheError, status: str
) -> None:
    bench.settings = Settings(enabled=True, auto_warm=auto_warm)
    bench.images.every, bench.images.failure = every, failure
    assert bench.only("glance.service-user").status.value == status


@pytest.mark.parametrize(
    ("count", "status", "says"),
    [
        (None, "ok", "unset"),
        (64, "warning", "= 64: "),
        (563, "warning", "= 563: "),
        (564, "ok", "up to 500 volumes"),
        (1064, "ok", "up to 1000 volumes"),
    ],
)
def test_too_few_workers_for_a_burst_are_a_warning(
    bench: Bench, count: int | None, status: str, says: str
) -> None:
    bench.change(workers=count)
    found = bench.only("configuration.workers")
    assert (found.status.value, says in found.seen) == (status, True)
    assert ("set it to 564 or more" in found.to_do) == (status == "warning")
