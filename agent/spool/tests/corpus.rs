//! Replays the fuzz corpus on stable, and keeps it from being empty.

use std::fs;
use std::path::Path;

#[test]
fn corpus_is_read_without_harm() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/files"));
    let mut files = 0;
    for entry in fs::read_dir(folder).expect("the corpus is part of the repository") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        vedette_spool::fuzz_files(&bytes);
        // Every file once more with each byte changed.
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 0x55;
            vedette_spool::fuzz_files(&changed);
        }
        for length in 0..bytes.len() {
            vedette_spool::fuzz_files(&bytes[..length]);
        }
        files += 1;
    }
    assert!(files >= 5, "{files} files in the corpus");
}
