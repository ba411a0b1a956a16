# The worker, and Prefect's server: poster-genres in a virtual environment, without its source.
#   docker build --tag poster-genres .
# The package registry is pip's default; another one: --build-arg PIP_INDEX_URL=...

FROM python:3.11.14-slim-bookworm AS build
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
# First what changes least: some 3 GB of packages are one layer.
COPY requirements.lock ./
RUN python -m venv /opt/poster-genres \
    && /opt/poster-genres/bin/pip install --no-deps --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE poster_genres.py ./
COPY flows flows
COPY tasks tasks
RUN /opt/poster-genres/bin/pip install --no-deps --no-build-isolation . \
    && /opt/poster-genres/bin/poster-genres backbone --to /opt/backbone

FROM python:3.11.14-slim-bookworm
RUN useradd --create-home --uid 1000 poster-genres \
    && install --directory --owner=poster-genres --group=poster-genres /project
COPY --from=build /opt/poster-genres /opt/poster-genres
COPY --from=build /opt/backbone /opt/backbone
ENV PATH=/opt/poster-genres/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false
USER 1000
WORKDIR /project
# A volume that is mounted here starts with this project; settings and deployments are changed there.
RUN poster-genres init . \
    && mkdir data/backbone \
    && ln --symbolic /opt/backbone/*.whl data/backbone/
EXPOSE 8080
# Of the worker: whether it asks the server for runs. compose.yaml has those of the other services.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=5)"]
CMD ["prefect", "worker", "start", "--pool", "poster-genres", "--with-healthcheck"]
