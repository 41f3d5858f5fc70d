"""UpdateVersions: the version strings of one property collector.

A complete update set has the next whole number. The pages of a truncated set are named after the
client's version and their position: "0_1", "0_2", then "1". Versions count for the collector, not
for a filter. (Recording of vpxd 5.5: "", "0_1", "1"; one of 5.x began at "6" on a collector that
was in use.)

A client may ask for a whole version again. The version of a page works once, in the next call of
WaitForUpdatesEx. (vSphere API reference, WaitForUpdatesEx and UpdateSet.truncated)
"""

from __future__ import annotations

from collections import OrderedDict

from pyVmomi import vmodl

VERSIONS_KEPT = 1000


class UpdateVersions:
    """Maps version strings to the collector's sequence numbers of changes."""

    def __init__(self) -> None:
        self._newest = 0
        self._numbers: OrderedDict[str, int] = OrderedDict()
        self._page: tuple[str, int | None, int] | None = None

    def find(self, version: str, *, pages: bool) -> tuple[int | None, int]:
        """The changes that a client with this version lacks: those after the first number (None: it
        has no state yet), except those that pages have reported up to the second number.

        InvalidCollectorVersion for a version that this collector never issued, and for that of a
        page unless the previous call issued it.

        :param pages: whether the calling method supports pages
        """
        page, self._page = self._page, None
        if version == "":
            return None, 0
        if pages and page is not None and version == page[0]:
            return page[1], page[2]
        if version not in self._numbers:
            raise vmodl.query.InvalidCollectorVersion()
        return self._numbers[version], 0

    def complete(self, number: int) -> str:
        """The version of an update set that reports every change up to `number`."""
        self._newest += 1
        version = str(self._newest)
        self._numbers[version] = number
        while len(self._numbers) > VERSIONS_KEPT:
            self._numbers.popitem(last=False)
        return version

    def partial(self, version: str, since: int | None, reached: int) -> str:
        """The version of a page that ends with change `reached`; `version` is the client's."""
        base, _, page = (version or "0").partition("_")
        following = f"{base}_{int(page or 0) + 1}"
        self._page = following, since, reached
        return following
