# The aggregator from its deb, which is in FOLDER, the newest if there are several:
#   docker build --build-context packages=FOLDER -f packaging/docker/aggregator.Dockerfile -t vedette-aggregator packaging/docker
FROM debian:12-slim
# Set by the builder: amd64, arm64.
ARG TARGETARCH
# Unpacked, not installed: its scripts are for systemd, which is not here.
RUN --mount=type=bind,from=packages,target=/packages \
    deb=$(ls -v /packages/vedette-aggregator_*_"$TARGETARCH".deb | tail -n 1) \
    && dpkg-deb --extract "$deb" / \
    && mkdir -p /etc/vedette /var/lib/vedette/aggregator \
    && chown -R 10001:10001 /var/lib/vedette \
    && chmod 0700 /var/lib/vedette/aggregator \
    && vedette-aggregator --version
USER 10001:10001
VOLUME /var/lib/vedette/aggregator
EXPOSE 9090/tcp 9095/udp
HEALTHCHECK --interval=10s --timeout=10s --start-period=60s --retries=3 CMD ["vedette-aggregator", "status"]
ENTRYPOINT ["vedette-aggregator"]
CMD ["serve", "--web.listen-address=0.0.0.0:9090"]
