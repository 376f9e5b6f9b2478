# `groundup serve` in a container; the run folder stays outside, and is only read.
#   docker build -t groundup .
#   docker run -p 8000:8000 -e GROUNDUP_TOKEN=$(openssl rand -hex 16) -v RUN:/model:ro groundup
# torch for the CPU alone, or packages from a mirror: --build-arg PIP_ARGS="--index-url URL".
FROM python:3.12-slim
ARG PIP_ARGS=""
WORKDIR /groundup
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
COPY conf conf
RUN pip install --no-cache-dir --constraint constraints.txt ${PIP_ARGS} $(grep '^torch==' constraints.txt)
RUN pip install --no-cache-dir --constraint constraints.txt ${PIP_ARGS} '.[serve]'
RUN useradd --create-home groundup
USER groundup
WORKDIR /home/groundup
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["groundup", "serve", "host=0.0.0.0"]
CMD ["run=/model"]
