"""What the demo imports, and what work takes in its vCenter."""

from tests.fakes.vcenter import CostModel

DISK_BYTES = 32 << 20
#: Each byte that moves counts as this many: the image of 3 MiB takes as long as one of 300 MiB.
BYTES_SCALE = 96
COSTS = CostModel(enabled=True, vaai=True, bytes_scale=BYTES_SCALE)
