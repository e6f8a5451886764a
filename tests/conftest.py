"""What has to be set before any test imports torch."""

import os

# Threads that wait for one another in a loop take the very core that the other one needs: on a
# busy machine of two cores the tiny models of these tests then train hundreds of times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
