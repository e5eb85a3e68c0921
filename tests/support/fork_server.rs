//! Runs of the binary without the half second of its start and end: libtorch registers its operators in each process that loads it,
//! and the tests start thousands.
//!
//! A server has loaded it once, and forks for each run; the copy runs the command line as the binary's `main` does. It is this
//! test binary once more, with a test that serves. What starts the binary itself, or kills it, has a process of its own.

#![expect(unsafe_code, reason = "fork, waitpid, dup2, _exit and changing the environment have no safe form")]

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, PipeReader, Read, Write, pipe};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;

use serde::{Deserialize, Serialize};

use super::run::{Finished, GPUS};

/// The test that serves.
const SERVE: &str = "support::fork_server::serve";

/// The stack of a main thread: the server forks in the thread of its test.
const STACK: &str = "8388608";

/// A run of the binary.
#[derive(Serialize, Deserialize)]
struct Request {
    /// The process of the test.
    process: u32,
    /// Its ends of the pipes that become standard input, output and error, and of the one for the answer.
    pipes: [RawFd; 4],
    folder: PathBuf,
    arguments: Vec<String>,
    /// What the environment has beside that of the tests.
    environment: Vec<(String, String)>,
}

/// Whether the run starts no other process of the binary.
pub fn can_run(arguments: &[&str]) -> bool {
    let starts_others = arguments.first().is_some_and(|command| ["experiment", "doctor"].contains(command));
    !starts_others && !arguments.contains(&"--ranks")
}

/// Runs the command line in a folder, with more in its environment.
pub fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)], input: &[u8]) -> Finished {
    let [(stdin, mut to), (from_stdout, stdout), (from_stderr, stderr), (answer, answered)] =
        std::array::from_fn(|_| pipe().unwrap());
    let pipes = [stdin.as_raw_fd(), stdout.as_raw_fd(), stderr.as_raw_fd(), answered.as_raw_fd()];
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    ask(&Request { process: std::process::id(), pipes, folder: folder.to_owned(), arguments, environment });
    let mut answer = BufReader::new(answer).lines();
    assert_eq!(answer.next().unwrap().unwrap(), "started");
    drop((stdin, stdout, stderr, answered));
    let input = input.to_vec();
    // It may end before it has read all its input; a closed pipe is no error here.
    let feeding = thread::spawn(move || drop(to.write_all(&input)));
    let errors = thread::spawn(move || text(from_stderr));
    let (stdout, stderr) = (text(from_stdout), errors.join().unwrap());
    feeding.join().unwrap();
    Finished { code: answer.next().unwrap().unwrap().parse().ok(), stdout, stderr }
}

fn text(mut from: PipeReader) -> String {
    let mut text = String::new();
    from.read_to_string(&mut text).unwrap();
    text
}

/// Sends a request to the server, which ends with this process, as its standard input does.
fn ask(request: &Request) {
    static SERVER: OnceLock<Mutex<ChildStdin>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", SERVE, "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(GPUS, "").env("RUST_MIN_STACK", STACK).stdin(Stdio::piped()).stdout(Stdio::null());
        Mutex::new(command.spawn().unwrap().stdin.take().unwrap())
    });
    let line = serde_json::to_string(request).unwrap() + "\n";
    server.lock().unwrap().write_all(line.as_bytes()).unwrap();
}

#[test]
#[ignore = "the server, which other tests start"]
fn serve() {
    // Not by `std::io::stdin`, which a copy reads itself: it would be locked there, and have read requests ahead.
    for line in BufReader::new(File::open("/dev/stdin").unwrap()).lines() {
        let request: Request = serde_json::from_str(&line.unwrap()).unwrap();
        if fork() == 0 {
            handle(&request);
        }
        // Those that have ended meanwhile.
        while wait(-1, libc::WNOHANG).0 > 0 {}
    }
}

/// In a copy of the server: runs the command line in one more copy, and answers with its exit code.
fn handle(Request { process, pipes, folder, arguments, environment }: &Request) -> ! {
    let [stdin, stdout, stderr, answer] = [0, 1, 2, 3].map(|n| {
        let end = format!("/proc/{process}/fd/{}", pipes[n]);
        OpenOptions::new().read(n == 0).write(n > 0).open(end).unwrap()
    });
    let copy = fork();
    if copy == 0 {
        drop(answer);
        [stdin, stdout, stderr].into_iter().zip(0..).for_each(|(pipe, stream)| put_at(pipe, stream));
        std::env::set_current_dir(folder).unwrap();
        // SAFETY: a copy has no other thread.
        environment.iter().for_each(|(name, value)| unsafe { std::env::set_var(name, value) });
        let name = std::iter::once("seqloom".into());
        leave(seqloom::cli::run_with(name.chain(arguments.iter().map(Into::into))));
    }
    drop((stdin, stdout, stderr));
    writeln!(&answer, "started").unwrap();
    let status = wait(copy, 0).1;
    // Nothing parses as no code: a signal ended it.
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status).to_string());
    writeln!(&answer, "{}", code.unwrap_or_default()).unwrap();
    leave(0);
}

/// Ends a copy as the binary ends: without the destructors of libtorch's globals.
fn leave(code: u8) -> ! {
    std::io::stdout().flush().unwrap();
    // SAFETY: the system ends the process.
    unsafe { libc::_exit(i32::from(code)) }
}

/// 0 in the copy.
fn fork() -> libc::pid_t {
    // SAFETY: the server has no other thread that holds a lock: the harness waits for its test.
    let copy = unsafe { libc::fork() };
    assert!(copy >= 0, "{}", std::io::Error::last_os_error());
    copy
}

/// A process that has ended, or 0, and its status.
fn wait(process: libc::pid_t, options: libc::c_int) -> (libc::pid_t, libc::c_int) {
    let mut status = 0;
    // SAFETY: the status is there to be written.
    (unsafe { libc::waitpid(process, &raw mut status, options) }, status)
}

/// Puts a pipe in the place of a standard stream.
fn put_at(pipe: File, stream: RawFd) {
    // SAFETY: both are open; who reads or writes the stream does not know what it is.
    assert!(unsafe { libc::dup2(pipe.as_raw_fd(), stream) } == stream);
}
