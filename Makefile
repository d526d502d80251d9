# The few words that a newcomer needs. As root on Debian 12, `make demo` and `make test`
# install the system packages that they need, by apt, and say so first.

PYTHON ?= /usr/bin/python3
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest

BUILD_PACKAGES := python3-venv clang-19 lld-19
VM_PACKAGES    := qemu-system-x86 ovmf busybox-static iproute2

.PHONY: build demo test test-full bench lint purgatory clean vm-packages

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

vm-packages:
	tools/install-packages $(VM_PACKAGES)

demo: build vm-packages ## boot a guest, kexec in it, print the transcript
	$(BIN)/python -m tests.vm.demo

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python tools/generate_abi.py --check

test: build vm-packages ## everything that a change must pass
	PYKEXEC_REQUIRE_VM=1 $(PYTEST) -m "not full"

test-full: build vm-packages ## the slower guests too
	PYKEXEC_REQUIRE_VM=1 $(PYTEST)

bench: build vm-packages ## time and memory, side by side with the distribution's kexec
	$(BIN)/python -m tests.differential.bench

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
