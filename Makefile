# Everything here runs in .venv, which is made on first use. Needs Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA := tests/data/dev-mini
DEMO := .lookalike/demo
RUN_DEMO := $(BIN)/lookalike run --catalog $(DATA)/catalog.csv --taxonomy $(DATA)/taxonomy.csv \
	--votes $(DATA)/votes.csv --queries $(DATA)/queries.csv --workspace $(DEMO) \
	--channel demo --raters simulated --config pipelines/demo.yaml

.DEFAULT_GOAL := help
.PHONY: help
help:  ## Show this help
	@echo "Lookalike: visually similar items and search by photo, promoted only through gates."
	@echo
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | \
		awk -F ':.*## ' '{ printf "  make %-16s %s\n", $$1, $$2 }'

# A lock names everything, so pip resolves nothing: asked to, it takes an extra of a pinned package
# for a wish for the newest one, which has no hash here.
$(VENV)/.local: infra/locks/local.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		f"expected Python 3.11 or newer, found {sys.version.split()[0]}; try: make PYTHON=python3.11")'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing packages into $(VENV) (about 2.7 GB, some minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r infra/locks/local.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.local infra/locks/dev.txt
	@echo "installing the test tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r infra/locks/dev.txt
	@$(BIN)/python -m pip check
	@touch $@

.PHONY: install
install: $(VENV)/.local  ## Make the environment .venv
.PHONY: install-dev
install-dev: $(VENV)/.dev  ## The same with the test tools

.PHONY: demo
demo: $(VENV)/.local  ## Take the quick-start catalog to a promoted index and ask it something
	@$(RUN_DEMO)
	@$(BIN)/lookalike ask --registry $(DEMO)/registry --channel demo \
		--image $(DATA)/images/dq00005.jpg

.PHONY: demo-refused
demo-refused: $(VENV)/.local  ## Show a refusal: an untrained encoder against the live version
	@test -f $(DEMO)/registry/channels/demo.json || $(MAKE) --no-print-directory demo
	@echo "a run whose encoder keeps its random weights (train.epochs=0); the gates should refuse it"
	@$(RUN_DEMO) --mode scratch --set train.epochs=0; code=$$?; \
		test $$code -eq 3 || { echo "expected exit code 3 (refused), got $$code"; exit 1; }
	@$(BIN)/lookalike index status --registry $(DEMO)/registry --channel demo

.PHONY: test
test: $(VENV)/.dev  ## Run the tests (at most 15 minutes on 2 cores)
	$(BIN)/python -m pytest -m "not browser and not docker and not benchmark and not portable and not flink" tests

.PHONY: bench-human-eval
bench-human-eval: $(VENV)/.dev  ## Print the gate's error rates and costs by simulation
	$(BIN)/python tests/benchmarks/bench_human_eval.py

.PHONY: bench-judging
bench-judging: $(VENV)/.dev  ## Time judging 50,000 ratings of 5,000 pairs by 50 raters
	$(BIN)/python tests/benchmarks/human_eval_judging.py

.PHONY: bench-pixels
bench-pixels: $(VENV)/.dev  ## Print what matching pixels reaches, the demo threshold's lower end
	$(BIN)/python tests/benchmarks/pixel_baseline.py --data $(DATA)

.PHONY: bench-rating-app
bench-rating-app: $(VENV)/.dev  ## 50 raters with kill -9 in between, and 100,000 ratings read back
	$(BIN)/python tests/benchmarks/bench_rating_app.py

.PHONY: bench-serving
bench-serving: $(VENV)/.dev  ## Measure serving beside its targets (needs wrk; some 25 minutes)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check pgserver==0.1.4
	$(BIN)/python tests/benchmarks/bench_serving.py --bundles .lookalike/bench/serving

.PHONY: bench-fast-path
bench-fast-path: $(VENV)/.dev  ## What a limit for each client and the metrics cost an item search
	$(BIN)/python tests/benchmarks/bench_fast_path.py --bundles .lookalike/bench/fast-path

.PHONY: bench-neighbour-table
bench-neighbour-table: $(VENV)/.dev  ## Item questions from a table of neighbours against a search (wrk)
	$(BIN)/python tests/benchmarks/bench_neighbour_table.py --bundles .lookalike/bench/fast-path

.PHONY: bench-registry
bench-registry: $(VENV)/.dev  ## Time status and rollback on 500 bundles and 5,000 moves, both stores
	$(BIN)/python tests/benchmarks/bench_registry.py

.PHONY: bench-index
bench-index: $(VENV)/.dev  ## Measure the index beside its peers and its targets (an hour; ITEMS=100000: minutes; PART=load: one part)
	$(BIN)/python tests/benchmarks/bench_index.py $(PART) --items $(or $(ITEMS),1000000) \
		$(if $(ITEMS),--sharded-items $(ITEMS)) $(if $(BUNDLE),--bundle $(BUNDLE))

.PHONY: bench-pipeline
bench-pipeline: $(VENV)/.dev  ## Time the compiler, the local runner and an unchanged run (make demo first)
	$(BIN)/python tests/benchmarks/bench_pipeline.py $(if $(wildcard $(DEMO)/summary.json),--workspace $(DEMO))

.PHONY: bench-catalog
bench-catalog: $(VENV)/.dev  ## Time 1,000,000 catalog rows with 3,000,000 votes (ITEMS=100000: seconds)
	$(BIN)/python tests/benchmarks/bench_catalog.py --items $(or $(ITEMS),1000000)

.PHONY: bench-data
bench-data: $(VENV)/.dev  ## Measure transform and embed on 20,000 images (IMAGES=2000: minutes; PART=rerun: one part)
	$(BIN)/python tests/benchmarks/bench_data.py $(PART) --images $(or $(IMAGES),20000)

