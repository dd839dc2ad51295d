//! The program: arguments in, one exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    redrill::cli::main(std::env::args_os()).into()
}
