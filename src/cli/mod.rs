//! Words typed become one call.

pub mod check;

use std::path::PathBuf;
use std::process::ExitCode;

/// `ringway check [--config FILE]`.
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match (words.next(), words.next(), words.next()) {
        (Some(check), None, None) if check == "check" => run_check(PathBuf::from("config/gateway.toml")),
        (Some(check), Some(option), Some(file)) if check == "check" && option == "--config" => {
            run_check(PathBuf::from(file))
        }
        _ => {
            eprintln!("usage: ringway check [--config FILE]");
            ExitCode::FAILURE
        }
    }
}

fn run_check(file: PathBuf) -> ExitCode {
    check::check(&file, &|_| Vec::new())
}
