"""ExtensionManager: extensions by key."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from cryptography import x509
from pyVmomi import vim, vmodl

from tests.fakes.vcenter.context import Context
from tests.fakes.vcenter.managed_object import ManagedObject

if TYPE_CHECKING:
    from tests.fakes.vcenter.vcenter import VCenter


class ExtensionManager(ManagedObject):
    """A second registration of a key is InvalidArgument, as in a real vCenter."""

    TYPE = vim.ExtensionManager

    def __init__(self, vcenter: VCenter) -> None:
        super().__init__(vcenter, moref="ExtensionManager")
        self._extensions: dict[str, Any] = {}

    @property
    def extensionList(self) -> list[Any]:
        """All registered extensions."""
        return list(self._extensions.values())

    def FindExtension(self, ctx: Context, extensionKey: str) -> Any:
        """The extension with this key, or None."""
        return self._extensions.get(extensionKey)

    def RegisterExtension(self, ctx: Context, extension: Any) -> None:
        """Add an extension."""
        if extension.key in self._extensions:
            raise vmodl.fault.InvalidArgument(invalidProperty="extension.key")
        self._extensions[extension.key] = extension
        self.changed("extensionList")

    def UpdateExtension(self, ctx: Context, extension: Any) -> None:
        """Replace an extension; NotFound if there is none with its key."""
        self._require(extension.key)
        self._extensions[extension.key] = extension
        self.changed("extensionList")

    def UnregisterExtension(self, ctx: Context, extensionKey: str) -> None:
        """Remove an extension; NotFound if it does not exist."""
        self._require(extensionKey)
        del self._extensions[extensionKey]
        self.changed("extensionList")

    def SetExtensionCertificate(
        self, ctx: Context, extensionKey: str, certificatePem: str | None
    ) -> None:
        """Set the extension's certificate and subject. NoClientCertificate without a certificate,
        since clients of the fake present none."""
        self._require(extensionKey)
        if certificatePem is None:
            raise vim.fault.NoClientCertificate()
        try:
            certificate = x509.load_pem_x509_certificate(certificatePem.encode())
        except ValueError:
            raise vmodl.fault.InvalidArgument(invalidProperty="certificatePem") from None
        changed = copy.copy(self._extensions[extensionKey])
        changed.subjectName = certificate.subject.rfc4514_string()
        self._extensions[extensionKey] = changed
        self.changed("extensionList")

    def _require(self, key: str) -> None:
        if key not in self._extensions:
            raise vim.fault.NotFound(msg=f"The extension '{key}' is not registered.")
