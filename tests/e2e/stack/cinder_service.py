"""Process entry: one of Cinder's own services, as its console script starts it.

python -m tests.e2e.stack.cinder_service api|scheduler|volume|manage --config-file cinder.conf
"""

from __future__ import annotations

import importlib
import sys

if __name__ == "__main__":
    # First of all: this chooses green or native threads for everything that is imported later.
    service = importlib.import_module(f"cinder.cmd.{sys.argv.pop(1)}")

    from tests.e2e.stack.service_process import end_with_parent

    end_with_parent()
    service.main()
