//! Every check of every suite as a test: `cargo test`.

use std::io::Write as _;

use libtest_mimic::Arguments;

fn main() -> std::process::ExitCode {
    match redrill::harness::run(&Arguments::from_args()) {
        Ok(conclusion) => conclusion.exit_code(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            std::process::ExitCode::from(101)
        }
    }
}
