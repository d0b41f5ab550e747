"""Fuzz one target, led by coverage, until libFuzzer has enough or has found something.

``python -m tests.fuzz.explore TARGET [options of libFuzzer] [FOLDER…]``; ``conversations`` is a
target too: then the bytes are choices of Hypothesis.
"""

from __future__ import annotations

import logging
import sys

import atheris

with atheris.instrument_imports(include=["greenchat"], enable_loader_override=False):
    from tests.fuzz.conversations import any_conversation
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    logging.getLogger().addHandler(logging.NullHandler())  # what is in the log is in the findings too
    name, *options = sys.argv[1:]
    known = TARGETS | {"conversations": any_conversation.hypothesis.fuzz_one_input}  # type: ignore[attr-defined]
    atheris.Setup([sys.argv[0], *options], known[name])
    atheris.Fuzz()
