"""What has to be set before any test imports torch."""

import os

# The models here are tiny. Two threads that wait for one another in a loop, each taking the core
# that the other needs, train them hundreds of times slower on a busy machine than one does.
os.environ.setdefault("OMP_NUM_THREADS", "1")
