use super::*;

#[test]
fn a_large_document_is_replaced_after_a_pause_even_if_it_was_not_confirmed() {
    let at = Instant::now();
    let after = |seconds| at + Duration::from_secs(seconds);
    for is_confirmed in [true, false] {
        let written = |bytes| Written {
            server: "a".into(),
            lease: None,
            document: "x".repeat(bytes),
            at,
            is_confirmed,
        };
        assert!(written(4095).is_replaced_by("y", at));
        let large = written(MAX_DOCUMENT);
        assert!(!large.is_replaced_by("y", after(159)));
        assert!(large.is_replaced_by("y", after(160)));
        // The same one.
        assert_eq!(
            large.is_replaced_by(&large.document, after(160)),
            !is_confirmed
        );
    }
}
