"""The names of all options that configuration files set, known or unknown."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from oslo_config import cfg

from vmdk_cache import conf
from vmdk_cache.cli import cinder_options

#: Options of Cinder's VMware driver and of this package that a backend's section may hold.
KNOWN = frozenset(
    {
        *cinder_options.VMWARE,
        *(option.dest for option in cinder_options.BACKEND),
        *(option.dest for group in conf.list_opts() for option in group[1]),
    }
)


def option_names(
    files: Sequence[str], directories: Sequence[str] = ()
) -> dict[str, frozenset[str]]:
    """Option names by section; files that cannot be read or parsed are skipped.

    :param directories: of ``*.conf`` files, as ``--config-dir`` takes them
    """
    found: dict[str, set[str]] = {}
    inside = [path for each in directories for path in glob.glob(os.path.join(each, "*.conf"))]
    for path in (*files, *inside):
        sections: dict[str, dict[str, list[str]]] = {}
        try:
            cfg.ConfigParser(path, sections).parse()
        except (cfg.ParseError, OSError, UnicodeDecodeError):
            continue
        for section, options in sections.items():
            found.setdefault(section, set()).update(options)
    return {section: frozenset(names) for section, names in found.items()}


def cinder_files() -> list[str]:
    """The files that are read if no ``--config-file`` is given."""
    return list(cfg.find_config_files(project="cinder", prog="cinder-volume"))
