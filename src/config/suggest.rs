//! Finds the name that a misspelt one most likely stands for.

/// Returns the candidate nearest to `word`, in at most `max` edits, regardless of case. Of equally near candidates, one
/// that starts with `word` is preferred.
pub(crate) fn nearest<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
    max: usize,
) -> Option<&'c str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let lower = candidate.to_lowercase();
            let distance = strsim::damerau_levenshtein(&word, &lower);
            (distance, !lower.starts_with(&word), candidate)
        })
        .filter(|(distance, ..)| *distance <= max)
        .min_by_key(|(distance, other_start, _)| (*distance, *other_start))
        .map(|(.., candidate)| candidate)
}
