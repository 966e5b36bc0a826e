"""`python -m mailnotary`."""

import sys

from mailnotary.cli import main

sys.exit(main())
