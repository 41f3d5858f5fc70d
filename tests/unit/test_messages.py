"""Every message of the package shows text of users and of other programs through ``quoting``.

A message is what is raised or logged. Each value in it is one of

    shown       through quoted(), identifier() or sentence(), or an Image, whose str() does so
    a constant, a number with a format, a length, the name of a class
    an error    of this package, whose constructor has quoted its text
    trusted     listed below: a number, or text of this package or of the operator
"""

from __future__ import annotations

import ast
import inspect
import pathlib
import re
from collections.abc import Iterator

import pytest

from vmdk_cache import errors

PACKAGE = pathlib.Path(__file__).parents[2] / "vmdk_cache"
MODULES = sorted(PACKAGE.rglob("*.py"))
#: What makes an error of this package: its class, or a function that does.
ERRORS = {name for name, value in vars(errors).items() if inspect.isclass(value)} | {
    "_not_streamable",
    "_lease_lost",
}
SHOWING = {"quoted", "identifier", "sentence"}
IMAGES = {"image", "job.image", "self._image"}

#: Last words of names that stand for numbers, and for ids that vCenter and Cinder generate.
PLAIN = re.compile(
    r".*(_bytes|_s|_seen|_named|count|sectors?|size|position|start|total|length|capacity|version"
    r"|port|moref|volume_id|volume\.id|self\._(context\.)?backend|\bvm)"
)
#: By module: other values that hold no text of a user or of another program.
TRUSTED: dict[str, set[str]] = {
    "__init__.py": {"name"},  # of an attribute, written in code
    "cache/admission.py": {
        "_gib(capacity_bytes)",
        "_gib(limit)",
        "_gib(volume.size_bytes)",
        "volume.id",
    },
    "cache/events.py": {
        "event",  # shows its content through quoting
        "event.backend",  # a section of cinder.conf
    },
    "cache/eviction_plan.py": {"exceeded", "option", "_counted(pinned)"},  # options; a number
    "cache/importer.py": {"found.says"},  # shows its names through quoting
    "adapters/template_export.py": {"again", "refused"},  # shown where they are created
    "adapters/disk_in_clone.py": {"disk_type", "now.uuid"},  # of DISK_TYPES; an Answer
    "cache/replication.py": {"replica.datastore"},  # a managed object id
    "cinder/cache_connection.py": {"failure"},  # an error of this package
    "cinder/driver.py": {"failure"},  # shown where it is created
    "cinder/feedback.py": {"text"},  # the note, whose value is quoted by the driver
    "cinder/notifications.py": {"name"},  # one of a table of ours
    "cinder/volume_from_image.py": {"reason", "why", "asked.where"},  # shown where they are created
    # What the operator wrote, or what this program calls its parts.
    "cli/command.py": {"column_names", "option"},
    "cinder/workers.py": {"self.wanted"},  # a number
    "cli/configuration.py": {
        "directory",
        "enabled",
        "failure.config_files",
        "_where(options)",
        "driver",
        "known",
        "name",
        "option",
        "required",
        "what",
    },
    "cli/evacuation.py": {"other", "seen"},  # an option; quoted one by one
    "cli/exporter.py": {"LISTEN[0]", "LISTEN[1]"},
    "cli/glance.py": {"self._asking.source"},
    "cli/identity.py": {"names", "what"},
    "cli/image_arguments.py": {"otherwise"},
    "cli/image_choice.py": {
        "_listed(found, names)",
        "_offer(text, names, hint)",
        "where",
    },  # by shown()
    "cli/list.py": {  # names through identifier(), sections of cinder.conf, words of ours
        "_some(known)",
        "_some(wanted.datastore)",
        "backends",
        "there",
        "what",
        "where",
    },
    "cli/metrics_server.py": {
        "what",  # written in code
        "certificate",
        "client_address",
        "client_ca",
        "host",
        "key",
        "self.address_string()",
    },
    "cli/samples.py": {"present"},  # names of files of this package
    "cli/scraper.py": {"complaint", "self._backend"},
    "cli/show.py": {"known"},  # the command line shows it through sentence()
    "cli/verify.py": {"listed", "where"},  # quoted where it is created
    "cli/verify_run.py": {"failure"},  # an error of this package
    "cli/warm.py": {"path", "self._path", "sorted(known)"},
    "vmdk/descriptor.py": {
        "name",  # one of _FILE_SETTINGS
        "oddity",  # shows its values through quoting
    },
    "vmdk/transfer.py": {"label"},  # quoted where it is created
    "vmdk/front_tables.py": {"what", "why"},
    "vmdk/image_format.py": {"header.descriptor_offset", "header.unusual", "name"},
    "vmdk/read_ahead.py": {
        "before",
        "found",  # a digest of ours
        "self._hash_name",  # quoted where another algorithm is refused
    },
    "datastore/selection.py": {"_explain(need, refusals)", "dict(cost)"},
    "vmdk/sparse_extent.py": {"algorithm", "capacity", "grain", "name"},
    "vmdk/stream_optimized.py": {"header", "kind", "value"},  # numbers
    "glance_errors.py": {"what", "user", "how", "plain(failure)"},  # shown where they are created
    "cinder/image_service.py": {"what", "user"},
    "ledger.py": {"path", "self._path"},
    "periodic/housekeeping.py": {"finding.kind"},
    "periodic/purge.py": {"lasting", "unknown"},
    "periodic/reconcile.py": {"self._backend"},
    "periodic/warm_up.py": {"text"},
    "preflight/live.py": {"missing"},
    "preflight/live_target.py": {"text"},
    "vim/account.py": {"endpoint.server", "error"},
    "vim/custom_attribute.py": {"reason"},
    "vim/folder.py": {"found", "parent"},  # managed object ids
    # Names given by administrators; the error's constructor makes them printable.
    "vim/import_spec.py": {"known"},
    "vim/inventory.py": {"known"},
    "vim/storage_policy.py": {"known"},
    "vim/export_lease.py": {"error", "failure", "state"},
    "vim/import_lease.py": {"error", "failure", "state", "what"},
    "vim/nfc_lease.py": {"fault", "state"},
    "vim/nfc_transfer.py": {"answer.length", "answer.status", "self.server"},
    "vim/session.py": {"refused"},  # an error of this package
    "vim/properties.py": {"fault", "type_name"},
    "vim/server_certificate.py": {"server"},
    "vim/task.py": {"outcome", "error", "text", "overdue"},
    "vim/template.py": {"present", "task"},
}


