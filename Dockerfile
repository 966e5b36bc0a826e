# The daemon in the foreground on port 8891, logs to standard error. Mount the configuration and the keys:
#   docker run -p 127.0.0.1:8891:8891 -v /srv/mailnotary:/etc/mailnotary:ro mailnotary
# Never publish the port to the world: who reaches it has mail signed as yours. `socket.peers` in mailnotary.yaml names
# the addresses that may connect, as they are seen from inside of the container.
# Key files must belong to the user 891 and be readable by nobody else.

FROM debian:bookworm-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev libmilter-dev python3-dev python3-venv
WORKDIR /src
COPY pyproject.toml README.md LICENSE config/lock.txt ./
COPY milter milter
# First what builds packages, then the packages, up to those for tests; all from the lock file, with their hashes.
RUN python3 -m venv /opt/mailnotary \
    && sed '/^# == run/,$d' lock.txt >build.txt && sed '/^# == dev/,$d' lock.txt >run.txt \
    && pip="/opt/mailnotary/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps" \
    && $pip --require-hashes --requirement build.txt \
    && $pip --require-hashes --requirement run.txt --no-build-isolation --use-pep517 \
    && $pip --no-build-isolation . \
    && /opt/mailnotary/bin/pip check \
    && /opt/mailnotary/bin/pip uninstall --yes pip setuptools \
    && rm -rf /opt/mailnotary/lib/python3.*/site-packages/Crypto/SelfTest

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libmilter1.0.1 python3 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 891 --user-group --no-create-home --home-dir /var/lib/mailnotary mailnotary \
    && install --directory --owner=mailnotary --group=mailnotary /var/lib/mailnotary
COPY config/mailnotary.yaml config/keystore.yaml /etc/mailnotary/
COPY --from=build /opt/mailnotary /opt/mailnotary
ENV PATH=/opt/mailnotary/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
USER mailnotary
EXPOSE 8891
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s \
    CMD ["python", "-m", "mailnotary.daemon.probe", "inet:8891@127.0.0.1"]
# The address stands here, so that no mounted configuration can hide the port.
CMD ["mailnotary", "run", "--listen", "inet:8891@0.0.0.0"]
