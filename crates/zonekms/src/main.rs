//! The `zonekms` program; everything is in the library, so that tests can run exactly this.

fn main() -> std::process::ExitCode {
    zonekms::main_entry()
}
