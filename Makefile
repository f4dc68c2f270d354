# make help lists what there is.
GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.release=$(VERSION)
FUZZTIME ?= 10s
SOAK     ?= 30m

# golangci-lint is built from source, so that it is made by the same Go as what it reads. A new version: change it here.
LINT_VERSION := v2.15.0
LINT         := bin/golangci-lint-$(LINT_VERSION)

.DEFAULT_GOAL := help
.PHONY: help run build test check race faults soak bench fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, and run a fleet with demo partners on this machine
	bin/hookfleet serve --demo

build: ## build bin/hookfleet, static
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/hookfleet ./cmd/hookfleet

test: ## run the tests
	$(GO) test ./...

check: $(LINT) ## look at the code without running it: format, vet, modules, lint
	@files=$$(gofmt -l .); test -z "$$files" || { echo "gofmt is needed for: $$files"; exit 1; }
	$(GO) vet ./...
	$(GO) mod verify
	$(GO) mod tidy -diff
	$(LINT) run

$(LINT):
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv bin/golangci-lint $@

race: ## run the tests with the race detector, in random order
	$(GO) test -race -shuffle=on ./...

faults: ## kill, stop and starve the fleet, and count what is lost
	HOOKFLEET_FAULTS=full $(GO) test -count=1 -timeout 60m -v ./test/faults/...

soak: ## run the five partner systems together, with partners that fail, for SOAK
	HOOKFLEET_SOAK=$(SOAK) $(GO) test -count=1 -timeout 0 -v ./test/partners/soak

bench: build ## measure a fleet on this machine beside its raw limits
	bin/hookfleet bench

fuzz: ## run every fuzz target for some seconds (FUZZTIME)
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		echo "$$f in $$p"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p || exit 1; done; done

clean: ## remove what was built, and nothing else
	rm -rf bin
