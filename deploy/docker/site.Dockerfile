# A hospital's node, on CPU or CUDA. Build from the repository's root:
#
#   docker build -f deploy/docker/site.Dockerfile -t fedmvi-site:0.1.0 .
#
# Packages are those of constraints.txt. Wheels that lie in deploy/docker/wheelhouse are preferred; with
# `--build-arg PIP_NO_INDEX=1` nothing else is used. Which torch comes is which wheel is found: the package index has the
# one for CUDA on Linux; for CPU, which is 3 GB smaller, put its wheel into the wheelhouse. CUDA needs no other base, as
# the wheels bring it; the driver comes from the host (NVIDIA's container toolkit, `--gpus all`).
#
# A hospital with gene expression, for .h5ad files and its own DESeq2: `--build-arg EXTRAS=site,genomics,metrics`.
#
# The base images are pinned by tag: pin them by digest where yours are mirrored.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# One of the dependencies (radiomics) has no wheel and is compiled here. Debian's compiler decides no number.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc g++ libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ARG PIP_NO_INDEX=0
ARG EXTRAS=site,metrics
WORKDIR /src
COPY deploy/docker/wheelhouse/ /wheelhouse/
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY common/ common/
COPY client/ client/
COPY server/ server/
COPY simulation/ simulation/
COPY studies/ studies/
# Modules are compiled once, and never looked at again: without them each message takes twice as long.
RUN python -m venv /opt/fedmvi \
    && PIP_NO_INDEX="${PIP_NO_INDEX}" /opt/fedmvi/bin/pip install --no-cache-dir --disable-pip-version-check \
        --find-links /wheelhouse --constraint constraints.txt ".[${EXTRAS}]" \
    && /opt/fedmvi/bin/python -m compileall -q -j 0 -f --invalidation-mode unchecked-hash /opt/fedmvi/lib

FROM ${BASE}
RUN groupadd --gid 10001 fedmvi \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin fedmvi
COPY --from=build /opt/fedmvi /opt/fedmvi
ENV PATH=/opt/fedmvi/bin:$PATH \
    FLWR_TELEMETRY_ENABLED=0 \
    FLWR_DISABLE_UPDATE_CHECK=1 \
    MPLCONFIGDIR=/tmp/matplotlib
# The site's folder is mounted here. Nothing else is written, but to /tmp: run with a read-only root file system.
VOLUME /site
WORKDIR /site
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=60s --timeout=20s --start-period=120s --retries=3 \
    CMD ["fedmvi-site", "status", "--site", "/site"]
ENTRYPOINT ["fedmvi-site"]
CMD ["start", "--site", "/site"]
