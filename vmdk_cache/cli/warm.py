"""``vmdk-cache warm``: import images before the first volume needs them."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from vmdk_cache import errors
from vmdk_cache.cli import command, exit_code, image_choice, image_table
from vmdk_cache.cli.columns import Plain, Seconds, Size
from vmdk_cache.quoting import quoted, sentence

if TYPE_CHECKING:
    from vmdk_cache.cli.configuration import BackendConfiguration
    from vmdk_cache.cli.glance import Glance
    from vmdk_cache.cli.warm_run import Errand, Target
    from vmdk_cache.image import Image, ImageSource
    from vmdk_cache.wiring import RunningCache

COLUMNS = ("Image", "Name", "Backend", "Datastore", "Status", "Read", "Took", "Detail")
_FLEXIBLE = {"Detail": 24, "Name": 16, "Datastore": 9}
PARALLEL = 2
_HINT = "openstack image list shows those that this user sees"
_CHUNK_BYTES = 1 << 20


class Warm(command.Lister):
    """Import images into the caches before the first volume asks for them.

    All images are looked up and checked first; if any check fails, nothing is imported. An image
    that is already cached is not imported again, but its age restarts. Safe while services are
    running: if one of them is importing an image, this command waits for it.

    Glance credentials come from the environment (OS_USERNAME and so on) if OS_AUTH_URL is set,
    otherwise from [glance] or [service_user] in cinder.conf. Ctrl-C aborts running imports and
    leaves nothing of them in vCenter. Status: imported, replicated (copied within vCenter), already
    there; refused, failed, broken off, not begun.
    """

    columns = COLUMNS
    _was_broken_off = False

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "image",
            nargs="+",
            metavar="IMAGE",
            help="id or name of an image in Glance, or a prefix that no other VMDK image has (4 "
            "characters or more)",
        )
        parser.add_argument(
            "--datastore",
            action="append",
            default=[],
            metavar="NAME",
            help="datastore that should have a copy; may be repeated: the image is imported to the "
            "first one and replicated to the others (default: one copy, on the datastore with the "
            "most free space)",
        )
        parser.add_argument(
            "--parallel",
            type=_at_least_one,
            default=PARALLEL,
            metavar="N",
            help=f"number of concurrent imports, each a download from Glance (default: {PARALLEL})",
        )
        parser.add_argument(
            "--from-file",
            type=pathlib.Path,
            metavar="FILE",
            help="read the image from this file instead of Glance; its size and hash must match "
            "Glance's. One IMAGE only",
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], list[Any]]:
        from vmdk_cache.cli.progress import progress
        from vmdk_cache.cli.warm_run import SUCCESSES, WarmRun
        from vmdk_cache.clock import SystemClock

        if parsed_args.from_file is not None and len(parsed_args.image) > 1:
            raise command.UsageError("argument --from-file: only one IMAGE is allowed")
        source: ImageSource
        source = asked = self.glance()
        images = self._found(asked, parsed_args.image)
        if parsed_args.from_file is not None:
            source = _ImageFile(parsed_args.from_file, images[0])
        caches = self._enabled()
        keeping = [cache for configured, cache in caches if configured.settings.auto_warm]
        marked = {image.id for image in asked.marked()} if keeping else set()
        for cache in keeping:
            cache.kept.set(marked)
        errands = _errands(images, caches, parsed_args.datastore)
        clock, quiet = SystemClock(), self.app.options.verbose_level == 0
        run = WarmRun(
            errands,
            source,
            parallel=parsed_args.parallel,
            progress=progress(self.app.stderr, clock, quiet=quiet),
            clock=clock,
        )
        # A backend that could not be opened counts as a failed check.
        if not run.check() or self.result != exit_code.OK:
            self.tell("nothing was imported")
        elif not run.run():
            self.fail(exit_code.INTERRUPTED)
            self._was_broken_off = True
        targets = [target for errand in errands for target in errand.targets]
        for target in targets:
            if target.failure is not None:
                self.fail(exit_code.of(target.failure))
            elif target.status not in SUCCESSES:
                self.fail()
        self._targets = targets
        rows = [_row(target) for target in targets]
        shown = COLUMNS if any(target.failure for target in targets) else COLUMNS[:-1]
        return image_table.output(
            self, parsed_args, COLUMNS, rows, shown, flexible=_FLEXIBLE, wrapped=["Detail"]
        )

    def produce_output(
        self, parsed_args: argparse.Namespace, column_names: Sequence[str], data: Any
    ) -> int:
        from vmdk_cache.cli.warm_run import last_words

        code = super().produce_output(parsed_args, column_names, data)
        if self._was_broken_off:
            self.tell(last_words(self._targets))
        return code

    def _enabled(self) -> list[tuple[BackendConfiguration, RunningCache]]:
        """The caches of enabled backends. Backends with a disabled cache are included only if
        selected by name, or if there are no others; each is then refused with the reason."""
        options: Any = self.app_args
        every = list(self.caches())
        return [each for each in every if each[0].settings.enabled or options.backend] or every

    def _found(self, source: Glance, wanted: Sequence[str]) -> list[Image]:
        """Return each image once, in command-line order; print every image that is not found.

        :raises CommandFailedError: an image is not found, or its name is ambiguous
        :raises SourceUnavailable: the request to Glance failed
        """
        found: dict[str, Image] = {}
        missing = False
        for text in wanted:
            try:
                image = _chosen(source, text)
                found[image.id] = image
            except command.CommandFailedError as failure:
                self.tell(str(failure))
                missing = True
        if missing:
            raise command.CommandFailedError("nothing was imported")
        return list(found.values())


def _chosen(source: Glance, text: str) -> Image:
    """The image with that id, name or prefix.

    :raises CommandFailedError: none, or more than one, fits
    :raises SourceUnavailable: the request to Glance failed
    """
    matches = source.find(text)
    if len(matches) == 1:
        return matches[0]
    # Glance finds only whole names, so a prefix costs a list of its images.
    images = {image.id: image for image in matches or source.importable()}
    names = {image.id: image.name for image in images.values()}
    return images[image_choice.chosen(text, names, "Glance", _HINT)]


def _errands(
    images: Sequence[Image],
    caches: Sequence[tuple[BackendConfiguration, RunningCache]],
    datastores: Sequence[str],
) -> list[Errand]:
    """One errand for each image and backend; with datastores, only for backends that use one of
    them.

    :raises UsageError: no backend uses a datastore of that name
    """
    from vmdk_cache.cli.warm_run import Errand, Target

    wanted = dict.fromkeys(datastores)
    usable = {
        configured.name: {each.name: each.moref for each in cache.placement.datastores()}
        for configured, cache in caches
    }
    known = {name for names in usable.values() for name in names}
    for name in wanted:
        if name not in known:
            raise command.UsageError(
                f"argument --datastore: no opened backend uses a datastore {quoted(name)}; they "
                f"use {', '.join(sorted(known)) or 'none'}"
            )
    errands = []
    for image in images:
        for configured, cache in caches:
            names = usable[configured.name]
            places = [(name, names[name]) for name in wanted if name in names]
            targets = [
                Target(image, moref, name, configured.name)
                for name, moref in (places if wanted else [(None, None)])
            ]
            if targets:
                errands.append(Errand(cache, configured.adapter_type, targets))
    return errands


class _ImageFile:
    """An :class:`~vmdk_cache.image.ImageSource` of one file that must be identical to Glance's
    image: its length is compared here, its hash during the import (vmdk_cache/vmdk/read_ahead.py).

    :raises ConfigError: the file does not exist or cannot be read
    :raises ImageCorrupt: the file differs from the image
    :raises ImageFormatError: Glance has no hash to compare the file with
    """

    def __init__(self, path: pathlib.Path, image: Image) -> None:
        self._path = path
        try:
            with path.open("rb"):
                size_bytes = path.stat().st_size
        except OSError as failure:
            raise errors.ConfigError(f"argument --from-file: {sentence(failure)}") from failure
        if not (image.os_hash_value or image.checksum):
            raise errors.ImageFormatError(
                f"Glance has no hash of {image}, so {path} cannot be verified: import the image "
                "without --from-file"
            )
        if image.size_bytes and size_bytes != image.size_bytes:
            raise errors.ImageCorrupt(
                f"{path} has {size_bytes} bytes, but {image} has {image.size_bytes} bytes in "
                "Glance: it is a different file"
            )

    def open(self, image: Image) -> Iterator[bytes]:
        """:raises SourceUnavailable: the file cannot be read"""
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        except OSError as failure:
            raise errors.SourceUnavailable(f"{self._path}: {sentence(failure)}") from failure


def _row(target: Target) -> list[Any]:
    return [
        target.image.id,
        Plain(target.image.name or None),
        target.backend,
        Plain(target.datastore_name or target.found_in),
        target.status.value,
        Size(target.bytes_read),
        Seconds(target.seconds),
        Plain(str(target.failure) if target.failure else None),
    ]


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"not a positive number: {quoted(text)}")
    return int(text)
