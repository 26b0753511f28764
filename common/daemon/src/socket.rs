//! The socket in a program's data folder, by which its own subcommands talk to it while it runs.
//!
//! One line is asked, one is answered. Who can open the socket may ask anything, so that folder and socket belong to the
//! user that runs the program alone; root can open them as well.

use std::fs::{File, Permissions};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FOLDER: &str = "control";
const SOCKET: &str = "socket";
/// The longest path that the kernel takes as a socket's address.
const ADDRESS_BYTES_MAX: usize = 107;
/// The longest answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Why a running program could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("{}: nobody answers", path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The caller may not open the socket.
    #[error("{}: permission denied: ask as root, or as the user that runs it", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
    },
    /// The conversation broke.
    #[error("{}: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Where the socket of a data folder is.
pub fn path(data: &Path) -> PathBuf {
    data.join(FOLDER).join(SOCKET)
}

/// Opens the socket, not blocking. Who calls holds the lock of the data folder, so that a socket left there is nobody's.
pub fn listen(data: &Path) -> io::Result<UnixListener> {
    let folder = data.join(FOLDER);
    std::fs::create_dir_all(&folder)?;
    // The folder keeps others out in the moment before the socket has its mode.
    std::fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
    let path = path(data);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = at(&folder, |address| UnixListener::bind(address))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Asks the program that runs on a data folder; its answer, without the end of the line.
pub fn ask(data: &Path, question: &str, timeout: Duration) -> Result<String, AskError> {
    let converse = || -> io::Result<String> {
        let mut stream = at(&data.join(FOLDER), |address| UnixStream::connect(address))?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.write_all(format!("{question}\n").as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer)?;
        match answer.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::Error::new(ErrorKind::UnexpectedEof, "it hung up before it had answered")),
        }
    };
    converse().map_err(|source| {
        let path = path(data);
        match source.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::NotRunning { path },
            ErrorKind::PermissionDenied => AskError::Denied { path },
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                let source =
                    io::Error::new(ErrorKind::TimedOut, format!("no answer within {} s", timeout.as_secs()));
                AskError::Broken { path, source }
            }
            _ => AskError::Broken { path, source },
        }
    })
}

/// Uses the socket of a folder. Its path may be longer than an address can be: then it goes by the open folder.
fn at<T>(folder: &Path, open: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = folder.join(SOCKET);
    if path.as_os_str().len() <= ADDRESS_BYTES_MAX {
        return open(&path);
    }
    let folder = File::open(folder)?;
    open(Path::new(&format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(20);

    #[track_caller]
    fn check(data: &Path) {
        let listener = listen(data).expect("listens");
        listener.set_nonblocking(false).expect("blocks");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&data.join(FOLDER)), 0o700);
        assert_eq!(mode(&path(data)), 0o600);
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut line = String::new();
            BufReader::new(stream.try_clone().expect("cloned")).read_line(&mut line).expect("a line");
            stream.write_all(format!("you said {line}").as_bytes()).expect("answered");
        });
        assert_eq!(ask(data, "hello", SECOND).expect("answered"), "you said hello");
        answering.join().expect("ended well");
    }

    #[test]
    fn a_line_is_asked_and_one_answered_however_long_the_path_is() {
        let folder = tempfile::tempdir().expect("temporary folder");
        check(folder.path());
        let long = folder.path().join("a".repeat(120));
        std::fs::create_dir(&long).expect("made");
        check(&long);
        // What a program that was killed has left does not matter.
        check(&long);
    }

    #[test]
    fn who_can_not_be_asked_is_told_why() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = ask(folder.path(), "hello", SECOND).expect_err("nobody listens").to_string();
        assert!(error.ends_with("/control/socket: nobody answers"), "{error}");
        drop(listen(folder.path()).expect("listens"));
        let error = ask(folder.path(), "hello", SECOND).expect_err("it has left");
        assert!(matches!(error, AskError::NotRunning { .. }), "{error}");
    }

    #[test]
    fn an_answer_that_breaks_off_is_none() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let listener = listen(folder.path()).expect("listens");
        listener.set_nonblocking(false).expect("blocks");
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut line = String::new();
            BufReader::new(stream.try_clone().expect("cloned")).read_line(&mut line).expect("a line");
            stream.write_all(b"half").expect("answered");
        });
        let error = ask(folder.path(), "hello", SECOND).expect_err("half an answer").to_string();
        assert!(error.ends_with("it hung up before it had answered"), "{error}");
        answering.join().expect("ended well");
    }
}
