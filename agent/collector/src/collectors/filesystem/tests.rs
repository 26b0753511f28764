use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

/// Mounts named `/hang…` wait until they are released; `/gone` fails.
struct FakeHost {
    gate: SyncSender<()>,
    prober: Prober,
}

fn fake_host(timeout: Duration) -> FakeHost {
    let (gate, released) = sync_channel::<()>(16);
    let released: Mutex<Receiver<()>> = Mutex::new(released);
    let statfs = move |path: &Path| match path.to_str() {
        Some(name) if name.starts_with("/hang") => {
            released.lock().expect("no panic").recv().ok();
            Ok(Usage { size_bytes: 2.0, ..Usage::default() })
        }
        Some("/gone") => Err(io::Error::from_raw_os_error(116)),
        _ => Ok(Usage { size_bytes: 1.0, ..Usage::default() }),
    };
    FakeHost { gate, prober: Prober::new(Arc::new(statfs), 2, timeout) }
}

impl FakeHost {
    /// Those named `/prompt…` are sure to answer at once.
    fn probe(&mut self, paths: &[&str]) -> Vec<Answer> {
        let paths: Vec<Arc<Path>> = paths.iter().map(|path| PathBuf::from(path).into()).collect();
        let mut answers = Vec::new();
        let is_prompt = |path: &Path| path.to_str().is_some_and(|path| path.starts_with("/prompt"));
        self.prober.probe(paths.iter().map(|path| (path, is_prompt(path))), &mut answers);
        answers
    }

    /// Probes until the answers are `expected`, within a generous deadline.
    #[expect(clippy::disallowed_methods, reason = "driver: a test's deadline")]
    fn until(&mut self, paths: &[&str], expected: &[Answer]) {
        let begin = std::time::Instant::now();
        loop {
            let answers = self.probe(paths);
            if answers == expected {
                return;
            }
            assert!(begin.elapsed() < Duration::from_secs(20), "still {answers:?}");
            std::thread::yield_now();
        }
    }
}

fn usage(size_bytes: f64) -> Answer {
    Answer::Usage(Usage { size_bytes, ..Usage::default() })
}

#[test]
fn healthy_mounts_answer_at_once() {
    let mut host = fake_host(Duration::from_secs(60));
    let stale = || Answer::Error("stale file handle".to_owned());
    // Before patience ends on a loaded machine, or after a while.
    host.until(&["/a", "/gone", "/b"], &[usage(1.0), stale(), usage(1.0)]);
    host.until(&["/b", "/a"], &[usage(1.0), usage(1.0)]);
}

#[test]
fn no_thread_is_needed_where_none_can_hang() {
    let mut host = fake_host(Duration::from_secs(600));
    // All are answered by the first probe, whatever the machine's load; and beside one that hangs as well.
    assert_eq!(host.probe(&["/prompt", "/prompt/2"]), [usage(1.0), usage(1.0)]);
    assert_eq!(host.prober.workers(), 0);
    assert_eq!(host.probe(&["/prompt", "/hang"]), [usage(1.0), Answer::Unknown]);
    // A second one is called where the first is slow to begin.
    assert_ne!(host.prober.workers(), 0);
    host.gate.send(()).unwrap();
    host.until(&["/prompt", "/hang"], &[usage(1.0), usage(2.0)]);
}

#[test]
fn a_hung_mount_holds_up_nobody() {
    let mut host = fake_host(Duration::from_millis(50));
    // More of them than workers are wanted, and before the one that is well.
    let paths = ["/hang1", "/hang2", "/hang3", "/well"];
    host.until(&paths, &[Answer::Timeout, Answer::Timeout, Answer::Timeout, usage(1.0)]);
    let others = ["/well", "/other"];
    host.until(&others, &[usage(1.0), usage(1.0)]);
    for _ in 0..3 {
        host.gate.send(()).unwrap();
    }
    // Whoever is released is asked again, and hangs again; meanwhile its last answer is told.
    drop(std::mem::replace(&mut host.gate, sync_channel(1).0));
    host.until(&paths, &[usage(2.0), usage(2.0), usage(2.0), usage(1.0)]);
}

#[test]
fn a_slow_mount_is_not_yet_an_error() {
    let mut host = fake_host(Duration::from_secs(600));
    assert_eq!(host.probe(&["/hang"]), [Answer::Unknown]);
    host.gate.send(()).unwrap();
    host.until(&["/hang"], &[usage(2.0)]);
    assert_eq!(host.probe(&["/hang"]), [usage(2.0)]);
}

/// Gathers over two mounts of one name, one that is not there, and one that is not wanted.
#[test]
fn tells_what_the_mounts_say() {
    let host = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(host.path().join("proc/self")).unwrap();
    std::fs::create_dir_all(host.path().join("root/data")).unwrap();
    let mountinfo = "1 0 8:1 / /data rw - ext4 /dev/sda1 ro\n2 0 8:2 / /missing rw - xfs /dev/sda2 rw\n\
                     3 0 0:4 / /proc rw - proc proc rw\n4 0 8:3 / /data rw - ext4 /dev/sda1 ro\n";
    std::fs::write(host.path().join("proc/self/mountinfo"), mountinfo).unwrap();
    let paths =
        Paths { procfs: host.path().join("proc"), rootfs: host.path().join("root"), ..Paths::default() };
    let mut parameters = Parameters::new("filesystem", None).unwrap();
    let mut collector = build(&mut parameters, &paths).unwrap();
    let mut out = Gathered::new();
    collector.collect(&mut Sources::new(paths), &mut out).unwrap();
    let mut text = Vec::new();
    out.write_text(&mut text);
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 12, "{text}");
    let well = "{device=\"/dev/sda1\",device_error=\"\",fstype=\"ext4\",mountpoint=\"/data\"}";
    let ill = "{device=\"/dev/sda2\",device_error=\"no such file or directory\",fstype=\"xfs\",mountpoint=\"/missing\"}";
    for line in [
        format!("node_filesystem_device_error{well} 0"),
        format!("node_filesystem_device_error{ill} 1"),
        format!("node_filesystem_readonly{well} 1"),
        format!("node_filesystem_readonly{ill} 0"),
        format!("node_filesystem_purgeable_bytes{well} 0"),
        "node_filesystem_mount_info{device=\"/dev/sda1\",major=\"8\",minor=\"1\",mountpoint=\"/data\"} 1"
            .to_owned(),
    ] {
        assert!(lines.contains(&line.as_str()), "{line} is not in\n{text}");
    }
}
