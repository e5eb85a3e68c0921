# The targets for users and the CI; `make help` lists them. Everything else is plain cargo.
#
# All of it builds with --release: one profile, so that the C++ under tch (3 minutes on 2 cores) compiles once and
# serves the demo, the tests, clippy and the benchmarks alike. No environment variable is needed: .cargo/config.toml
# points at what `make libtorch` fetches, and LIBTORCH overrides it.

CARGO ?= cargo
PYTHON ?= python3
CARGO_FLAGS ?= --release
SEQLOOM = $(CARGO) run $(CARGO_FLAGS) --quiet --

# Cargo locks its folder anyway: in parallel the steps would only wait and mix their lines.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help libtorch build demo speech-data demo-speech recipe named recipes test format lint unit sanitize dist torture experiment-kills launchers gate bench clean distclean tools

help: ## list what there is to make
	@awk -F ':[^#]*## ' 'NF == 2 { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

libtorch: ## fetch libtorch 2.11.0 into .libtorch (544 MB, once; with a GPU: scripts/get_libtorch.py --cuda)
	@$(PYTHON) scripts/get_libtorch.py

build: tools libtorch ## build target/release/seqloom
	$(CARGO) build $(CARGO_FLAGS)

# A stopped run is resumed, and a complete one is not changed: the demo may be called repeatedly.
demo: build ## train a small model that rewrites dates, and show what it does with dates it has never seen
	@echo
	@echo "Training: dates in 59 ways of writing them -> ISO 8601, 30,000 pairs (configs/dates.toml -> runs/dates)"
	$(SEQLOOM) train configs/dates.toml --resume
	@echo
	@echo "Testing: 1,000 dates, none of them among those trained on (data/dates/test.csv -> runs/dates/test.csv)"
	$(SEQLOOM) decode runs/dates --input data/dates/test.csv --format csv --output runs/dates/test.csv --examples 10
	@echo
	@echo "Try your own:  echo 'the 5th of March 2024' | $(SEQLOOM) decode runs/dates"

SPEECH = runs/mandarin_speech

speech-data: ## make a set of spoken Mandarin with espeak-ng (6,900 recordings, 0.4 GB)
	@command -v espeak-ng >/dev/null || { echo "error: there is no espeak-ng here" >&2; \
		echo "hint: install it (Debian, Ubuntu: apt install espeak-ng; Fedora: dnf install espeak-ng)" >&2; exit 1; }
	$(PYTHON) data/make_mandarin_speech.py

demo-speech: build speech-data ## train a small model that writes spoken Mandarin as characters, and show 機器學習 step by step
	@echo
	@echo "Training: recordings -> characters, 6,000 pairs (configs/mandarin_speech.toml -> $(SPEECH))"
	$(SEQLOOM) train configs/mandarin_speech.toml --resume
	@echo
	@echo "Testing: 600 recordings, each with a word that does not occur in training (-> $(SPEECH)/test.csv)"
	$(SEQLOOM) decode $(SPEECH) --input data/mandarin_speech/test.csv --output $(SPEECH)/test.csv --examples 10
	@echo
	@echo "Step by step: each character with its probability, and two others"
	$(SEQLOOM) decode $(SPEECH) --input data/mandarin_speech/examples/examples.csv --output $(SPEECH)/examples.csv \
		--trace $(SPEECH)/steps.jsonl
	@$(PYTHON) scripts/show_steps.py $(SPEECH)/steps.jsonl --source ji1qi4xue2xi2

# RECIPE takes the script's options: make recipe NAME=g2p2020 RECIPE='--jobs 2 --ensemble'
recipe: named build ## train a config on a public set with several seeds, beside published scores: make recipe NAME=scan
	@$(PYTHON) scripts/recipe.py $(NAME) $(RECIPE)

# Before minutes of building.
named:
	@test -n "$(NAME)" || { echo "error: there must be a recipe, as in: make recipe NAME=scan" >&2; \
		echo "hint: make recipes lists them" >&2; exit 1; }

