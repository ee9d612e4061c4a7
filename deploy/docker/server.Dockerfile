# The coordinator's hub: SuperLink, proxy and the conductor of studies. Build from the repository's root:
#
#   docker build -f deploy/docker/server.Dockerfile -t fedmvi-server:0.1.0 .
#
# What site.Dockerfile says of packages, wheels and the base image holds here too.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG PIP_NO_INDEX=0
ARG EXTRAS=server,metrics
WORKDIR /src
COPY deploy/docker/wheelhouse/ /wheelhouse/
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY common/ common/
COPY client/ client/
COPY server/ server/
COPY simulation/ simulation/
COPY studies/ studies/
RUN python -m venv /opt/fedmvi \
    && PIP_NO_INDEX="${PIP_NO_INDEX}" /opt/fedmvi/bin/pip install --no-cache-dir --disable-pip-version-check \
        --find-links /wheelhouse --constraint constraints.txt ".[${EXTRAS}]" \
    && /opt/fedmvi/bin/python -m compileall -q -j 0 -f --invalidation-mode unchecked-hash /opt/fedmvi/lib

FROM ${BASE}
# Debian mends nginx within a release: its version is not pinned, so that a rebuild brings the mended one.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends nginx-light \
    && rm -rf /var/lib/apt/lists/* /etc/nginx/sites-enabled/* \
    && groupadd --gid 10001 fedmvi \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fedmvi
COPY --from=build /opt/fedmvi /opt/fedmvi
ENV PATH=/opt/fedmvi/bin:$PATH \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    MPLCONFIGDIR=/tmp/matplotlib
# The hub's folder is mounted here. Nothing else is written, but to /tmp: run with a read-only root file system.
VOLUME /hub
WORKDIR /hub
EXPOSE 9443
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 \
    CMD ["fedmvi-server", "status", "--hub", "/hub"]
ENTRYPOINT ["fedmvi-server"]
CMD ["start", "--hub", "/hub"]
