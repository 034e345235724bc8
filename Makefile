# `make` alone lists the targets. Everything is installed into .venv and .venv-tpu, never into the Python that creates
# them.

PYTHON ?= python3
PYTHON312 ?= python3.12
WORKERS ?= 2
DEMO_ARGS ?=
DEMO_RUN := saved_models/vit_digits
TUNED_RUN := saved_models/finetune_digits
# At 2, TensorFlow 2.21 reports as an error that a machine without a GPU has none.
TF_CPP_MIN_LOG_LEVEL ?= 3
export TF_CPP_MIN_LOG_LEVEL

VENV := .venv
PY := $(VENV)/bin/python
# One stamp per finished step, kept inside .venv so that it goes when .venv goes.
CREATED := $(VENV)/.created
DEMO_INSTALLED := $(VENV)/.installed-demo
TEST_INSTALLED := $(VENV)/.installed-test
REQUIREMENTS := setup.cfg constraints/cpu.txt
PIP_INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints/cpu.txt
# The last TensorFlow with working TPU support, in an environment of its own. tensorflow-tpu runs on TPU machines only, so
# plain TensorFlow of the same version stands in for it: the cpu extra under the TPU lane's constraints.
TPU_VENV := .venv-tpu
TPU_PY := $(TPU_VENV)/bin/python
TPU_INSTALLED := $(TPU_VENV)/.installed-test

.PHONY: help venv demo demo-plan test test-slow test-tpu-lane check lint types format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo           install into .venv, then train, fine-tune, export and ask a small model of handwritten digits"
	@echo "make test           the tests, but for the slow ones (WORKERS=$(WORKERS) processes)"
	@echo "make test-slow      the tests that take minutes each"
	@echo "make test-tpu-lane  the engine's tests under the last TensorFlow with working TPU support (needs Python 3.12)"
	@echo "make check          lint, types and the import rules; changes nothing"
	@echo "make lint           ruff: rules and formatting"
	@echo "make types          mypy"
	@echo "make format         let ruff mend what it can"
	@echo "make venv           create .venv and install what demo and test need"
	@echo "make clean          remove .venv, .venv-tpu, caches and build leftovers; saved_models stays"
	@echo "PYTHON=$(PYTHON) creates .venv; any of Python 3.11, 3.12 and 3.13 will do, e.g. make test PYTHON=python3.12"
	@echo "PYTHON312=$(PYTHON312) creates .venv-tpu"

venv: $(TEST_INSTALLED)

demo: demo-plan $(DEMO_INSTALLED)
	@echo; echo "1 of 5: pre-training"
	@$(PY) -m trainers.pretrain --flagfile=configs/vit_digits.cfg $(DEMO_ARGS) --run_dir=$(DEMO_RUN) --overwrite
	@echo; echo "2 of 5: beside classical methods"
	@$(PY) -m trainers.evaluate --model=$(DEMO_RUN) --source=digits --evaluations=baselines,accuracy
	@echo; echo "3 of 5: fine-tuning at a higher resolution"
	@$(PY) -m trainers.finetune --flagfile=configs/finetune_digits.cfg --weights=$(DEMO_RUN) --run_dir=$(TUNED_RUN) --overwrite
	@echo; echo "4 of 5: export, each file held against the model"
	@$(PY) -m trainers.export --model=$(DEMO_RUN) --source=digits --check_images=360 --formats=saved_model,tflite
	@echo; echo "5 of 5: what the .tflite says of picture files"
	@$(PY) -m trainers.predict --model=$(DEMO_RUN)/export/1/model.tflite --top=3 docs/images/digits
	@echo; echo "Models, curves and cards lie in $(DEMO_RUN)/ and $(TUNED_RUN)/, what a server or a phone takes in"
	@echo "$(DEMO_RUN)/export/1/. Curves: $(VENV)/bin/tensorboard --logdir=saved_models. Your own pictures: docs/finetuning.md."

demo-plan:
	@echo "Demo: a small Vision Transformer on scikit-learn's 8x8 handwritten digits, on the CPU: pre-training, classical"
	@echo "methods beside it, fine-tuning, export, predictions. Under 8 minutes on two cores; the first time, installing into"
	@echo ".venv comes before it."

# Compiling takes longer than computing in the fast tests. This is about machine code: what XLA does to a graph stays. The
# slow tests have networks so deep that unoptimised sums would differ.
test: export XLA_FLAGS ?= --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true
test: $(TEST_INSTALLED)
	@$(PY) -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow"

test-slow: $(TEST_INSTALLED)
	@$(PY) -m pytest -q -m slow

test-tpu-lane: $(TPU_INSTALLED)
	@$(TPU_PY) -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow" tests/trainers/engine

check: lint types
	@$(PY) -m pytest -q tests/test_imports.py

lint: $(TEST_INSTALLED)
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(TEST_INSTALLED)
	@$(PY) -m mypy keras_vit trainers

format: $(TEST_INSTALLED)
	@$(PY) -m ruff check --fix-only .
	@$(PY) -m ruff format .

clean:
	rm -rf $(VENV) $(TPU_VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(CREATED):
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "error: there is no '$(PYTHON)' here; install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "error: '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1), but TensorFlow needs Python 3.11, 3.12 or 3.13 here; name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: '$(PYTHON)' cannot create virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@"$(PYTHON)" -m venv --clear $(VENV)
	@touch $@

$(DEMO_INSTALLED): $(REQUIREMENTS) | $(CREATED)
	@echo "Installing TensorFlow and what the demo needs into $(VENV); a few minutes ..."
	@rm -f $@
	@$(PIP_INSTALL) -e '.[cpu,plot,export]'
	@touch $@

# This lane holds the demo's, which therefore has nothing left to install.
$(TEST_INSTALLED): $(REQUIREMENTS) | $(CREATED)
	@echo "Installing TensorFlow and what the tests need into $(VENV); a few minutes ..."
	@rm -f $@
	@$(PIP_INSTALL) -e '.[cpu,plot,test,dev]'
	@touch $(DEMO_INSTALLED) $@

$(TPU_INSTALLED): setup.cfg constraints/tpu.txt
	@"$(PYTHON312)" --version >/dev/null 2>&1 || { \
	  echo "error: there is no working '$(PYTHON312)' here; install Python 3.12, or name it: make test-tpu-lane PYTHON312=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON312)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || { \
	  echo "error: '$(PYTHON312)' is $$("$(PYTHON312)" --version 2>&1), but constraints/tpu.txt is made for Python 3.12; name one: make test-tpu-lane PYTHON312=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON312)" -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: '$(PYTHON312)' cannot create virtual environments; on Debian and Ubuntu: apt install python3.12-venv" >&2; exit 1; }
	@echo "Installing TensorFlow 2.19 and what the tests need into $(TPU_VENV); a few minutes ..."
	@"$(PYTHON312)" -m venv --clear $(TPU_VENV)
	@$(TPU_PY) -m pip install --quiet --disable-pip-version-check -c constraints/tpu.txt -e '.[cpu,test]'
	@touch $@
