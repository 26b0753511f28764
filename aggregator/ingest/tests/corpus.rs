//! The fuzz target's corpus through the same function, on stable; and any bytes.

use std::path::Path;

use proptest::prelude::*;

#[test]
fn corpus_is_safe() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/requests");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        vedette_ingest::check_any_bytes(&bytes);
        files += 1;
    }
    assert!(files >= 6, "{files} files");
}

proptest! {
    #[test]
    fn any_bytes_are_safe(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..24], 0..200)) {
        vedette_ingest::check_any_bytes(&bytes);
    }
}
