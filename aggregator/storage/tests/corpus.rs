//! The fuzz target's corpus through the same function, on stable; and any bytes.

use std::path::Path;

use proptest::prelude::*;

#[test]
fn corpus_is_safe() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/records");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the corpus is there") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        vedette_storage::check_any_bytes(&bytes);
        files += 1;
    }
    assert!(files >= 6, "{files} files");
}

proptest! {
    #[test]
    fn any_bytes_are_safe(mut bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..4], 0..200)) {
        vedette_storage::check_any_bytes(&bytes);
        bytes.splice(0..0, [1, 0]);
        vedette_storage::check_any_bytes(&bytes);
    }
}
