//! The fuzz target's corpus through the same function, on stable.

use std::path::Path;

#[test]
fn corpus_is_safe() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/parsers");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        vedette_transport::check_any_bytes(&bytes);
        files += 1;
    }
    assert!(files >= 14, "{files} files");
}