class Message:
    """The values in one message, with the origins of names."""

    def __init__(self, own_errors: frozenset[str], trusted: set[str]) -> None:
        self._own_errors = own_errors
        self._trusted = trusted

    def untrusted(self, value: ast.expr) -> Iterator[str]:
        """The expressions in ``value`` that are not known to be safe."""
        match value:
            case ast.Constant():
                return
            case ast.JoinedStr():
                for part in value.values:
                    yield from self.untrusted(part)
                return
            case ast.FormattedValue(conversion=-1, format_spec=None):
                yield from self.untrusted(value.value)
                return
            case ast.FormattedValue(conversion=-1):
                return  # a format of numbers; the package has none of text
            case ast.FormattedValue():
                yield f"{ast.unparse(value.value)}!r"
                return
            case ast.IfExp():
                yield from self.untrusted(value.body)
                yield from self.untrusted(value.orelse)
                return
            case ast.BoolOp():
                for part in value.values:
                    yield from self.untrusted(part)
                return
            case ast.BinOp(op=ast.Add()):
                yield from self.untrusted(value.left)
                yield from self.untrusted(value.right)
                return
            case ast.BinOp():
                return  # arithmetic
            case ast.Call(func=ast.Name(id="str") | ast.Attribute(attr="join"), args=[inner]):
                yield from self.untrusted(inner)
                return
            case ast.Subscript():
                yield from self.untrusted(value.value)
                return
            case ast.Call(func=ast.Name(id=name)) if name in SHOWING | {"len"}:
                return
            case ast.Attribute(attr="__name__"):
                return
            case ast.Attribute(attr=name) if name.isupper():
                return
            case ast.Name(id=name) if name.strip("_").isupper() or name in self._own_errors:
                return
        text = ast.unparse(value)
        if text not in IMAGES | self._trusted and not PLAIN.fullmatch(text):
            yield text


def messages(tree: ast.Module) -> Iterator[tuple[ast.expr, frozenset[str]]]:
    """Every raised or logged message, and the names of our own errors at that place."""
    yield from _messages(tree, frozenset())


def _messages(node: ast.AST, ours: frozenset[str]) -> Iterator[tuple[ast.expr, frozenset[str]]]:
    if isinstance(node, ast.ExceptHandler) and node.name and _all_ours(node.type):
        ours = ours | {node.name}
    if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name == "LOG.log":
            yield from ((argument, ours) for argument in node.args[2:])
        elif name.startswith("LOG."):
            yield from ((argument, ours) for argument in node.args[1:])
        elif name.rpartition(".")[2] in ERRORS:
            yield from ((argument, ours) for argument in node.args)
    elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        raised = ast.unparse(node.exc.func).rpartition(".")[2]
        yield from ((argument, ours) for argument in node.exc.args if raised not in ERRORS)
    for child in ast.iter_child_nodes(node):
        yield from _messages(child, ours)


def _all_ours(kinds: ast.expr | None) -> bool:
    if isinstance(kinds, ast.Tuple):
        return all(map(_all_ours, kinds.elts))
    return kinds is not None and ast.unparse(kinds).rpartition(".")[2] in ERRORS


def name_of(path: pathlib.Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_message_shows_no_text_of_others_as_it_is(path: pathlib.Path) -> None:
    trusted = TRUSTED.get(name_of(path), set())
    found = {
        text
        for value, ours in messages(ast.parse(path.read_text()))
        for text in Message(ours, trusted).untrusted(value)
    }
    assert found == set(), "show it through vmdk_cache.quoting, or say here why it needs none"
