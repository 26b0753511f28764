//! Replays the fuzz targets' corpora, so that every find stays found on a stable compiler.

mod fuzzed;

fn replay(target: &str, run: impl Fn(&[u8])) -> usize {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(folder).expect("the corpus is part of the repository");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    paths.map(|path| run(&std::fs::read(&path).expect("a readable file"))).count()
}

#[test]
fn corpora() {
    let files = replay("exposition", fuzzed::exposition);
    assert!(files >= 30, "only {files} files in the corpus of the text formats");
    let files = replay("delimited", fuzzed::delimited);
    assert!(files >= 12, "only {files} files in the corpus of the protobuf format");
}
