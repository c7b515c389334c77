# syntax=docker/dockerfile:1
# The agent alone: one binary, no shell tools needed. Certificates of the web's authorities are built in.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin logagent && cp target/release/logagent /usr/local/bin/logagent

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/logagent --shell /usr/sbin/nologin logagent \
    && install -d -o logagent -g logagent -m 0750 /var/lib/logagent \
    && install -d /logs
COPY --from=build /usr/local/bin/logagent /usr/local/bin/logagent
USER logagent
WORKDIR /var/lib/logagent
ENV LOGAGENT_DATA_DIR=/var/lib/logagent
VOLUME /var/lib/logagent
STOPSIGNAL SIGTERM
ENTRYPOINT ["logagent"]
CMD ["run"]
