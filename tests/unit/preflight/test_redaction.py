"""A report reveals neither machines nor users, and opens no session; equal names stay recognizable
as equal."""

from __future__ import annotations

import json
import uuid

import pytest

from vmdk_cache.preflight.redaction import Redaction
from vmdk_cache.preflight.report import Exchanges, report
from vmdk_cache.vim.endpoint import Exchange

UUID = "52d0c3a1-6f0e-4a5e-9a5c-0d1f4f8e7a11"


def redaction(*texts: str) -> Redaction:
    made = Redaction(
        ["vc.corp.example.com", "10.1.2.3", "esx-1.corp", "host"], ["cinder@vsphere.local"]
    )
    for text in texts:
        made.learn(text)
    return made


def redacted(text: str) -> str:
    return redaction(text).apply(text)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("<url>https://esx-1.corp/nfc/52ab/disk-0.vmdk</url>", "esx-1"),
        ("<url>https://esx-1.corp/nfc/52ab/disk-0.vmdk</url>", "52ab"),
        ("<name>ESX-1.CORP</name>", "ESX-1"),
        ('{"owner": "host:1234"}', "host:"),
        ('<name>name</name><val xsi:type="xsd:string">host</val>', ">host<"),
        ("<url>https://host/nfc/52ab/disk-0.vmdk</url>", "host"),
        ("<url>https://[fd00:1:2:3::5]/nfc/52ab/disk-0.vmdk</url>", "2:3::5"),
        ('Cookie: vmware_soap_session="abc123"; Path=/', "abc123"),
        ("<vcSessionCookie>abc123</vcSessionCookie>", "abc123"),
        (f"<key>{UUID}</key><userName>X\\cinder</userName>", UUID),
        (f'<obj type="ListView">session[{UUID}]5266</obj>', UUID),
        ("<password>hush</password>", "hush"),
        ("<reason><userName>VSPHERE.LOCAL\\cinder</userName></reason>", "cinder"),
        ("<userName>CORP\\jane.doe</userName><fullName>Jane Doe</fullName>", "jane.doe"),
        ("<userName>CORP\\jane.doe</userName><fullName>Jane Doe</fullName>", "Jane Doe"),
        ("cinder@vsphere.local is logged in", "cinder@"),
        ("<ipAddress>192.168.7.9</ipAddress>", "192.168.7.9"),
        ("'192.168.7.9:443 cannot be reached'", "192.168.7.9"),
        ("<a>fe80::250:56ff:fe9a:1</a>", "fe80::250"),
        ("<a>fd00::5</a>", "fd00::5"),
        ("[2001:db8::5]:443 refused", "2001:db8"),
        ("no answer from ::1", "::1"),
        ("<a>2001:0db8:85a3:0000:0000:8a2e:0370:7334</a>", "8a2e"),
        ("<a>::ffff:10.9.8.7</a>", "10.9.8.7"),
        ("denied for jane.doe+x@mail.corp.example.com.", "jane.doe"),
        (
            f"<apiVersion>8.0.3.0</apiVersion><instanceUuid>{UUID}</instanceUuid><a>{UUID}</a>",
            UUID,
        ),
        ("<macAddress>00:50:56:9a:11:22</macAddress>", "9a:11:22"),
        ("<sslThumbprint>" + "AB:" * 19 + "AB</sslThumbprint>", "AB:AB"),
        ("<sslCertificate>-----BEGIN CERTIFICATE-----</sslCertificate>", "BEGIN"),
    ],
)
def test_identifying_and_secret_values_are_removed(text: str, secret: str) -> None:
    assert secret in text and secret not in redacted(text)


_HOST_READ = (
    '<objects><obj type="HostSystem">host-9</obj><propSet><name>name</name>'
    '<val xsi:type="xsd:string">esx-9.lab</val></propSet></objects>'
)
_HOST_UPDATED = (
    '<objectSet><kind>enter</kind><obj type="HostSystem">host-9</obj>'
    "<changeSet><name>parent</name><op>assign</op>"
    '<val type="ComputeResource" xsi:type="ManagedObjectReference">domain-c1</val></changeSet>'
    "<changeSet><name>name</name><op>assign</op>"
    '<val xsi:type="xsd:string">esx-9.lab</val></changeSet></objectSet>'
)


@pytest.mark.parametrize(
    "text",
    [
        _HOST_READ,
        _HOST_UPDATED,
        "<url>https://esx-9.lab:443/nfc/52ab/disk-0.vmdk</url>",
        '{"owner": "esx-9.lab:1234"}',
        "{&quot;owner&quot;: &quot;esx-9.lab:1234&quot;}",
    ],
)
def test_a_machine_named_only_in_texts_is_removed_everywhere(text: str) -> None:
    assert "esx-9" in text
    made = redaction(text)
    assert "esx-9" not in made.apply(text)
    assert made.apply("esx-9.lab refused") == "machine-5.example refused"


def test_other_objects_of_vcenter_keep_their_names() -> None:
    cluster = _HOST_READ.replace("HostSystem", "ClusterComputeResource")
    assert redacted(cluster) == cluster
    both = _HOST_READ + cluster.replace("esx-9.lab", "DC0_C1")
    assert "DC0_C1" in redacted(both)


