# The few words that a newcomer needs. As root on Debian 12, `make demo` and `make test`
# install the system packages that they need, by apt, and say so first.

PYTHON ?= /usr/bin/python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

BUILD_PACKAGES := python3-venv 'clang-19|clang' 'lld-19|lld'
TEST_PACKAGES  := qemu-system-x86 qemu-system-arm qemu-user iproute2 binutils \
                  device-tree-compiler groff-base
# For the arm64 kernel that no distribution has, see tests/vm/kernel_build.py.
FULL_PACKAGES  := $(TEST_PACKAGES) llvm-19 flex bison bc libc6-dev xz-utils \
                  e2fsprogs
REQUIRED := PYKEXEC_REQUIRE_VM=1 PYKEXEC_REQUIRE_CLANG=1 PYKEXEC_REQUIRE_TOOLS=1

.PHONY: build demo test test-full bench lint purgatory clean test-packages

build: $(VENV)/.installed purgatory-check ## .venv/bin/pykexec and .venv/bin/kexec

$(VENV)/.installed: pyproject.toml tools/install-packages
	tools/install-packages $(BUILD_PACKAGES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

.PHONY: purgatory-check
purgatory-check: $(VENV)/.installed
	$(BIN)/python purgatory/build.py --check
	$(BIN)/python -m compileall -q pykexec

purgatory: $(VENV)/.installed ## rebuild the objects in pykexec/purgatory_objects
	$(BIN)/python purgatory/build.py

test-packages:
	tools/install-packages $(TEST_PACKAGES)

demo: build test-packages ## boot a guest, kexec in it, print the transcript
	$(BIN)/python -m tests.vm.demo

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/generate_abi.py --check

test: build test-packages ## everything that a change must pass
	$(REQUIRED) $(PYTEST) -m "not full"

test-full: build ## the slower guests too
	tools/install-packages $(FULL_PACKAGES)
	$(REQUIRED) $(PYTEST)

bench: build test-packages ## time and memory, side by side with the distribution's kexec
	$(BIN)/python -m tests.differential.bench

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
