//! The `ringway` binary: words typed become one call into the library.

fn main() -> std::process::ExitCode {
    ringway::cli::main()
}
