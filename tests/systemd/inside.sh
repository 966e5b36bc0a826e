#!/bin/bash
# In the box: installs mailnotary, and leaves its configuration, the services and the mail to the tests.
. /src/tests/support/inside.sh
touch milter/mailnotary/stale.py  # of an older version
(umask 077; make install)
tests/bootstrap.sh test
run_tests tests/systemd/service_in_box.py
run_tests tests/systemd/install_in_box.py
