"""A client in a process of its own, to be killed and paused: creates a job or makes a call, and prints what arrives.

python -m tests.faults.watcher TARGET call|job STYLE_TEXT STEPS
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter

from clipstyler_client import Client, PreviewOptions, Progress, Result, StylizeOptions

from tests.service.harness import photo

PREVIEWS = PreviewOptions(every_steps=1, max_size=512, format="png")


def main() -> None:
    target, kind, style_text, steps = sys.argv[1:]
    options = StylizeOptions(size=512, steps=int(steps), patches=2, seed=1)
    with Client(target) as client:
        if kind == "call":
            stream = client.stylize(photo(512, 384), style_text, previews=PREVIEWS, **options)
        else:
            stream = client.jobs.watch(
                client.jobs.create(photo(512, 384), style_text, previews=PREVIEWS, **options).name
            )
        counted: Counter[str] = Counter()
        for event in stream:
            counted[type(event).__name__] += 1
            if isinstance(event, Progress) and counted["Progress"] == 1:
                print("working", flush=True)
            if isinstance(event, Result):
                told = {"image": hashlib.sha256(event.image).hexdigest(), "events": counted}
                print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
