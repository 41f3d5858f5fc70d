from __future__ import annotations

import pathlib

import pytest
from oslo_config import cfg

from vmdk_cache import conf


def load(path: pathlib.Path, text: str) -> conf.Settings:
    path.write_text(f"[b1]\n{text}\n")
    loaded = cfg.ConfigOpts()
    loaded.register_opts(conf.OPTIONS, group="b1")
    loaded.register_opt(cfg.StrOpt("state_path", default="/state"))  # Cinder's own
    loaded(["--config-file", str(path)], default_config_files=[])
    for option in conf.OPTIONS:
        loaded.b1[option.dest]  # a wrong value is refused when it is read
    return conf.Settings.from_options(loaded.b1)


def test_the_defaults_are_those_of_the_options(tmp_path: pathlib.Path) -> None:
    assert load(tmp_path / "c", "") == conf.Settings()


def test_units_are_the_engines(tmp_path: pathlib.Path) -> None:
    loaded = load(tmp_path / "c", "image_cache_max_size_gb = 2\nimage_cache_opt_in = image,always")
    assert loaded.max_size_bytes == 2 << 30
    assert loaded.opt_in == {"image", "always"}


@pytest.mark.parametrize(
    "line",
    [
        "image_cache_purge_interval = 0",
        "image_cache_age_seconds = -1",
        "image_cache_max_size_gb = -1",
        "image_cache_opt_in = everybody",
        "image_cache_lock_timeout = 0",
        "enable_image_cache = perhaps",
    ],
)
def test_a_value_out_of_range_is_refused_by_name(tmp_path: pathlib.Path, line: str) -> None:
    with pytest.raises(cfg.ConfigFileValueError, match=line.split(" ", 1)[0]):
        load(tmp_path / "c", line)


def test_all_settings_change_without_a_restart_and_where_things_are_does_not() -> None:
    fixed = {option.dest for option in conf.OPTIONS if not option.mutable}
    assert fixed == {"image_cache_deployment_id", "image_cache_ledger"}
    assert all(option.mutable for option in conf.SCHEDULER_OPTIONS)


def test_settings_that_change_are_those_that_are_in_force() -> None:
    live = conf.LiveSettings(conf.Settings(max_count=1))
    live.change(changed := conf.Settings(max_count=2))
    assert live() is changed


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("", "/state/vmdk-cache.sqlite"),
        ("image_cache_ledger =", ""),
        ("image_cache_ledger = /elsewhere/l.sqlite", "/elsewhere/l.sqlite"),
    ],
)
def test_the_ledger_is_in_cinders_state_path_by_default(
    tmp_path: pathlib.Path, line: str, path: str
) -> None:
    (tmp_path / "c").write_text(f"[b1]\n{line}\n")
    loaded = cfg.ConfigOpts()
    loaded.register_opts(conf.OPTIONS, group="b1")
    loaded.register_opt(cfg.StrOpt("state_path", default="/state"))
    loaded(["--config-file", str(tmp_path / "c")], default_config_files=[])
    assert loaded.b1.image_cache_ledger == path
