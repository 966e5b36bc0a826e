"""Runs a fuzz target under atheris: `PYTHONPATH=tests python tests/fuzz/fuzz_X.py [libFuzzer's options]`."""

import sys
from collections.abc import Callable


def run(one_input: Callable[[bytes], object]) -> None:
    """Fuzzes with the command line's options; an exception of `one_input` is a finding and ends the program."""
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
