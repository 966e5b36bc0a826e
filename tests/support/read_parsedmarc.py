"""Reads DMARC reports with parsedmarc, in its own environment: for each file that is named, a line of JSON with what it
makes of it."""

import json
import sys

import parsedmarc  # type: ignore[import-not-found]  # it is in another environment

for path in sys.argv[1:]:
    print(json.dumps(parsedmarc.parse_report_file(path, offline=True)))
