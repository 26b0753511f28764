//! Replays the fuzz target's corpus, so that every find stays found on a stable compiler.

mod fuzzed;

#[test]
fn corpus() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/exposition");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is part of the repository") {
        let path = entry.expect("a readable folder").path();
        fuzzed::exposition(&std::fs::read(&path).expect("a readable file"));
        files += 1;
    }
    assert!(files >= 30, "only {files} files in the corpus");
}