@pytest.mark.parametrize(
    "text",
    [
        "<apiVersion>8.0.3.0</apiVersion>",
        "urn:vim25/8.0.2.0",
        "<pathSet>host</pathSet>",
        "<queueTime>2030-01-01T22:46:43.123Z</queueTime>",
        '<userName versionId="8.0.3.0"></userName>',
        "<config><instanceUuid>52d0c3a1-6f0e-4a5e-9a5c-0d1f4f8e7a11</instanceUuid></config>",
        "<a>12:34:56 of [b]:c</a>",
        "<a>std::vector ab:cd</a>",
        "<host type=\"HostSystem\">host-17</host>",
        "<uuid>6000C29a-1234-5678-9abc-def012345678</uuid>",
        "[DC0_DS0] preflight_image_cache (70726566-6c69-4667-a868-abcdef123450)/x.vmdk",
    ],
)  # fmt: skip
def test_values_that_a_replay_needs_stay(text: str) -> None:
    assert redacted(text) == text


def test_elements_around_removed_values_stay() -> None:
    assert (
        redacted("<userName>x</userName><entity/>") == "<userName>user@example</userName><entity/>"
    )
    assert redacted("<userName></userName>") == "<userName></userName>"
    one = redacted("<userName>x</userName><fullName>X Y</fullName>")
    assert one == "<userName>user@example</userName><fullName>REDACTED</fullName>"


@pytest.mark.parametrize(
    ("user", "spelling"),
    [
        ("cinder@vsphere.local", "VSPHERE.LOCAL\\cinder"),
        ("cinder@vsphere.local", "Cinder@VSphere.local"),
        ("CORP\\jane", "jane@corp"),
        ("CORP\\jane", "CORP\\jane"),
    ],
)
def test_a_user_is_recognized_in_every_spelling_of_vcenter(user: str, spelling: str) -> None:
    assert Redaction([], [user]).apply(f"task of {spelling} failed") == (
        "task of user-1@example failed"
    )


def test_a_name_without_a_domain_is_no_reason_to_replace_other_words() -> None:
    assert Redaction([], ["root"]).apply("the root folder") == "the root folder"


def test_tokens_become_ids() -> None:
    texts = [f'vmware_soap_session="{token}"' for token in ("one", "two", "one")]
    made = redaction(*texts)
    found = [made.apply(text).partition('"')[2].rstrip('"') for text in texts]
    assert found[0] == found[2] != found[1]
    assert [str(uuid.UUID(each)) for each in found] == found


def test_equal_names_stay_equal() -> None:
    login = f"<key>{UUID}</key><userName>x</userName>"
    made = redaction(login)
    substitute = made.apply(f"<key>{UUID}</key>").removeprefix("<key>").removesuffix("</key>")
    assert made.apply(f"session[{UUID}]1") == f"session[{substitute}]1"
    assert made.apply("10.9.9.9 10.8.8.8 10.9.9.9").split()[::2] == ["192.0.2.1"] * 2
    assert made.apply("10.8.8.8") == "192.0.2.2"


def exchange(text: str) -> Exchange:
    request = f'<soapenv:Envelope><soapenv:Body><{text} xmlns="urn:vim25"/></soapenv:Body>'
    headers = {"Cookie": 'vmware_soap_session="tok3n"', "X-Other": "tok3n"}
    return Exchange("/sdk", headers, request, 200, {"Set-Cookie": ["a=tok3n"]}, f"<{text}/>")


def test_a_report_names_the_method_and_keeps_few_headers() -> None:
    kept = Exchanges()
    kept(exchange("CloneVM_Task"))
    row = {"Probe": "hosts.transfer", "Seen": "10.1.2.3:443 answers", "Seconds": 0.5}
    text = report({"python": "3.11"}, "VMware vCenter Server 8.0.3", [row], kept, redaction())
    content = json.loads(text)
    [one] = content["exchanges"]
    assert (one["method"], one["status"]) == ("CloneVM_Task", 200)
    assert set(one["request_headers"]) == {"Cookie"}
    assert "tok3n" not in text
    assert content["results"][0]["Seconds"] == 0.5
    assert "10.1.2.3" not in text and content["recorded_on"] == ["VMware vCenter Server 8.0.3"]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ("made by host, and by others", "made by machine-4.example, and by others"),
        ("the last word is host.", "the last word is machine-4.example."),
        ("host.conf and hosts stay", "host.conf and hosts stay"),
        (
            "no connection to http://user:hush@keystone:5000/v3: Pool(host='keystone', port=5000)",
            "no connection to http://machine-5.example:5000/v3: "
            "Pool(host='machine-5.example', port=5000)",
        ),
        ("https://glance.corp/v2 refuses", "https://machine-5.example/v2 refuses"),
        ("Pool(host='glance.corp', port=9)", "Pool(host='machine-5.example', port=9)"),
    ],
)
def test_a_result_names_no_machine(seen: str, expected: str) -> None:
    row = {"Probe": "host.connection", "Backend": "host", "Seen": seen}
    [found] = json.loads(report({}, "", [row], Exchanges(), redaction()))["results"]
    assert found == {"Probe": "host.connection", "Backend": "host", "Seen": expected}


def test_a_report_stays_within_its_size_and_says_so() -> None:
    kept = Exchanges()
    large = Exchange("/sdk", {}, "", 200, {}, "x" * (40 << 20))
    kept(large)
    kept(large)
    assert len(kept.kept()) == 1 and kept.left_out == 1
