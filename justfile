# One command per need. `just` lists them.

_:
    @just --list --unsorted

# a lab: a server per zone, with keys and an API key
run *ARGS:
    cargo run --release -- dev {{ARGS}}

# all tests, as in .ci/run
test *ARGS:
    cargo test --workspace --locked {{ARGS}}

# the tests of one crate
test-one CRATE *ARGS:
    cargo test -p {{CRATE}} --locked {{ARGS}}

# the long tests that are ignored otherwise: crashes, power cuts, damage, the million-fold XAES vector
test-long *ARGS:
    cargo test --workspace --locked --release -- --ignored {{ARGS}}

# the program killed at every step of its work; `just test-crashes --ignored --nocapture` for five hundred kills
test-crashes *ARGS:
    cargo test -p zonekms-tests --features crashpoints --locked crash_ -- {{ARGS}}

# write the golden files anew; read the difference before you commit it
golden:
    ZONEKMS_GOLDEN=write cargo test --workspace --locked
    git diff --stat

# format and lint
lint:
    cargo fmt --all
    cargo clippy --workspace --all-targets --locked -- -D warnings

# the benches of cryptography; `just bench seal` runs those whose name has "seal"
bench *FILTER:
    cargo bench -p zonekms-benches --bench crypto --locked -- {{FILTER}}

# the benches of the state machine, the store and the start
bench-parts *FILTER:
    cargo bench -p zonekms-benches --bench lifecycle --bench storage --bench startup --locked -- {{FILTER}}

# how fast keys reach other zones, over real links and stores; `just bench-zones 1000` for that many keys
bench-zones *KEYS:
    cargo bench -p zonekms-benches --bench replication --locked -- {{KEYS}}

# the goals for speed, measured in under three minutes (the first time, 100,000 keys are made before that)
bench-quick:
    cargo build --release --locked -p zonekms
    cargo build --release --locked -p zonekms-benches --bins
    cargo bench -p zonekms-benches --bench quick --locked

# the API documentation of our crates
docs:
    RUSTDOCFLAGS=-Dwarnings cargo doc --workspace --no-deps --locked --open

# licences, sources, advisories (needs cargo-deny)
deny:
    cargo deny check

# everything a change must pass
ci:
    .ci/run
