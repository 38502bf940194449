# The portal and the keeper: the package without torch.
#
#     docker build -f docker/portal.Dockerfile -t diffusion-farm-portal .
#
# Any Debian or Ubuntu image does as a base; one without Python gets its distribution's (3.11 or newer).
ARG BASE=python:3.11-slim

FROM ${BASE} AS python
RUN python3 -c "import ensurepip" || \
    (apt-get update && apt-get install --yes --no-install-recommends python3 python3-venv && \
     rm -rf /var/lib/apt/lists/*)

FROM python AS build
RUN python3 -m venv /opt/farm
WORKDIR /src
COPY . .
RUN /opt/farm/bin/pip install --no-cache-dir -c constraints.txt .

FROM python
RUN useradd --uid 10001 --user-group --create-home farm && \
    install --directory --owner farm --group farm /var/lib/diffusion-farm
COPY --from=build /opt/farm /opt/farm
ENV PATH=/opt/farm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FARM_DATA_DIR=/var/lib/diffusion-farm \
    FARM_HOST=0.0.0.0 \
    FARM_PORT=8420
EXPOSE 8420
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD python -c "from urllib.request import urlopen; urlopen('http://127.0.0.1:$FARM_PORT/healthz', timeout=3)"
ENTRYPOINT ["farm"]
CMD ["web"]
USER 10001:10001
