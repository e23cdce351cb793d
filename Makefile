# The commands of a checkout. Each target installs what it needs.
.DEFAULT_GOAL := help
.PHONY: help run test lint bench model docs screenshots gpu requirements
SHELL := /bin/sh

# The first Python that really runs and can read requirements/bootstrap.py: a shim on PATH may do neither.
# .venv's own is asked first, since it starts fastest.
BOOTSTRAP = for python in .venv/bin/python python3 python /usr/bin/python3 python3.13 python3.12; do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then \
		exec "$$python" requirements/bootstrap.py $(1); fi; done; \
	echo "make: no python3 (3.9 or later) runs here: install one" >&2; exit 1

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 22

run: ## Run the cluster on this machine until Ctrl-C (variables: .env.example)
	@($(call BOOTSTRAP,base))
	@exec .venv/bin/python manage.py up

test: ## Run all tests; those for Docker if an engine is running (ARGS="tests/unit -x" for some)
	@($(call BOOTSTRAP,base test))
	@exec .venv/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: ## Check style, types, the direction of imports, JavaScript and CSS, the files for Docker
	@($(call BOOTSTRAP,base test))
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/python requirements/biome.py
	.venv/bin/hadolint docker/Dockerfile
	@# The schema's checker knows no tags of Compose's own.
	@for file in docker-compose*.yml; do sed 's/!reset //' $$file | \
		.venv/bin/check-jsonschema --builtin-schema vendor.compose-spec --default-filetype yaml - || exit 1; done

bench: ## Measure the speed next to plain Celery, as ratios (ARGS=--postgresql); writes tests/benchmarks/results
	@($(call BOOTSTRAP,base test))
	@exec .venv/bin/python -m tests.benchmarks.protocol $(ARGS)

model: ## Search for an order of events that breaks a guarantee (SECONDS=600; SEED=7 repeats a finding)
	@($(call BOOTSTRAP,base test))
	@exec .venv/bin/python -m tests.model.hunt --shrink --seconds $(or $(SECONDS),600) \
		$(if $(SEED),--seed $(SEED) --rounds 1)

docs: ## Generate the parts made from code and results in README.md and docs/
	@($(call BOOTSTRAP,base test))
	@exec .venv/bin/python -m docs.tools.generate

screenshots: ## Record the moving picture of the README from a running cluster (needs Chromium; six minutes)
	@($(call BOOTSTRAP,base test))
	@exec .venv/bin/python -m docs.tools.screenshots

gpu: ## Install what a GPU host needs in addition (CuPy), before `GPU_BACKEND=nvml make run`
	@($(call BOOTSTRAP,base gpu))

requirements: ## Pin the versions of requirements/*.in again
	@($(call BOOTSTRAP,base test))
	@cd requirements && for name in base test gpu uv; do \
		../.venv/bin/pip-compile -q --generate-hashes --strip-extras --no-emit-options \
			--no-header --allow-unsafe "$$name.in" -o "$$name.txt" || exit 1; done
