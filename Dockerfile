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
# Not root. The manifests of examples/sweep name the same user.
USER 65532:65532
ENTRYPOINT ["privatekube-simulator"]
CMD ["--help"]

# The last stage is the default target.
FROM debian:trixie-slim AS extender
COPY --from=build-extender /src/target/release/privatekube-extender /usr/local/bin/
# Not root. manifests/deployment.yaml names the same user.
USER 65532:65532
# For the scheduler, for the webhooks, for health and metrics.
EXPOSE 9444 9443 8080
ENTRYPOINT ["privatekube-extender"]
CMD ["serve"]
