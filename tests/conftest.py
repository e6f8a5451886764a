"""What has to be set before any test imports torch."""

import os
import signal

# The models here are tiny. Two threads that wait for one another in a loop, each taking the core
# that the other needs, train them hundreds of times slower on a busy machine than one does.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts what runs in the background with these ignored, and charlm leaves ignored signals
# alone: the tests that send them need them as they are in the foreground.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
