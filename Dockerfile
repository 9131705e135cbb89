# The extender's image: docker build -t privatekube/extender:0.1.0 .
FROM rust:1.95-slim-trixie AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p privatekube-extender

FROM debian:trixie-slim
COPY --from=build /src/target/release/privatekube-extender /usr/local/bin/
# Nobody in particular, and not root; manifests/deployment.yaml says the same.
USER 65532:65532
# The scheduler, the webhooks, health and metrics.
EXPOSE 9444 9443 8080
ENTRYPOINT ["privatekube-extender"]
CMD ["serve"]
