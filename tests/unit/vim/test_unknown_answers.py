"""Answers that pyVmomi cannot read, such as those of a vCenter newer than pyVmomi."""

from __future__ import annotations

import pytest

from tests.recordings.replay import Replay, exchange_of, replaying
from vmdk_cache import errors
from vmdk_cache.vim.session import Session

CONTENT = (
    '<rootFolder type="Folder">group-d1</rootFolder>'
    '<propertyCollector type="PropertyCollector">pc</propertyCollector>'
    "<about><name>n</name><fullName>n</fullName><vendor>n</vendor><version>11.0</version>"
    "<build>1</build><osType>linux</osType><productLineId>vpx</productLineId>"
    "<apiType>VirtualCenter</apiType><apiVersion>11.0.0.0</apiVersion></about>"
    '<sessionManager type="SessionManager">SessionManager</sessionManager>'
)
USER = (
    "<key>1</key><userName>u</userName><fullName>u</fullName>"
    "<loginTime>2026-01-01T00:00:00Z</loginTime><lastActiveTime>2026-01-01T00:00:00Z"
    "</lastActiveTime><locale>en</locale><messageLocale>en</messageLocale>"
)


def returned(method: str, value: str) -> str:
    name = f"{method}Response"
    return f'<{name} xmlns="urn:vim25"><returnval>{value}</returnval></{name}>'


def fault(name: str) -> str:
    return (
        "<soapenv:Fault><faultcode>ServerFaultCode</faultcode><faultstring>No.</faultstring>"
        f'<detail><{name}Fault xmlns="urn:vim25" xsi:type="{name}"/></detail></soapenv:Fault>'
    )


@pytest.mark.parametrize(
    ("answer", "status", "unknown"),
    [
        (returned("CurrentTime", "yesterday"), 200, "yesterday"),
        (fault("VeryNewFault"), 500, "VeryNewFault"),
        (fault("ServiceContent"), 500, "AttributeError"),
        ("", 500, "NoneType"),
    ],
    ids=["value", "fault", "not a fault", "nothing"],
)
def test_an_answer_that_cannot_be_read_is_an_error_that_names_what_is_unknown(
    answer: str, status: int, unknown: str
) -> None:
    replay = Replay(
        [
            exchange_of(
                0,
                "RetrieveServiceContent",
                "ServiceInstance",
                returned("RetrieveServiceContent", CONTENT),
            ),
            exchange_of(1, "Login", "SessionManager", returned("Login", USER)),
            exchange_of(2, "CurrentTime", "ServiceInstance", answer, status=status),
        ]
    )
    with replaying(replay) as endpoint, Session(endpoint) as session:
        with pytest.raises(errors.TaskFailed, match=unknown) as refused:
            session.server_time()
        assert "pyvmomi" in str(refused.value)
        assert endpoint.server in str(refused.value)
        assert refused.value.method == "CurrentTime"
    assert [one.question.method for one in replay.requests].count("CurrentTime") == 1


def test_a_vcenter_whose_service_content_has_a_new_member_is_refused_with_the_cure() -> None:
    newer = CONTENT + '<quantumManager type="QuantumManager">q</quantumManager>'
    replay = Replay(
        [exchange_of(0, "RetrieveServiceContent", "ServiceInstance", returned("X", newer))]
    )
    with (
        replaying(replay) as endpoint,
        pytest.raises(errors.TaskFailed, match=r"quantumManager.*newer pyvmomi"),
    ):
        Session(endpoint).open()
