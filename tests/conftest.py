"""What all tests share."""

import os

# Settings of whoever runs the tests do not reach the servers and commands that tests start.
_OF_TESTS = ("CLIPSTYLER_ACCELERATIONS", "CLIPSTYLER_ATTACK", "CLIPSTYLER_FAULTS", "CLIPSTYLER_PROGRESS_INTERVAL_S")
for _name in [name for name in os.environ if name.startswith("CLIPSTYLER_") and not name.startswith(_OF_TESTS)]:
    del os.environ[_name]
# Tests compare the results of several processes, none of which may choose its arithmetic by a measurement of its own.
os.environ.setdefault("CLIPSTYLER_ACCELERATIONS", "off")
# Scripted steps take no time: tests count them.
os.environ.setdefault("CLIPSTYLER_PROGRESS_INTERVAL_S", "0")


def _refuse_to_be_replaced(*_: object) -> None:
    raise AssertionError("this would replace pytest, and all outcomes would be lost")


# A server that is started in this process would start it again with another allocator.
os.execv = _refuse_to_be_replaced
