# One worker of the service; compose runs several behind Envoy.
FROM python:3.11-slim-bookworm
WORKDIR /app
ENV PYTHONPATH=/app:/app/gen \
    PYTHONUNBUFFERED=1 \
    GRPC_HOST=0.0.0.0 \
    GRPC_PORT=50051 \
    GATEWAY_WORKERS=1 \
    GATEWAY_RUN_DIR=/tmp/gateway
COPY requirements.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --root-user-action=ignore -q -r requirements.lock
COPY gen gen
COPY service service
RUN python -m compileall -q gen service
ENV PYTHONDONTWRITEBYTECODE=1
# Where compose mounts what the replicas share: a new volume takes its owner from here.
RUN install -d -o 10001 -g 10001 -m 700 /sent
USER 10001:10001
EXPOSE 50051
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-m", "service", "health"]
CMD ["python", "-m", "service"]
