# The images: docker build -t privatekube/extender:0.1.0 .
#             docker build -t privatekube/simulator:0.1.0 --target simulator .
FROM rust:1.95-slim-trixie AS source
WORKDIR /src
COPY . .

FROM source AS build-extender
RUN cargo build --release --locked -p privatekube-extender

FROM source AS build-simulator
RUN cargo build --release --locked -p privatekube-simulator

FROM debian:trixie-slim AS simulator
COPY --from=build-simulator /src/target/release/privatekube-simulator /usr/local/bin/
# Nobody in particular, and not root; examples/sweep says the same.
USER 65532:65532
ENTRYPOINT ["privatekube-simulator"]
CMD ["--help"]

# The last one is what is built if nothing else is asked for.
FROM debian:trixie-slim AS extender
COPY --from=build-extender /src/target/release/privatekube-extender /usr/local/bin/
# Nobody in particular, and not root; manifests/deployment.yaml says the same.
USER 65532:65532
# The scheduler, the webhooks, health and metrics.
EXPOSE 9444 9443 8080
ENTRYPOINT ["privatekube-extender"]
CMD ["serve"]
