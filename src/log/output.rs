//! A file, pipe or terminal that whole lines are written to, with a count of the lines that were lost.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use crate::plan::LogTarget;

/// How long a pipe opened by path (a FIFO) may stay full before the lines waiting for it are lost.
const FULL_PIPE_TRIES: u32 = 100;
const FULL_PIPE_PAUSE: Duration = Duration::from_millis(10);

/// Opens the target of the access log: a file is created if it does not exist, and appended to.
///
/// Never blocks: opening a FIFO without a reader would do so for ever but for `O_NONBLOCK`.
///
/// # Errors
/// The file cannot be opened; the error names it.
pub fn open(target: &LogTarget) -> io::Result<File> {
    match target {
        // A duplicate of the descriptor: Rust's own handle would add a lock and a buffer.
        LogTarget::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        LogTarget::File(path) => {
            let opened =
                OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path);
            opened.map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot open the access log {}: {error}", path.display()),
                )
            })
        }
    }
}

/// Lines that could not be written, and why.
#[derive(Debug)]
pub struct Loss {
    pub lines: u64,
    pub error: io::Error,
}

/// Where lines are written. An error loses the lines of that call; the next call tries again.
pub struct Output<W> {
    to: W,
    /// The last write ended within a line: the next one starts with a line feed, so that only that line is damaged.
    torn: bool,
}

impl<W: Write> Output<W> {
    pub fn new(to: W) -> Output<W> {
        Output { to, torn: false }
    }

    /// Writes `lines`, which end with a line feed.
    ///
    /// # Errors
    /// What was not wholly written.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), Loss> {
        if self.torn {
            self.write_all(b"\n").map_err(|loss| Loss { lines: count(lines), ..loss })?;
        }
        self.write_all(lines)
    }

    fn write_all(&mut self, mut rest: &[u8]) -> Result<(), Loss> {
        let mut tries = 0;
        while !rest.is_empty() {
            let error = match self.to.write(rest) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(written) => {
                    let (done, left) = rest.split_at(written.min(rest.len()));
                    self.torn = done.last() != Some(&b'\n');
                    rest = left;
                    tries = 0;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock && tries < FULL_PIPE_TRIES => {
                    tries += 1;
                    std::thread::sleep(FULL_PIPE_PAUSE);
                    continue;
                }
                Err(error) => error,
            };
            return Err(Loss { lines: count(rest), error });
        }
        Ok(())
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A writer with a planned result for each write; then it accepts everything.
    struct Scripted {
        steps: VecDeque<io::Result<usize>>,
        written: Vec<u8>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.steps.pop_front().unwrap_or(Ok(bytes.len()))?.min(bytes.len());
            self.written.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted(steps: impl IntoIterator<Item = io::Result<usize>>) -> Output<Scripted> {
        Output::new(Scripted { steps: steps.into_iter().collect(), written: Vec::new() })
    }

    fn full() -> io::Result<usize> {
        Err(ErrorKind::StorageFull.into())
    }

    #[test]
    fn short_and_interrupted_writes_lose_nothing() {
        let mut output =
            scripted([Ok(2), Err(ErrorKind::Interrupted.into()), Ok(1), Err(ErrorKind::WouldBlock.into())]);
        output.write(b"one\ntwo\n").unwrap();
        assert_eq!(output.to.written, b"one\ntwo\n");
    }

    #[test]
    fn an_error_costs_exactly_the_lines_not_wholly_written() {
        let mut output = scripted([Ok(6), full()]);
        let loss = output.write(b"one\ntwo\nthree\n").unwrap_err();
        assert_eq!(loss.lines, 2);
        assert_eq!(loss.error.kind(), ErrorKind::StorageFull);
    }

    #[test]
    fn a_line_broken_by_an_error_does_not_spoil_the_next() {
        let mut output = scripted([Ok(6), full(), full()]);
        output.write(b"one\ntwo\n").unwrap_err();
        assert_eq!(output.write(b"lost\nlost\n").unwrap_err().lines, 2);
        output.write(b"three\n").unwrap();
        output.write(b"four\n").unwrap();
        assert_eq!(output.to.written, b"one\ntw\nthree\nfour\n");
    }

    #[test]
    fn a_path_that_cannot_be_opened_is_named_in_the_error() {
        let directory = tempfile::tempdir().unwrap();
        let error = open(&LogTarget::File(directory.path().join("missing/access.log"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("missing/access.log"), "{error}");
    }

    #[test]
    fn a_fifo_that_nobody_reads_is_refused_instead_of_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        open(&LogTarget::File(path)).unwrap_err();
    }
}
