"""Removes what runs of the contract suite have created, and nothing else.

Sessions end first, since a lease locks its virtual machine and ends with its session; then virtual
machines, folders, directories and custom attributes are removed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pyVmomi import vim

from tests.contract.ground import WITHOUT_NAMES
from tests.contract.journal import sessions_in
from tests.contract.run import PREFIX, Run, run_of
from vmdk_cache import errors, retry
from vmdk_cache.cache.record import ATTRIBUTES
from vmdk_cache.quoting import quoted
from vmdk_cache.vim import datastore_browser, inventory, properties, template
from vmdk_cache.vim.custom_attribute import CustomAttributes
from vmdk_cache.vim.session import Session
from vmdk_cache.vim.task import TaskWaiter

#: vCenter may lock a VM or a folder for a moment after an operation on it.
_ATTEMPTS = 6
_AT_ONCE = 8
_TASK_TIMEOUT_S = 600.0
#: The cache's own attributes, each with the suffix of one that records that a run has defined it.
_DEFINED = {name: f"defined {name}" for name in ATTRIBUTES}

Mine = Callable[[Run], bool]


def will_define_the_caches_attributes(session: Session, run: Run) -> None:
    """If vCenter lacks one of the cache's custom attributes, record that there: the tests define
    it, and a sweep removes it again."""
    manager = session.content.customFieldsManager._GetMoId()
    for name, marker in _DEFINED.items():
        if CustomAttributes.of(session).field_key(name) is not None:
            continue
        try:
            session.invoke(
                "CustomFieldsManager", manager, "AddCustomFieldDef",
                name=run.named(marker), moType=vim.VirtualMachine,
            )  # fmt: skip
        except errors.NoPermission:
            return  # then the tests cannot define it either


class Sweep:
    """:param journals: folder of the files with session keys, each named after its run
    :param say: called with a line for each removed object
    """

    def __init__(self, session: Session, journals: Path, say: Callable[[str], None]) -> None:
        self._session = session
        self._waiter = TaskWaiter(session)
        self._journals = journals
        self._say = say

    def close(self) -> None:
        self._waiter.close()

    def remove(self, mine: Mine) -> list[str]:
        """Remove everything that the runs that are ``mine`` have created.

        :returns: reasons why objects stay
        """
        self._end_sessions(mine)
        stay: list[str] = []
        for folder in self._folders(mine):
            stay += self._remove_folder(*folder)
        stay += self._remove_directories(mine)
        stay += self._remove_attributes(mine)
        return stay

    def others(self, mine: Mine) -> list[str]:
        """Names of the folders of runs that are not ``mine``."""
        return sorted(name for _, name in self._folders(lambda run: not mine(run)))

    def _end_sessions(self, mine: Mine) -> None:
        for path in sorted(self._journals.glob("*.sessions")):
            run = run_of(path.stem)
            if run is None or not mine(run):
                continue
            stay = [text for text in map(self._end_session, sessions_in(path)) if text]
            if stay:
                self._say(
                    f"{len(stay)} sessions of a run that was killed end when vCenter finds them "
                    f"idle, by default after 30 minutes: {stay[0]}"
                )
            path.unlink(missing_ok=True)

    def _end_session(self, session: tuple[str, str]) -> str:
        """Returns why it stays; ending a session needs a privilege of administrators."""
        key, user = session
        try:
            active = self._sessions("SessionIsActive", sessionID=key, userName=user)
            if active and key != self._own_key():
                self._sessions("TerminateSession", sessionId=[key])
        except errors.ObjectNotFound:
            pass  # it has ended in the meantime
        except errors.VCenterError as failure:
            return str(failure)
        return ""

    def _own_key(self) -> str:
        manager = self._session.content.sessionManager._GetMoId()
        values = properties.read_one(self._session, "SessionManager", manager, ["currentSession"])
        return str(values["currentSession"].key)

    def _sessions(self, method: str, **arguments: object) -> object:
        manager = self._session.content.sessionManager._GetMoId()
        return self._session.invoke("SessionManager", manager, method, **arguments)

    def _folders(self, mine: Mine) -> list[tuple[str, str]]:
        """Moref and name of each run's folder."""
        found = []
        for datacenter in inventory.snapshot(self._session).datacenters:
            for moref, name in self._children(datacenter.vm_folder, "Folder").items():
                run = run_of(name)
                if run is not None and name == run.folder and mine(run):
                    found.append((moref, name))
        return found

    def _children(self, folder: str, kind: str) -> dict[str, str]:
        steps = [("Folder", "childEntity")]
        try:
            found = properties.read_through(self._session, "Folder", folder, steps, kind, ["name"])
        except errors.ObjectNotFound:
            return {}
        return {moref: values.get("name", moref) for moref, values in found.items()}

    def _remove_folder(self, moref: str, name: str) -> list[str]:
        folders, machines = [moref], dict[str, str]()
        for folder in folders:  # `stay` grows
            folders += self._children(folder, "Folder")
            machines |= self._children(folder, "VirtualMachine")
        if machines:
            self._say(f"removes {len(machines)} virtual machines in {quoted(name)}")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            stay = [text for text in pool.map(self._remove_machine, *_columns(machines)) if text]
        if stay:
            return stay  # so the folders stay too
        try:
            for folder in reversed(folders):
                self._persistently(lambda folder=folder: self._destroy_folder(folder))
        except errors.VCenterError as failure:
            return [f"the folder {quoted(name)} stays: {failure}"]
        return []

    def _remove_machine(self, moref: str, name: str) -> str:
        try:
            self._persistently(lambda: template.destroy(self._session, self._waiter, moref))
        except errors.VCenterError as failure:
            return f"the virtual machine {quoted(name)} stays: {failure}"
        return ""

    def _destroy_folder(self, moref: str) -> None:
        try:
            task = self._session.invoke("Folder", moref, "Destroy_Task")
            self._waiter.wait(task, timeout_s=_TASK_TIMEOUT_S)
        except errors.ObjectNotFound:
            pass

    def _persistently(self, call: Callable[[], object]) -> None:
        retry.call(call, attempts=_ATTEMPTS, first_wait_s=1.0, clock=self._session.clock)

    def _remove_directories(self, mine: Mine) -> Iterator[str]:
        for datastore in inventory.snapshot(self._session).datastores:
            if not datastore.accessible or datastore.type in WITHOUT_NAMES:
                continue
            try:
                names = datastore_browser.directories(
                    self._session, self._waiter, datastore, PREFIX
                )
            except errors.NoPermission:
                continue  # and this account could not create one there
            except errors.VCenterError as failure:
                self._say(f"cannot look for directories on {quoted(datastore.name)}: {failure}")
                continue
            for name in names:
                run = run_of(name)
                if run is None or not mine(run):
                    continue
                try:
                    datastore_browser.delete_directory(self._session, self._waiter, datastore, name)
                except errors.VCenterError as failure:
                    yield f"{quoted(name)} on {quoted(datastore.name)} stays: {failure}"

    def _remove_attributes(self, mine: Mine) -> Iterator[str]:
        found = {str(each.name): int(each.key) for each in self._definitions()}
        doomed = {name: key for name, key in found.items() if _is_of(name, mine)}
        kept = [name for name in found if name not in doomed and run_of(name) is not None]
        markers = []
        for attribute, marker in _DEFINED.items():
            defined = [name for name in doomed if name.endswith(marker)]
            others = any(name.endswith(marker) for name in kept)
            key = found.get(attribute)
            if defined and not others and key is not None and not self._is_used(key):
                doomed = {attribute: key, **doomed}
            markers += defined
        # The markers of the cache's attributes go last.
        for name in sorted(doomed, key=lambda name: name in markers):
            try:
                self._remove_definition(doomed[name])
            except errors.ObjectNotFound:
                pass
            except errors.VCenterError as failure:
                yield f"the custom attribute {quoted(name)} stays: {failure}"

    def _definitions(self) -> Iterable[object]:
        manager = self._session.content.customFieldsManager._GetMoId()
        values = properties.read_one(self._session, "CustomFieldsManager", manager, ["field"])
        return values.get("field") or ()

    def _remove_definition(self, key: int) -> None:
        manager = self._session.content.customFieldsManager._GetMoId()
        self._session.invoke("CustomFieldsManager", manager, "RemoveCustomFieldDef", key=key)

    def _is_used(self, key: int) -> bool:
        """Whether any virtual machine has a value of the attribute."""
        content = self._session.content
        view = self._session.invoke(
            "ViewManager", content.viewManager._GetMoId(), "CreateContainerView",
            container=content.rootFolder, type=[vim.VirtualMachine], recursive=True,
        )  # fmt: skip
        try:
            found = properties.read_through(
                self._session, "ContainerView", view, [("ContainerView", "view")],
                "VirtualMachine", ["customValue"],
            )  # fmt: skip
        finally:
            self._session.invoke("ContainerView", view, "DestroyView")
        return any(
            value.key == key and getattr(value, "value", "")
            for values in found.values()
            for value in values.get("customValue") or ()
        )


def _is_of(name: str, mine: Mine) -> bool:
    run = run_of(name)
    return run is not None and mine(run)


def _columns(machines: dict[str, str]) -> tuple[list[str], list[str]]:
    return list(machines), list(machines.values())
