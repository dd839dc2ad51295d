//! The program: arguments in, one exit code out.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// The C library's allocator keeps twice as much of what was freed.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    redrill::cli::main(std::env::args_os()).into()
}
