"""Commands of govc that no test holds, with the reasons."""

from __future__ import annotations

#: API -> commands that need it, besides or instead of vCenter's own SOAP API.
OTHER_APIS = {
    "REST (vAPI)": """
        cluster.draft.baseimage.info cluster.draft.baseimage.set cluster.draft.commit
        cluster.draft.component.add cluster.draft.component.info
        cluster.draft.component.ls cluster.draft.component.rm cluster.draft.create
        cluster.draft.info cluster.draft.ls cluster.draft.rm cluster.module.create
        cluster.module.ls cluster.module.rm cluster.module.vm.add cluster.module.vm.rm
        cluster.vlcm.enable cluster.vlcm.info
        kms.add kms.export kms.rm
        library.checkin library.checkout library.clone library.cp library.create
        library.deploy library.evict library.export library.import library.info library.ls
        library.policy.ls library.publish library.rm library.session.ls library.session.rm
        library.subscriber.create library.subscriber.info library.subscriber.ls
        library.subscriber.rm library.sync library.trust.create library.trust.info
        library.trust.ls library.trust.rm library.update library.vmtx.info
        namespace.cluster.disable namespace.cluster.enable namespace.cluster.ls
        namespace.create namespace.info namespace.logs.download namespace.ls
        namespace.registervm namespace.rm namespace.service.activate
        namespace.service.create namespace.service.deactivate namespace.service.info
        namespace.service.ls namespace.service.rm namespace.service.version.activate
        namespace.service.version.create namespace.service.version.deactivate
        namespace.service.version.info namespace.service.version.ls
        namespace.service.version.rm namespace.update namespace.vmclass.create
        namespace.vmclass.info namespace.vmclass.ls namespace.vmclass.rm
        namespace.vmclass.update
        tags.attach tags.attached.ls tags.category.create tags.category.info
        tags.category.ls tags.category.rm tags.category.update tags.create tags.detach
        tags.info tags.ls tags.rm tags.update
        vcsa.access.consolecli.get vcsa.access.consolecli.set vcsa.access.dcui.get
        vcsa.access.dcui.set vcsa.access.shell.get vcsa.access.shell.set
        vcsa.access.ssh.get vcsa.access.ssh.set vcsa.log.forwarding.info
        vcsa.net.proxy.info vcsa.shutdown.cancel vcsa.shutdown.get vcsa.shutdown.poweroff
        vcsa.shutdown.reboot
        vlcm.depot.baseimages.ls vlcm.depot.offline.create vlcm.depot.offline.info
        vlcm.depot.offline.ls vlcm.depot.offline.rm
        vm.dataset.create vm.dataset.entry.get vm.dataset.entry.ls vm.dataset.entry.rm
        vm.dataset.entry.set vm.dataset.info vm.dataset.ls vm.dataset.rm vm.dataset.update
    """,
    "SSO administration": """
        sso.group.create sso.group.ls sso.group.rm sso.group.update sso.idp.default.ls
        sso.idp.default.update sso.idp.ldap.update sso.idp.ls sso.lpp.info sso.lpp.update
        sso.user.create sso.user.id sso.user.ls sso.user.rm sso.user.update
    """,
    "lookup service": """
        sso.service.ls
    """,
    "vSAN": """
        cluster.stretch
        vsan.change vsan.info
    """,
    "CNS": """
        volume.extend volume.ls volume.relocate volume.rm volume.snapshot.create
        volume.snapshot.ls volume.snapshot.rm
    """,
    "VSLM": """
        disk.ls disk.metadata.ls disk.metadata.update
    """,
    "storage policies (PBM)": """
        storage.policy.create storage.policy.info storage.policy.ls storage.policy.rm
        vm.policy.ls
    """,
}

_VSAN = "the objects of a vSAN are not simulated (HostVsanInternalSystem)"
_TAGS = "tags are made by the REST API"

_GUEST = "no program runs in a guest, and no guest has files"
_VAPP = "there are no vApps"
_RDM = "a virtual machine cannot have a LUN of its host"
_KMS = "there are no key providers, and no encryption"
_GPU = "what a host's graphics cards can do is not told"
_INTERNAL = "needs vCenter's internal API, which no reference describes"

#: Command of the SOAP API -> why no test holds it.
LEFT_OUT = {
    # datastore
    "datastore.vsan.dom.ls": _VSAN,
    "datastore.vsan.dom.rm": _VSAN,
    # disk
    "disk.tags.attach": _TAGS,
    "disk.tags.detach": _TAGS,
    # folder
    "folder.place": "placement across clusters: DRS places nothing here",
    # gpu
    "gpu.host.info": _GPU,
    "gpu.host.profile.ls": _GPU,
    # guest
    "guest.chmod": _GUEST,
    "guest.chown": _GUEST,
    "guest.df": _GUEST,
    "guest.download": _GUEST,
    "guest.getenv": _GUEST,
    "guest.kill": _GUEST,
    "guest.ls": _GUEST,
    "guest.mkdir": _GUEST,
    "guest.mktemp": _GUEST,
    "guest.mv": _GUEST,
    "guest.ps": _GUEST,
    "guest.rm": _GUEST,
    "guest.rmdir": _GUEST,
    "guest.run": _GUEST,
    "guest.start": _GUEST,
    "guest.touch": _GUEST,
    "guest.upload": _GUEST,
    # host
    "host.esxcli": _INTERNAL,
    # kms
    "kms.default": _KMS,
    "kms.ls": _KMS,
    "kms.trust": _KMS,
    # object
    "object.method": _INTERNAL,
    # vapp
    "vapp.destroy": _VAPP,
    "vapp.power": _VAPP,
    # vm
    "vm.rdm.attach": _RDM,
    "vm.rdm.ls": _RDM,
}
