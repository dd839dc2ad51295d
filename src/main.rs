//! The program: arguments in, one exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    redrill::cli::main(std::env::args_os()).into()
}

// Requests to S3 are many small allocations; the C library's own allocator takes half as long again for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
