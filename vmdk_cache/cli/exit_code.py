"""The exit codes of vmdk-cache, and the errors that map to them.

    0      success
    1      something failed or was found: a template was not deleted, an image does not exist
    2      usage error
    3      the configuration cannot be used
    4      vCenter, Glance or the locks cannot be reached, or refuse this account
    130    interrupted (Ctrl-C, SIGTERM, SIGHUP)
    141    the reader closed the output

With several backends or images, the highest code of them.
"""

from __future__ import annotations

from vmdk_cache import errors

OK = 0
FAILED = 1
USAGE = 2
CONFIGURATION = 3
OUT_OF_REACH = 4
INTERRUPTED = 130
BROKEN_PIPE = 141

_OUT_OF_REACH = (
    errors.Unreachable,
    errors.CertificateRefused,
    errors.LoginRefused,
    errors.SessionExpired,
    errors.NoPermission,
    errors.LockUnavailable,
    errors.SourceUnavailable,
)


def of(failure: errors.VmdkCacheError) -> int:
    """The exit code of a command that ends with ``failure``."""
    if isinstance(failure, errors.ConfigError):
        return CONFIGURATION
    return OUT_OF_REACH if isinstance(failure, _OUT_OF_REACH) else FAILED
