"""``vmdk-cache samples``: writes the files that come with the package to a directory.

The files of etc/ are in the package as vmdk_cache/etc. The man page is made from the
parsers of the running program.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from vmdk_cache.cli import command
from vmdk_cache.cli.completion import SHELLS, script
from vmdk_cache.quoting import quoted, sentence

COLUMNS = ("File", "Purpose")
_ALERTS = "prometheus-alerts.yaml"
_RUNBOOK = re.compile(rb"\brunbook: docs/(\w+)\.rst, section (\w+)$", re.MULTILINE)
#: No quotes and no braces: the URL becomes a part of a YAML text and of Prometheus's template.
_URL = re.compile(r"https?://[A-Za-z0-9._~:/%\[\]@-]+")

#: File of etc/ -> what it is for.
PURPOSES = {
    "cinder.conf.example": "a complete cinder.conf to start from",
    "grafana-dashboard.json": "a dashboard: import it into Grafana",
    "prometheus-alerts.yaml": "alerts: name it in rule_files of prometheus.yml",
    "vmdk-cache.conf.sample": "every option with its default",
    "vmdk-cache-exporter.service": "a systemd unit for vmdk-cache exporter",
}
#: File -> what it is for.
MADE = {
    "vmdk-cache.1": "this program's man page",
    "vmdk-cache.bash": "completion for bash: /etc/bash_completion.d/vmdk-cache",
    "vmdk-cache.zsh": "completion for zsh: _vmdk-cache in a directory of $fpath",
    "vmdk-cache.fish": "completion for fish: /etc/fish/completions/vmdk-cache.fish",
}


class Samples(command.Lister):
    """Write the files that come with the package to a directory.

    These are an example of cinder.conf, a list of all options, a Grafana dashboard, alerts for
    Prometheus, a systemd unit for the exporter, the man page and completion scripts. The command
    needs no cinder.conf.
    """

    columns = COLUMNS

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "directory",
            type=_directory,
            metavar="DIRECTORY",
            help="where to write them; it is created if it does not exist",
        )
        parser.add_argument(
            "--force", action="store_true", help="overwrite files of the same names"
        )
        parser.add_argument(
            "--docs",
            type=_url,
            metavar="URL",
            help="where you publish the book that make docs builds: each alert gets a link to its "
            "runbook (runbook_url)",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[list[Any]]]:
        directory: Path = parsed_args.directory
        samples = {**_shipped(), **self._made()}
        if parsed_args.docs:
            samples[_ALERTS] = _with_links(samples[_ALERTS], parsed_args.docs)
        if not parsed_args.force:
            _check_absent(directory, samples)
        _write(directory, samples, overwrite=parsed_args.force)
        purposes = {**PURPOSES, **MADE}
        rows = [[str(directory / name), purposes[name]] for name in samples]
        if not self.is_for_people(parsed_args):
            return COLUMNS, rows
        self.tell_unless_quiet(f"wrote {len(rows)} files to {quoted(directory)}")
        names = [[name, purposes[name]] for name in samples]
        return self.fitted(
            parsed_args, COLUMNS, names, flexible={"Purpose": 20}, wrapped=["Purpose"]
        )

    def _made(self) -> dict[str, bytes]:
        from vmdk_cache.cli import man_page

        return {
            "vmdk-cache.1": man_page.text(self.app).encode(),
            **{f"vmdk-cache.{shell}": script(shell).encode() for shell in SHELLS},
        }


def _directory(text: str) -> Path:
    if not text:  # an unset variable: Path("") would be the current directory
        raise argparse.ArgumentTypeError("the name of the directory is empty; use . for this one")
    return Path(text)


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is not the URL of a directory, e.g. https://docs.example.com/vmdk-cache"
        )
    return text.rstrip("/")


def _with_links(alerts: bytes, docs: str) -> bytes:
    """The alert rules with a URL of each runbook."""

    def link(named: re.Match[bytes]) -> bytes:
        page, section = named[1].decode(), named[2].decode()
        return f'runbook_url: "{docs}/{page}.html#{section.lower()}"'.encode()

    return _RUNBOOK.sub(link, alerts)


def _shipped() -> dict[str, bytes]:
    folder = resources.files("vmdk_cache") / "etc"
    return {name: (folder / name).read_bytes() for name in PURPOSES}


def _check_absent(directory: Path, names: Mapping[str, bytes]) -> None:
    """:raises CommandFailedError: one of the files exists"""
    present = [name for name in names if os.path.lexists(directory / name)]
    if present:
        raise command.CommandFailedError(
            f"{quoted(directory)} has {', '.join(present)} already: nothing was written. "
            "Give another directory, or --force to overwrite"
        )


def _write(directory: Path, samples: Mapping[str, bytes], *, overwrite: bool) -> None:
    """:raises CommandFailedError: a file or the directory cannot be written"""
    path = directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in samples.items():
            path = directory / name
            if overwrite:
                path.unlink(missing_ok=True)  # a link is replaced, not followed
            with path.open("xb") as file:
                file.write(content)
    except OSError as failure:
        raise command.CommandFailedError(
            f"cannot write {quoted(path)}: {sentence(failure.strerror)}"
        ) from failure
