# The steps of .ci/run, one recipe each. `just --list` prints them; `just ci` runs them all through .ci/run.

export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", justfile_directory() / "target")

# Lists the recipes.
default:
    @just --list

# All checks, exactly as .ci/run does them.
ci:
    .ci/run

# Checks the formatting.
fmt:
    cargo fmt --all --check

# Runs clippy on all targets, with warnings as errors.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Checks that ring is the only crypto provider in the dependency tree.
crypto:
    ! cargo tree --workspace --locked -e normal,build,dev -i aws-lc-rs 2>/dev/null | grep -q .

# Checks versions, licences and sources of the dependencies (needs cargo-deny).
deny:
    cargo deny --offline --log-level error check bans licenses sources

# Compares Cargo.lock with the advisories of a day, by default today's (needs the network). For a daily schedule.
advisories *day:
    .ci/advisories {{ day }}

# Runs all tests that need nothing but Rust. `just test -p couchdiscover-agent` runs those of one crate.
test *args='--workspace':
    INSTA_UPDATE=no cargo test --locked {{ args }}

# Runs so many random incidents on stand-ins while clients write and read, and prints the longest times.
soak incidents='500' seed='1':
    COUCHDISCOVER_SOAK={{ incidents }} COUCHDISCOVER_SOAK_SEED={{ seed }} cargo test --workspace --locked --test soak -- --nocapture

# Measures speed, memory and calls, and writes the table to target/bench.md. `just bench forming moves` measures a part.
bench *sections:
    cargo build --release --locked
    cargo bench --workspace --locked --bench table -- {{ sections }}

# Verifies the certificates with openssl.
openssl:
    cargo test --workspace --locked --test accepted -- --ignored

# Runs the tests against a real API server; builds one with Go unless KUBEBUILDER_ASSETS is set.
real-api:
    #!/usr/bin/env bash
    set -euo pipefail
    if [ -z "${KUBEBUILDER_ASSETS-}" ]; then
        tests/envtest/build target/envtest
        export KUBEBUILDER_ASSETS=$PWD/target/envtest
    fi
    cargo test --workspace --locked --test real_api -- --ignored

# Compares the Helm chart with kustomize; builds helm and kubectl with Go.
chart:
    tests/envtest/build target/cluster/bin kubectl helm
    KUBEBUILDER_ASSETS=$PWD/target/cluster/bin PATH=$PWD/target/cluster/bin:$PATH cargo test --workspace --locked \
        --test chart --test observability -- --include-ignored

# Plays incidents against the alerts (needs promtool, which is part of Prometheus).
alerts:
    promtool test rules manifests/observability/rules-test.yml

# Builds the release binaries.
release:
    cargo build --release --locked

# Builds the static binaries and the images, and checks them (needs musl and podman).
images:
    .ci/images

# Runs the tests on a real Kubernetes node (needs root, the binaries of `just images`, Go, podman and containerd).
cluster:
    .ci/cluster

# Runs the demo with the commands of the README.
demo:
    cargo run --release --bin demo
    cargo run --release --bin demo -- --nodes 1
    cargo run --release --bin demo -- --nodes 5 --wipe 0

# Rewrites the webhook's golden files. Review the difference with `git diff`.
bless:
    BLESS=1 cargo test --locked -p couchdiscover-inject --test golden as_recorded

# Rewrites the inline snapshots of a crate (needs cargo-insta). Review the difference with `git diff`.
snapshots package *args:
    cargo insta test --accept -p {{ package }} {{ args }}