.PHONY: stress-registry
stress-registry: $(VENV)/.dev  ## 64 processes on one channel, then 200 kills, on both stores
	for store in local gcs; do \
		$(BIN)/python tests/benchmarks/registry_stress.py contend --store $$store && \
		$(BIN)/python tests/benchmarks/registry_stress.py kill --store $$store || exit 1; \
	done

BEAM := 2.77.0
.tools/prism:
	@command -v go >/dev/null || { echo "expected Go, to build Beam's portable runner; found none"; exit 1; }
	GOBIN="$(CURDIR)/.tools" go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(BEAM)

.PHONY: test-portable
test-portable: $(VENV)/.dev .tools/prism  ## Test transform and embed on Beam's portable runner (needs Go)
	$(BIN)/python -m pytest -m portable tests/test_beam_engines.py

FLINK := 1.20
FLINK_JAR := .tools/beam-runners-flink-$(FLINK)-job-server-$(BEAM).jar
$(FLINK_JAR):
	@command -v mvn >/dev/null || { echo "expected Maven and Java; apt-get install maven openjdk-17-jre-headless"; exit 1; }
	@mkdir -p .tools
	mvn -q -B dependency:get -Dtransitive=false -Dartifact=org.apache.beam:beam-runners-flink-$(FLINK)-job-server:$(BEAM) && \
	mvn -q -B dependency:copy -Dartifact=org.apache.beam:beam-runners-flink-$(FLINK)-job-server:$(BEAM) -DoutputDirectory=.tools || \
	{ echo "Maven Central did not give Beam's Flink job server $(BEAM): nothing was tested on Flink"; exit 1; }

.PHONY: test-flink
test-flink: $(VENV)/.dev $(FLINK_JAR)  ## Test transform and embed on a local Flink cluster (needs Java, Maven)
	LOOKALIKE_FLINK_JOB_SERVER_JAR=$(FLINK_JAR) $(BIN)/python -m pytest -m flink tests/test_beam_engines.py

.PHONY: images
images:  ## Build the images of the steps and of serving (needs a Docker engine)
	@$(PYTHON) infra/images.py --sbom build/sbom

.PHONY: docker-demo
docker-demo: $(VENV)/.dev  ## The demo's pipeline with each step in its image (make images first)
	@$(BIN)/python infra/docker_demo.py --catalog $(DATA)/catalog.csv \
		--taxonomy $(DATA)/taxonomy.csv --votes $(DATA)/votes.csv --queries $(DATA)/queries.csv \
		--workspace .lookalike/docker --config pipelines/demo.yaml

.PHONY: test-docker
test-docker: $(VENV)/.dev  ## Test the images, and the pipeline in them (make images first)
	$(BIN)/python -m pytest -m docker tests

.PHONY: infra-check
infra-check: $(VENV)/.dev  ## Check Dockerfile, manifests, Terraform and workflows, offline
	$(BIN)/hadolint --config infra/hadolint.yaml infra/Dockerfile
	PATH="$(CURDIR)/.tools:$$PATH" $(BIN)/python -m pytest -m "not docker" tests/infra

.PHONY: infra-tools
infra-tools:  ## Install kustomize and actionlint into .tools (needs Go)
	command -v kustomize || command -v kubectl || \
		GOBIN="$(CURDIR)/.tools" go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.1
	GOBIN="$(CURDIR)/.tools" go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

.PHONY: bench-quality
bench-quality: $(VENV)/.dev  ## Compare losses and baselines on shopper photos, three seeds (hours; goes on where it stopped)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check scikit-image==0.26.0
	$(BIN)/python tests/benchmarks/bench_quality.py --data $(DATA) --work .lookalike/bench/quality

.PHONY: bench-training
bench-training: $(VENV)/.dev  ## Time training: input, workers, checkpoints, 3,800 classes
	$(BIN)/python tests/benchmarks/bench_training.py

.PHONY: lint
lint: $(VENV)/.dev  ## Check style, types, imports and the compiled pipeline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/lookalike compile --check

.PHONY: format
format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: compile
compile: $(VENV)/.local  ## Compile the pipeline into pipelines/visual_search.yaml
	$(BIN)/lookalike compile

PIN := uv pip compile --quiet --generate-hashes --no-emit-index-url --no-annotate --no-header \
	--no-emit-package lookalike
# An image holds the very versions that the tests ran with.
PIN_IMAGE := $(PIN) --python-platform x86_64-manylinux_2_28 --python-version 3.11 \
	--constraints infra/locks/dev.txt

.PHONY: lock
lock:  ## Pin the dependencies anew, of the environment and of each image (needs uv)
	for extra in local dev; do \
		$(PIN) pyproject.toml --extra $$extra --universal --python-version 3.11 \
			--output-file infra/locks/$$extra.txt || exit 1; \
	done
	$(MAKE) --no-print-directory lock-images

.PHONY: lock-images
lock-images:  ## Pin only the dependencies of the images
	for image in tensorflow scann ops; do \
		$(PIN_IMAGE) pyproject.toml --extra $$image --output-file infra/locks/$$image.txt || exit 1; \
	done
	$(PIN_IMAGE) pyproject.toml --extra serving --extra tracing --output-file infra/locks/serving.txt
	$(PIN_IMAGE) pyproject.toml --extra tensorflow --extra cuda \
		--output-file infra/locks/tensorflow-cuda.txt
	$(PIN_IMAGE) --no-deps --group image-executor --output-file infra/locks/executor.txt
	$(PIN_IMAGE) --group image-build --output-file infra/locks/build.txt

.PHONY: clean
clean:  ## Remove the demo's workspace (the environment stays)
	rm -rf $(DEMO)