recipes: ## list the recipes
	@$(PYTHON) scripts/recipe.py

# Tests before lints: torch-sys takes one core for minutes, and the crates that only a build compiles keep the other one busy.
test: format unit lint sanitize dist torture gate ## all that must hold: format, tests, lints, sanitizers, an empty root, a few kills, and the quality of a small model
# Each kind of kill once, on a shorter run: half a minute.
test: TORTURE = --kills 14 --set training.steps=98
test: DIST = --try

format: tools
	$(CARGO) fmt --check

lint: format libtorch ## rustfmt, clippy and the documentation's links, whose warnings count as errors
	$(CARGO) clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc $(CARGO_FLAGS) --no-deps --document-private-items --quiet

unit: tools libtorch ## unit, integration and documentation tests, and those of the scripts
	$(CARGO) test $(CARGO_FLAGS)
	@$(PYTHON) -m unittest discover -q -s tests/data

sanitize: tools libtorch ## the C++ kernels under AddressSanitizer and UndefinedBehaviorSanitizer, on all vectors of this machine
	@$(PYTHON) scripts/sanitize.py

# DIST takes the script's options: make dist DIST=--archive
dist: build ## target/dist: a folder that runs wherever there is glibc, tried in an empty root
	@$(PYTHON) scripts/make_dist.py $(DIST)

# TORTURE takes the script's options: make torture TORTURE='--kills 1000 --seed 7'
torture: build ## kill a training run 200 times, resume it each time, and prove that nothing is lost by it
	@$(PYTHON) scripts/torture.py $(TORTURE)

# EXPERIMENT_KILLS takes the script's options: make experiment-kills EXPERIMENT_KILLS='--kills 12 --seed 3'
experiment-kills: build ## kill an experiment 4 times, start it again each time, and compare it with one left alone
	@$(PYTHON) scripts/try_experiment.py $(EXPERIMENT_KILLS)

# LAUNCHERS takes the script's options: make launchers LAUNCHERS='--launcher torchrun --kills 50'
launchers: build ## train as several ranks under torchrun, mpirun and Slurm, which it fetches by their packages or skips
	@$(PYTHON) scripts/try_launchers.py $(LAUNCHERS)

# Trained from scratch each time: measuring an old model would prove nothing.
gate: build ## train the demo's model afresh and check that it gets 99 % of the test split right
	rm -rf runs/gate
	$(SEQLOOM) train configs/dates.toml --out runs/gate
	$(SEQLOOM) decode runs/gate --input data/dates/test.csv --format csv --output runs/gate/test.csv \
		--summary runs/gate/summary.json
	@$(PYTHON) scripts/quality_gate.py runs/gate/summary.json --at-least 0.99

# BENCH takes a benchmark and its options: make bench BENCH='decoding -- --model runs/NAME/checkpoints/STEP/model.safetensors'
bench: build ## speed, against references
	$(CARGO) bench --bench $(or $(BENCH),training)

clean: ## remove what was built; runs/ and .libtorch/ stay
	$(CARGO) clean

distclean: clean ## remove .libtorch/ as well; runs/ stays
	rm -rf .libtorch .libtorch.partial

# Checked here, because the messages of cargo and of build scripts would be hard to understand.
tools:
	@command -v $(firstword $(CARGO)) >/dev/null || { echo "error: there is no cargo here" >&2; \
		echo "hint: install Rust with rustup, Rust's own installer" >&2; exit 1; }
	@command -v $(firstword $(PYTHON)) >/dev/null || { echo "error: there is no $(PYTHON) here" >&2; \
		echo "hint: install Python 3.8 or newer with pip (Debian, Ubuntu: apt install python3-pip)" >&2; exit 1; }
	@set -- $${CXX:-c++}; command -v "$$1" >/dev/null || { \
		echo "error: there is no C++ compiler here" >&2; \
		echo "hint: install g++ (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++)" >&2; exit 1; }
