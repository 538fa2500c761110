# Checks that run nothing of ours, and the one formatter.

.PHONY: lint format
##@ Develop
lint: ## check the source: layout, layers, analyzers, man pages
	@tests/tools/install-deps.sh lint
	@tests/tools/lint

format: ## lay the source out
	@clang-format -i $(shell git ls-files '*.c' '*.h')
