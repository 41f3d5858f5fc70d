# Every command that a newcomer needs; each first installs its dependencies into .venv and .tools.
PYTHON ?= python3
# Most tests mostly wait. 0 runs all of them in one process, whose output -s shows.
JOBS   ?= 3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
PLAY   := $(VENV)/.ready-play
BENCH  := $(VENV)/.ready-bench
DOCS   := $(VENV)/.ready-docs
# In the order of the directories: the short files of tests/unit come last and fill the gaps.
PYTEST  = $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
VCSIM  := .tools/vcsim
GOVC   := .tools/govc
# Supported releases of pyVmomi besides the one in .venv; the tests on recordings run with each.
OTHERS := $(addprefix .tools/pyvmomi/,9.0.0.0 9.1.0.0)

.DEFAULT_GOAL := help
.PHONY: help demo play test test-all check docs links bench soak faults format sample dist contract vcsim fake clean matrix

help:  ## print this
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | \
	  awk -F '\t' '{ printf "  make %-8s %s\n", $$1, $$2 }'

demo: $(READY)  ## 20 volumes from one image with Cinder's own driver, then with this one (about 75 seconds)
	@$(BIN)/python -m demo

play: $(PLAY)  ## that Cinder and Glance for you to use: openstack and vmdk-cache, until Ctrl-C
	@$(BIN)/python -m demo.play $(ARGS)

test: $(READY)  ## whether a change is right, in under 5 minutes on two cores; tests/README.md says what is left out
	$(PYTEST) -m "not slow and not vcsim_inventories" $(ARGS)

test-all: $(READY) $(PLAY) $(OTHERS) $(DOCS)  ## every test (30 minutes), JOBS=3 files at a time, and the time of each suite
	$(PYTEST) -m "not vcsim_inventories" $(ARGS)

check: $(READY) docs  ## ruff, mypy --strict, generated files up to date, the docs build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/oslo-config-generator --config-file etc/vmdk-cache-config-generator.conf \
	  --output-file .tools/vmdk-cache.conf.sample
	diff -u etc/vmdk-cache.conf.sample .tools/vmdk-cache.conf.sample
	$(BIN)/python -m benchmarks.document --check
	$(BIN)/python -m docs.pictures --check
	$(BIN)/python -m tests.clients.govc.document --check
	$(BIN)/reno -q lint

docs: $(DOCS)  ## build the documentation into .tools/docs; a warning is an error
	$(BIN)/sphinx-build -q -b html -n -W --keep-going -d .tools/doctrees docs .tools/docs
	@echo "Open .tools/docs/index.html"

links: $(DOCS)  ## check the documentation's links to other sites (needs the internet)
	$(BIN)/sphinx-build -q -b linkcheck -d .tools/doctrees docs .tools/links

bench: $(BENCH)  ## measure everything (about 15 minutes); ARGS="requests import" measures some
	$(BIN)/python -m benchmarks $(ARGS); missed=$$?; $(BIN)/python -m benchmarks.document && $(BIN)/python -m docs.pictures && exit $$missed

faults: $(READY)  ## every fault at every call (about 15 minutes on two cores); ARGS="hit: CloneVM_Task" tries some
	$(BIN)/python -W ignore -m tests.faults $(ARGS); missed=$$?; $(BIN)/python -m tests.faults.document && exit $$missed

soak: $(READY)  ## create and delete 10,000 volumes with faults: does anything grow?
	$(BIN)/python -W ignore -m tests.soak $(ARGS)

format: $(READY)  ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

sample: $(READY)  ## regenerate etc/vmdk-cache.conf.sample
	$(BIN)/oslo-config-generator --config-file etc/vmdk-cache-config-generator.conf

# The commits make the changelog; the program itself prints its man page and completion scripts.
dist: $(READY)  ## build the wheel and the source distribution into dist/
	rm -rf dist share .tools/samples
	$(BIN)/vmdk-cache -q samples .tools/samples >/dev/null
	install -D -m 644 .tools/samples/vmdk-cache.1 share/man/man1/vmdk-cache.1
	install -D -m 644 .tools/samples/vmdk-cache.bash share/bash-completion/completions/vmdk-cache
	install -D -m 644 .tools/samples/vmdk-cache.zsh share/zsh/site-functions/_vmdk-cache
	install -D -m 644 .tools/samples/vmdk-cache.fish share/fish/vendor_completions.d/vmdk-cache.fish
	mkdir -p share/doc/vmdk-cache
	$(BIN)/reno -q report --no-show-source --output share/doc/vmdk-cache/CHANGELOG.rst
	$(BIN)/python -m build $(ARGS)
	rm -rf *.egg-info

vcsim: $(READY) $(VCSIM)  ## the contract suite on VMware's own simulator, with three inventories (needs Go)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m vcsim $(ARGS)

contract: $(READY)  ## the contract suite on VCENTER=https://user@host CA=file; without, on fake and vcsim
	@$(BIN)/python -m tests.contract --jobs $(JOBS) $(ARGS)

matrix: $(READY)  ## with each supported Cinder, Python and threads; ARGS="cinder26" tries some
	$(BIN)/python -m tests.matrix $(ARGS)

fake: $(READY)  ## run the fake vCenter by hand until Ctrl-C; ARGS="--help" for its options
	@$(BIN)/python -m tests.fakes.vcenter $(ARGS)

clean:  ## remove what the other commands created
	rm -rf $(VENV) .tools build dist share .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info

$(READY): setup.cfg tests/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vmdk_cache needs Python 3.11 or later: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c tests/constraints.txt -e '.[cinder,test]'
	mkdir -p .tools
	touch $@

# Without these, the tests that need them are skipped.
.tools/pyvmomi/%: | $(READY)
	rm -rf $@.part
	-$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-compile \
	  --target $@.part pyvmomi==$* && mv $@.part $@

$(PLAY): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c tests/constraints.txt -e '.[play]'
	touch $@

$(BENCH): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c tests/constraints.txt -e '.[bench]'
	touch $@

$(DOCS): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check -c tests/constraints.txt -e '.[docs]'
	touch $@

$(VCSIM): tests/vcsim/main.go tests/vcsim/go.mod tests/vcsim/go.sum
	@command -v go >/dev/null || { echo "make vcsim needs Go: install golang, or run the other tests with make test-all"; exit 1; }
	mkdir -p .tools
	cd tests/vcsim && go build -o ../../$(VCSIM) .

# Without it the tests in tests/clients/govc are skipped.
$(GOVC): tests/govc/main.go tests/govc/go.mod tests/govc/go.sum
	@command -v go >/dev/null || { echo "govc needs Go: install golang, or run the other tests with make test-all"; exit 1; }
	mkdir -p .tools
	cd tests/govc && go build -o ../../$(GOVC) .
