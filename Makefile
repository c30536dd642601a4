# The make targets of the deployment guide. ENGINE is docker or podman.
ENGINE ?= docker
COMPOSE ?= $(ENGINE) compose
IMAGE ?= ghcr.io/neuron7x/mlsdm-neuro-engine
VERSION ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
NAME ?= mlsdm-api
PORT ?= 8000
# plain, minilm or lambda; another tag than VERSION for the last two
TARGET ?= plain
TAG ?= $(VERSION)$(if $(filter-out plain,$(TARGET)),-$(TARGET))
SECRETS := deploy/secrets
DOCKERFILE := deploy/docker/Dockerfile.neuro-engine-service
COMPOSE_FILE := docker/docker-compose.yaml
export VERSION
# podman keeps the health check only in this format
FORMAT := $(if $(findstring podman,$(ENGINE)),--format docker)

.PHONY: docker-build-neuro-engine docker-run-neuro-engine docker-smoke-neuro-engine \
  docker-compose-up docker-compose-down secrets

docker-build-neuro-engine:
	$(ENGINE) build $(FORMAT) --file $(DOCKERFILE) --target $(TARGET) --build-arg VERSION=$(VERSION) \
	  --build-arg REVISION=$$(git rev-parse HEAD) --tag $(IMAGE):$(TAG) .

secrets:
	deploy/secrets.sh

# the embedded database, in a volume; the key of callers is deploy/secrets/api_key
docker-run-neuro-engine: secrets
	$(ENGINE) run --detach --name $(NAME) --publish 127.0.0.1:$(PORT):8000 --read-only --cap-drop ALL \
	  --security-opt no-new-privileges --memory 2g --cpus 2 --stop-timeout 75 \
	  --volume $(NAME)-data:/var/lib/mlsdm \
	  --volume $(CURDIR)/$(SECRETS)/api_key:/run/secrets/api_key:ro \
	  --volume $(CURDIR)/$(SECRETS)/content_key:/run/secrets/content_key:ro \
	  --env API_KEY_FILE=/run/secrets/api_key --env MLSDM_CONTENT_KEY_FILE=/run/secrets/content_key \
	  --env OPENAI_API_KEY --env ANTHROPIC_API_KEY --env LLM_BACKEND --env LOG_LEVEL \
	  $(IMAGE):$(TAG)

docker-smoke-neuro-engine:
	deploy/docker/smoke.sh http://127.0.0.1:$(PORT) $(SECRETS)/api_key

docker-compose-up: secrets
	$(COMPOSE) --file $(COMPOSE_FILE) up --detach --wait

docker-compose-down:
	$(COMPOSE) --file $(COMPOSE_FILE) down
