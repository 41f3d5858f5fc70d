"""The task of a recorded event: a dump of a Ruby client's objects, with the type of each value."""

from __future__ import annotations

from typing import Any
from xml.sax.saxutils import escape

import yaml

from tests.recordings import recordings

#: A TaskEvent of vCenter 6.5.
EVENT = "manageiq-task-event.yaml"


def task_of_event(tag: str) -> str:
    """The event's TaskInfo, as an element of that name."""
    event = yaml.load(recordings.path_of(EVENT).read_text(), Loader=_RubyObjects)
    info = event["elements"]["info"]["elements"]
    return f"<{tag}>{''.join(_as_xml(name, value) for name, value in info.items())}</{tag}>"


class _RubyObjects(yaml.SafeLoader):
    """Ruby's objects as plain mappings."""


def _plain(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> Any:
    assert isinstance(node, yaml.MappingNode)
    return loader.construct_mapping(node, deep=True)


_RubyObjects.add_multi_constructor("!ruby/", _plain)


def _as_xml(name: str, value: dict[str, Any]) -> str:
    """A value of the dump as vCenter had sent it."""
    if "elements" in value:
        inner = "".join(_as_xml(part, found) for part, found in value["elements"].items())
        kind = value["ivars"][":@xsiType"].removeprefix(":")
        return f'<{name} xsi:type="{kind}">{inner}</{name}>'
    kind = str(value["vimType"] or "").removeprefix(":")
    mark = f' type="{kind}"' if kind else ""
    return f"<{name}{mark}>{escape(value['str'])}</{name}>"
