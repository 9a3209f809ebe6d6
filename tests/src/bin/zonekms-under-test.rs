//! The product, built beside the tests that drive it.

fn main() -> std::process::ExitCode {
    zonekms::main_entry()
}
