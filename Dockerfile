# stream-app with what requirements.lock says, for a user without rights. It is the environment that
# the tests run in (their tools included), so that what was tested is what runs.
FROM python:3.11-slim

ENV PIP_NO_CACHE_DIR=1 PYTHONHASHSEED=0 PATH=/app/.venv/bin:$PATH
WORKDIR /app

# In the order of how often they change: the code needs no new environment.
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY scripts/setup scripts/
COPY stream_app stream_app
# Compiled here, since whoever runs it cannot write here.
RUN scripts/setup && python -m compileall -q .venv/lib stream_app

RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin stream-app \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/stream-app
COPY deploy/flights.py ./

ENV STREAM_APP_STATE=/var/lib/stream-app
USER 10001:10001
ENTRYPOINT ["stream-app"]
CMD ["--help"]
