//! The command line: parsed here, turned into one call each; and the one place where a failure is printed.

pub mod check;
pub mod keys;
mod known_keys;
pub mod test;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::control::{self, CommandFailure, ConfigSource, RunOptions, StartFailure};
use crate::demo;
use check::CheckFormat;

/// A sharded, thread-per-core API gateway.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<CliCommand>,
    /// `ringway` without a command is `ringway run`.
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    /// Serves until SIGTERM or SIGINT; SIGHUP reloads, SIGUSR1 reopens the access log
    Run(RunArgs),
    /// Loads everything a run would load, binds nothing, and shows all problems
    Check(CheckArgs),
    /// Runs the tests of scripts offline, against the routes of a configuration
    Test(TestArgs),
    /// Adds, revokes and lists API keys in the store, for all gateways that run with it
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Starts three sample origins and a gateway in front of them, and prints what to try
    Demo,
}

#[derive(Args, Debug)]
struct RunArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Event loops, each on a core of its own; stronger than `[server] shards`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    shards: Option<u16>,
}

#[derive(Args, Debug)]
struct ConfigArgs {
    /// The configuration
    #[arg(long, value_name = "FILE", default_value = "config/gateway.toml")]
    config: PathBuf,
}

#[derive(Args, Debug)]
struct CheckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[arg(long, value_enum, default_value = "text")]
    format: CheckFormat,
}

#[derive(Args, Debug)]
struct TestArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Files of tests, or directories of them [default: `tests` in the directory of the scripts]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Makes a new random key for a consumer, and prints it this once; the store gets its SHA-256
    Add {
        /// The name of a `[[consumer]]`
        consumer: String,
        /// A key of your own instead, `-` for one from standard input, or `sha256:` and the 64 hex digits of its hash
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Makes a key invalid, also one that stands in the configuration
    Revoke {
        /// `-` to read the key from standard input, `sha256:` and at least 8 hex digits of its hash, or the key itself,
        /// which everyone on this machine then sees in the list of processes
        #[arg(required_unless_present = "consumer", conflicts_with = "consumer")]
        key: Option<String>,
        /// All keys of this consumer
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Shows the keys in the store by their hashes, those changed last at the end
    List(ConfigArgs),
}

/// The whole program. Exit code 0: success; 1: the configuration or the input is wrong; 2: the machine refused.
pub fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => execute(cli),
        // clap reports --help and --version as errors, too.
        Err(error) if !error.use_stderr() => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        Err(error) => fail(&usage_failure(&error)),
    }
}

fn execute(cli: Cli) -> ExitCode {
    let outcome = match cli.command.unwrap_or(CliCommand::Run(cli.run)) {
        CliCommand::Check(CheckArgs { config: ConfigArgs { config }, format }) => {
            return check::check(&config, format);
        }
        CliCommand::Run(RunArgs { config: ConfigArgs { config }, shards }) => {
            control::run(RunOptions { source: ConfigSource::File(config), shards: shards.map(usize::from) })
        }
        CliCommand::Test(TestArgs { config: ConfigArgs { config }, paths }) => {
            match test::test(&config, &paths) {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::FAILURE,
                Err(failure) => Err(failure),
            }
        }
        CliCommand::Keys(KeysCommand::Add { consumer, key, config }) => {
            keys::add(&config.config, &consumer, key.as_deref())
        }
        CliCommand::Keys(KeysCommand::Revoke { key, consumer, config }) => match consumer {
            Some(consumer) => keys::revoke_all(&config.config, &consumer),
            None => keys::revoke(&config.config, &key.unwrap_or_default()),
        },
        CliCommand::Keys(KeysCommand::List(ConfigArgs { config })) => keys::list(&config),
        CliCommand::Demo => demo::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(CommandFailure::Config(problems)) => {
            check::report(&problems);
            ExitCode::FAILURE
        }
        Err(CommandFailure::Refused(failure)) => fail(&failure),
    }
}

/// clap's error in two lines: its first line is the cause; its tip, if it has one, is the hint.
fn usage_failure(error: &clap::Error) -> StartFailure {
    let text = error.render().to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let cause = lines.next().unwrap_or("the command line is wrong").trim_start_matches("error: ");
    // clap puts the missing arguments on a line of their own.
    let rest = if cause.ends_with(':') { lines.next().unwrap_or_default() } else { "" };
    let cause = format!("{cause} {rest}");
    let tip = lines.find_map(|line| line.strip_prefix("tip: "));
    StartFailure::input(cause.trim_end(), tip.unwrap_or("`ringway --help` shows what can be typed"))
}

/// Prints one line of cause and one of what to do.
fn fail(StartFailure { kind, cause, hint }: &StartFailure) -> ExitCode {
    let _ = io::stderr().write_all(format!("ringway: {cause}\nhint: {hint}\n").as_bytes());
    ExitCode::from(*kind as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::FailureKind;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from([&["ringway"], args].concat())
    }

    fn run_args(words: &[&str]) -> RunArgs {
        let cli = parse(words).expect("good arguments");
        match cli.command.unwrap_or(CliCommand::Run(cli.run)) {
            CliCommand::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_a_command_it_runs_and_takes_the_options_of_run() {
        assert_eq!(run_args(&[]).config.config, PathBuf::from("config/gateway.toml"));
        for words in
            [&["--config", "a.toml", "--shards", "3"][..], &["run", "--config", "a.toml", "--shards=3"]]
        {
            let args = run_args(words);
            assert_eq!((args.config.config, args.shards), (PathBuf::from("a.toml"), Some(3)), "{words:?}");
        }
    }

    #[test]
    fn wrong_arguments_are_the_users_fault_and_reported_in_two_lines() {
        for (words, cause) in [
            (&["--shards", "0"][..], "invalid value '0' for '--shards <N>'"),
            (&["--shards", "many"], "invalid value 'many'"),
            (&["--confg", "x"], "unexpected argument '--confg' found"),
            (&["chek"], "unrecognized subcommand 'chek'"),
            (&["keys", "add"], "the following required arguments were not provided: <CONSUMER>"),
            (&["keys", "drop"], "unrecognized subcommand 'drop'"),
            (&["demo", "--config", "x"], "unexpected argument '--config' found"),
        ] {
            let failure = usage_failure(&parse(words).expect_err("wrong"));
            assert_eq!(failure.kind, FailureKind::Input);
            assert!(failure.cause.starts_with(cause), "{words:?}: {}", failure.cause);
            assert!(!failure.hint.contains('\n') && !failure.cause.contains('\n'), "{words:?}");
        }
    }

    #[test]
    fn a_word_with_a_typing_error_is_answered_with_the_right_one() {
        assert!(usage_failure(&parse(&["--confg", "x"]).expect_err("wrong")).hint.contains("--config"));
        assert!(usage_failure(&parse(&["chek"]).expect_err("wrong")).hint.contains("check"));
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
