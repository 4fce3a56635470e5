# agentrl itself. Build the wheel first (`make image` does both):
#   docker build --build-arg BASE=python:3.11-slim -t agentrl .
# The base needs Python >= 3.11 with pip. PIP_ARGS is for machines without an index:
#   --build-arg PIP_ARGS="--no-index --no-deps" when the base already holds the dependencies.
ARG BASE=python:3.11-slim
FROM ${BASE}
ARG PIP_ARGS=""
USER root
COPY dist/*.whl /tmp/dist/
RUN python3 -m pip install --no-cache-dir ${PIP_ARGS} /tmp/dist/*.whl && rm -r /tmp/dist
# Not every base has its Python's scripts on the PATH.
RUN command -v agentrl || ln -s \
    "$(python3 -c 'import sysconfig; print(sysconfig.get_path("scripts"))')/agentrl" /usr/local/bin/
RUN mkdir -p /home/agentrl /work \
 && echo "agentrl:x:10001:10001::/home/agentrl:/bin/sh" >> /etc/passwd \
 && echo "agentrl:x:10001:" >> /etc/group \
 && chown 10001:10001 /home/agentrl /work
ENV HOME=/home/agentrl
WORKDIR /work
USER 10001:10001
ENTRYPOINT ["agentrl"]
