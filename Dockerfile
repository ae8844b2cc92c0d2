# The dependencies in a stage of their own: what npm needs to install them stays out of the image.
FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
COPY vendor ./vendor
RUN npm ci --omit=dev --no-audit --no-fund && npm cache clean --force

FROM node:24-bookworm-slim
ENV NODE_ENV=production \
    DDOCKER_DATA_DIR=/var/lib/ddocker
WORKDIR /app
COPY --from=dependencies /app ./
COPY LICENSE ./
COPY bin ./bin
COPY src ./src
# Not root: a node needs root only to read the local engine's store, and then it is told so
# (`--user 0` and the engine's socket as a volume).
RUN mkdir -p "$DDOCKER_DATA_DIR" && chown node:node "$DDOCKER_DATA_DIR" && chmod 700 "$DDOCKER_DATA_DIR"
VOLUME /var/lib/ddocker
USER node
# The registry door answers on loopback, so a node shares the network of its host: `--network host`.
EXPOSE 6881/tcp 6881/udp
# SIGTERM drains.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["node", "-e", "fetch('http://' + (process.env.DDOCKER_REGISTRY ?? '127.0.0.1:5151') + '/healthz', { signal: AbortSignal.timeout(4000) }).then((response) => process.exit(response.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "/app/bin/ddocker.js"]
CMD ["serve"]
