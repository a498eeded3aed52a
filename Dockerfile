# respguard as one small image: the binary, a configuration without rules, a user without rights.
#
#   docker build -t respguard .
#   docker run --rm -p 6380:6380 -p 9121:9121 -v ./config.toml:/etc/respguard/config.toml:ro respguard
#
# In the configuration, `[listen]` and `[admin]` need an address that is reachable from outside the container,
# such as 0.0.0.0:6380, and `[upstream]` the server's. The image's own has these, and redis:6379. `scripts/try-image`
# builds and runs all this without Docker.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs config.toml ./
COPY docs/runbook.md docs/runbook.md
COPY crates crates
COPY src src
# Benchmarks and examples are named in Cargo.toml, so their files must be there; they are not built.
COPY benches benches
COPY examples examples
# Which commit it is: there is no git here to ask.
ARG RESPGUARD_COMMIT=
RUN RESPGUARD_COMMIT="$RESPGUARD_COMMIT" cargo build --locked --release --bin respguard

FROM debian:bookworm-slim
RUN groupadd --system --gid 10001 respguard \
    && useradd --system --uid 10001 --gid respguard --no-create-home --shell /usr/sbin/nologin respguard \
    && install --directory --owner respguard --group respguard --mode 700 /var/lib/respguard
COPY --from=build /build/target/release/respguard /usr/local/bin/respguard
COPY deploy/docker/config.toml /etc/respguard/config.toml
COPY config.toml LICENSE-MIT LICENSE-APACHE /usr/share/doc/respguard/
USER 10001:10001
EXPOSE 6380 9121
# Where a configuration may keep violations, also where everything else is read-only.
VOLUME /var/lib/respguard
# The process is pid 1 and ends on SIGTERM: it answers what is owed first, for at most `drain_timeout_ms`.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/respguard", "healthcheck", "--config", "/etc/respguard/config.toml"]
ENTRYPOINT ["/usr/local/bin/respguard"]
CMD ["run", "--config", "/etc/respguard/config.toml"]
