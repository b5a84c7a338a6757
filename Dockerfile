# The tag pins Python's patch level and the Debian release, so that a rebuild changes Python only when this line does.
# Publishers can pin the digest as well, through the same argument (…@sha256:…).
ARG PYTHON_IMAGE=docker.io/library/python:3.13.15-slim-trixie

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS builder

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1

# Two environments: build tools never reach the final image, and the runtime environment has no pip.
WORKDIR /src
COPY deploy/image/build.txt deploy/image/requirements.txt deploy/image/
RUN python -m venv /opt/build \
 && python -m venv --without-pip /opt/venv \
 && /opt/build/bin/pip install --require-hashes -r deploy/image/build.txt \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-compile --only-binary :all: \
      --require-hashes -r deploy/image/requirements.txt

# Compiled now, as the file system is read-only at run time; unchecked, as no source changes there.
COPY pyproject.toml README.md ./
COPY monitor monitor
RUN /opt/build/bin/pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation -w /dist . \
 && /opt/build/bin/pip --python /opt/venv/bin/python install --no-compile --no-deps --no-index /dist/*.whl \
 && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE}

ARG PYTHON_IMAGE
ARG REVISION=unknown
# When the source was committed (RFC 3339), not when it was built: the same source makes the same image.
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="VoiceLink drift monitor" \
      org.opencontainers.image.description="Watches the phone numbers behind VoiceLink connections, read-only" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="https://github.com/vocobase/voicelink-drift-monitor" \
      org.opencontainers.image.url="https://github.com/vocobase/voicelink-drift-monitor" \
      org.opencontainers.image.documentation="https://github.com/vocobase/voicelink-drift-monitor#readme" \
      org.opencontainers.image.base.name="${PYTHON_IMAGE}"

# The base brings the system's CA certificates, which the monitor trusts; a base without them is refused.
# The volume is group 0's as well: OpenShift runs containers in that group, as a user of its own choice.
RUN test -s /etc/ssl/certs/ca-certificates.crt \
 && install -d -o 65532 -g 0 -m 0770 /data

COPY deploy/image/licenses.txt /usr/share/doc/voicelink-monitor/
COPY --from=builder /opt/venv /opt/venv

ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VOICELINK_MONITOR_REVISION=${REVISION} \
    VOICELINK_MONITOR_STORE__URL=sqlite:////data/voicelink-monitor.db \
    VOICELINK_MONITOR_WEB__LISTEN=0.0.0.0:8790

# By number, so that Kubernetes can verify that it is not root.
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8790
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["voicelink-monitor", "healthcheck"]
ENTRYPOINT ["voicelink-monitor"]
CMD ["run"]
