# A worker for every GPU it is given: the package with torch and diffusers.
#
#     docker build -f docker/worker.Dockerfile -t diffusion-farm-worker .
#
# The torch wheel brings its own CUDA libraries and the container runtime brings the driver, so the base needs
# neither: NVIDIA's `base` images are as good as the `runtime` ones, which are 2 GB larger, and so is any Debian
# or Ubuntu image. One without Python gets its distribution's (3.11 or newer).
#
# For workers on CPUs, an image without CUDA:
#
#     docker build -f docker/worker.Dockerfile -t diffusion-farm-worker-cpu --build-arg BASE=python:3.11-slim \
#         --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
ARG BASE=nvidia/cuda:13.0.1-base-ubuntu24.04

FROM ${BASE} AS python
RUN python3 -c "import ensurepip" || \
    (apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv && \
     rm -rf /var/lib/apt/lists/*)
RUN python3 -m venv /opt/farm
ENV PATH=/opt/farm/bin:$PATH

FROM python AS build
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python
RUN useradd --uid 10001 --user-group --create-home farm && \
    install --directory --owner farm --group farm /var/lib/diffusion-farm
# The gigabytes first, in a layer of their own: it stays as it is while only our code changes.
WORKDIR /opt/farm
COPY pyproject.toml constraints.txt ./
# PyPI has torch for Linux with CUDA only; a build for the CPU is taken from the index that has one.
ARG TORCH_INDEX=
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
               print(*project['dependencies'], *project['optional-dependencies']['worker'], sep='\n')" \
        > requirements.txt && \
    pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        -c constraints.txt -r requirements.txt
COPY --from=build /wheels /opt/farm/wheels
RUN pip install --no-cache-dir --no-deps wheels/*.whl
WORKDIR /var/lib/diffusion-farm
# NVIDIA's container runtime reads what to mount from its two variables.
ENV PYTHONUNBUFFERED=1 \
    FARM_DATA_DIR=/var/lib/diffusion-farm \
    FARM_WORKER_PORT=8421 \
    HF_HUB_OFFLINE=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Docker shows it and starts nothing anew on account of it: a worker waits out an outage of PostgreSQL.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD python -c "from urllib.request import urlopen; urlopen('http://127.0.0.1:$FARM_WORKER_PORT/readyz', timeout=4)"
ENTRYPOINT ["farm"]
CMD ["worker", "--devices", "all"]
USER 10001:10001
