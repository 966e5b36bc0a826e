#!/bin/bash
# In the box, which has nothing but `make`: what a stranger does first with a fresh clone.
. /src/tests/support/inside.sh
. /etc/os-release
make demo
.venv/bin/python -c 'import sys, Milter; print(*sys.argv[1:], "Python", sys.version, "pymilter", Milter.__version__)' "$PRETTY_NAME"
make test
