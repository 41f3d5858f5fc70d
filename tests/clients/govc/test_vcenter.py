"""vCenter itself: about, fields.*, extension.*, logs.*"""

from __future__ import annotations

import gzip
import hashlib
import json
import ssl

from tests.clients.govc.runner import Govc, holds
from tests.fakes.vcenter import VCenter


@holds("about", "about.cert")
def test_vcenter_tells_what_it_is(govc: Govc, vcenter: VCenter) -> None:
    assert govc.json("about")["about"]["apiType"] == "VirtualCenter"
    assert "8.0.3" in govc("about")
    assert vcenter.root_folder.moref in json.dumps(govc.json("about", "-l"))
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(vcenter.certificate)).hexdigest().upper()
    address, thumbprint = govc("about.cert", "-thumbprint").split()
    assert address == f"{vcenter.host}:{vcenter.port}"
    assert thumbprint.replace(":", "") == digest


@holds("fields.add", "fields.ls", "fields.rename", "fields.set", "fields.info", "fields.rm")
def test_a_custom_attribute_is_defined_and_set(govc: Govc, vcenter: VCenter) -> None:
    govc("folder.create", "/DC0/vm/tagged")
    key = govc("fields.add", "-type", "Folder", "owner").strip()
    assert govc("fields.ls").split() == [key, "owner", "Folder"]
    assert govc.refused("fields.add", "owner")
    govc("fields.rename", "owner", "team")
    govc("fields.set", "team", "storage", "/DC0/vm/tagged")
    shown = govc.json("fields.info", "/DC0/vm/tagged")
    assert "storage" in json.dumps(shown)
    assert govc.refused("fields.set", "team", "storage", "/DC0")
    govc("fields.rm", "team")
    assert govc("fields.ls") == ""
    assert vcenter.root_folder.child("DC0").vmFolder.child("tagged").custom_values == {}


@holds("extension.register", "extension.info", "extension.setcert", "extension.unregister")
def test_an_extension_is_registered(govc: Govc) -> None:
    extension = {
        "description": {"label": "backup", "summary": "makes backups"},
        "key": "com.example.backup",
        "version": "1.0",
        "lastHeartbeatTime": "2026-01-01T00:00:00Z",
    }
    govc("extension.register", stdin=json.dumps(extension))
    assert govc.refused("extension.register", stdin=json.dumps(extension))
    govc("extension.register", "-update", stdin=json.dumps({**extension, "version": "2.0"}))
    assert "2.0" in govc("extension.info", "com.example.backup")
    govc("extension.setcert", "-cert-pem", "+", "-org", "Example", "com.example.backup")
    (shown,) = govc.json("extension.info", "com.example.backup")["extensions"]
    assert shown["subjectName"] == "O=Example"
    govc("extension.unregister", "com.example.backup")
    assert govc.refused("extension.info", "com.example.backup")


@holds("logs", "logs.ls", "logs.download")
def test_the_log_tells_what_happened(govc: Govc) -> None:
    govc("vm.create", "-on=false", "-ds=DC0_DS0", "logged")
    assert govc("logs.ls").split() == ["vpxd:vpxd.log", "vpxd.log"]
    assert "logged" in govc("logs", "-n", "50")
    assert "Created virtual machine logged" in govc("logs", "-n", "1").splitlines()[-1]
    govc("logs.download")
    assert b"logged" in gzip.decompress((govc.directory / "vpxd.log.gz").read_bytes())
