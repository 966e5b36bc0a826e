#!/bin/bash
# In the box: installs mailnotary, and the system's Sendmail in the place of Postfix.
. /src/tests/support/inside.sh
make install
tests/bootstrap.sh test
DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends sendmail-bin sendmail \
	>/var/log/install-sendmail 2>&1 </dev/null || { tail -30 /var/log/install-sendmail; exit 1; }
run_tests tests/sendmail/mail_in_box.py
