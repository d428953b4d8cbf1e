# beatward in a container: the monitor by default, `docker run beatward agent` for an agent. docs/deploy.md
#     docker build --tag beatward .
FROM debian:12-slim AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc python3-dev python3-venv
WORKDIR /source
# First what changes seldom: every version pinned, every file checked against its hash.
COPY requirements/run.txt requirements/
RUN python3 -m venv /opt/beatward \
    && /opt/beatward/bin/pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY LICENSE README.md pyproject.toml setup.py ./
COPY src src
RUN /opt/beatward/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /opt/beatward/bin/pip install --no-deps --no-index /wheel/*.whl

FROM debian:12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 7227 --home-dir /var/lib/beatward --create-home beatward \
    && chmod 700 /var/lib/beatward
COPY --from=build /opt/beatward /opt/beatward
# Loopback inside a container is reached from nowhere, so here the monitor listens on every address.
COPY examples/container.toml /etc/beatward/beatward.toml
ENV PATH=/opt/beatward/bin:$PATH BEATWARD_DATA=/var/lib/beatward
USER beatward
VOLUME /var/lib/beatward
EXPOSE 7227/udp 7227/tcp
ENTRYPOINT ["beatward"]
CMD ["monitor", "-c", "/etc/beatward/beatward.toml"]
