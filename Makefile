# The few words that a newcomer needs. As root on Debian 12 or later, `make demo` and `make test`
# install the system packages that they need, by apt, and say so first; what cannot run here is
# said before that.

PYTHON ?= /usr/bin/python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

BUILD_PACKAGES := python3-venv 'clang-19+lld-19|clang+lld'
TEST_PACKAGES  := qemu-system-x86 qemu-system-arm 'qemu-system-riscv|qemu-system-misc' \
                  qemu-system-ppc opensbi qemu-user iproute2 binutils device-tree-compiler \
                  groff-base
# For roots of suites, see tools/roots.py.
PRISTINE_PACKAGES := debootstrap
# For the kernels that no distribution has, see tests/vm/kernel_build.py.
FULL_PACKAGES  := $(TEST_PACKAGES) qemu-system-misc 'clang-19+lld-19+llvm-19|clang+lld+llvm' \
                  flex bison bc libc6-dev libelf-dev xz-utils e2fsprogs $(PRISTINE_PACKAGES)
REQUIRED := PYKEXEC_REQUIRE_VM=1 PYKEXEC_REQUIRE_CLANG=1 PYKEXEC_REQUIRE_TOOLS=1

.PHONY: build demo test test-full bench lint purgatory clean pristine
.PHONY: dist deb deb-check
.PHONY: can-build can-run-guests test-packages

build: can-build $(VENV)/.installed purgatory-check ## .venv/bin/pykexec and .venv/bin/kexec

$(VENV)/.installed: pyproject.toml tools/install-packages
	tools/install-packages $(BUILD_PACKAGES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

.PHONY: purgatory-check
purgatory-check: $(VENV)/.installed
	$(BIN)/python purgatory/build.py --check
	$(BIN)/python launcher/build_launchers.py --check
	$(BIN)/python -m compileall -q pykexec

purgatory: $(VENV)/.installed ## rebuild pykexec/purgatory_objects and pykexec/launchers
	$(BIN)/python purgatory/build.py
	$(BIN)/python launcher/build_launchers.py

dist: $(VENV)/.installed ## wheel and sdist in dist/, the same bytes for the same files
	$(BIN)/python -m tools.distributions

# SUITE=bookworm, trixie or testing; without it, this machine's.
deb: $(VENV)/.installed ## Debian packages in build/deb/SUITE, built in a clean root, as root
	tools/install-packages $(PRISTINE_PACKAGES)
	$(BIN)/python -m tools.debian_packages $(SUITE)

deb-check: $(VENV)/.installed ## the packages of all suites: built, linted, installed, purged
	tools/install-packages $(PRISTINE_PACKAGES)
	PYKEXEC_DEB_SUITES="$(SUITES)" $(BIN)/python -m pytest -n0 tests/packaging

# For a whole system, next to kexec-tools or without it; DESTDIR is for those who build packages.
PREFIX ?= /usr/local
INSTALL := $(PYTHON) -B -m tools.install --prefix "$(PREFIX)" --destdir "$(DESTDIR)" --python $(PYTHON)

.PHONY: install uninstall
install: ## commands, manuals, completions, units; /usr/sbin/kexec becomes pykexec's
	$(INSTALL)

uninstall: ## take all of it away, and put back what /usr/sbin/kexec was
	$(INSTALL) --uninstall

can-build:
	@tools/check-host build $(PYTHON)

can-run-guests:
	@tools/check-host guests $(PYTHON)

test-packages: can-run-guests
	tools/install-packages $(BUILD_PACKAGES) $(TEST_PACKAGES)

demo: test-packages build ## boot a guest, kexec in it, print the transcript
	$(BIN)/python -m tests.vm.demo

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/generate_abi.py --check
	$(BIN)/python -m tools.generate_structures --check

test: test-packages build ## everything that a change must pass
	$(REQUIRED) $(PYTEST) -m "not full"

test-full: can-run-guests ## the slower guests too
	tools/install-packages $(BUILD_PACKAGES) $(FULL_PACKAGES)
	$(MAKE) build
	$(REQUIRED) $(PYTEST)

bench: test-packages build ## time and memory, side by side with the distribution's kexec
	$(BIN)/python -m tests.differential.bench

# An interrupted run goes on where it was; what a commit has passed is not run again.
SUITES := bookworm trixie testing
pristine: ## demo and test in roots of SUITES that have nothing else, as root
	tools/install-packages $(PRISTINE_PACKAGES)
	$(PYTHON) -m tools.pristine $(SUITES)

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
