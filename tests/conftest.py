"""What all tests share."""

import os

# Tests compare the results of several processes, none of which may choose its arithmetic by a measurement of its own.
os.environ.setdefault("CLIPSTYLER_ACCELERATIONS", "off")
