#!/bin/bash
# In the box: installs mailnotary, and leaves its configuration, the services and the mail to the tests.
. /src/tests/support/inside.sh
make install
tests/bootstrap.sh test
run_tests tests/systemd/service_in_box.py
