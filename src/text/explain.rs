//! Errors as one line of text: the message, the causes, and the remedy.

use std::error::Error;

/// An error that knows its remedy. The message of the error itself contains neither the cause nor, unless
/// [`Remedy::remedy`] returns `None`, the remedy.
pub(crate) trait Remedy: Error {
    /// Returns what the operator can do; `None`: nothing that is known.
    fn remedy(&self) -> Option<String>;
}

/// Returns the messages of the causes of `error`, except those that the message before already contains.
pub(crate) fn causes(error: &dyn Error) -> Vec<String> {
    let mut last = error.to_string();
    let mut texts = Vec::new();
    let sources = std::iter::successors(error.source(), |cause| (*cause).source());
    for cause in sources.map(ToString::to_string) {
        if !last.contains(&cause) {
            texts.push(cause.clone());
            last = cause;
        }
    }
    texts
}

/// Returns an error with its causes: `/etc/key.pem: cannot be read: Permission denied (os error 13)`.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    texts.extend(causes(error));
    texts.join(": ")
}

/// Returns an error with its causes and its remedy.
pub(crate) fn explain(error: &dyn Remedy) -> String {
    match error.remedy() {
        Some(remedy) => format!("{}; {remedy}", chain(error)),
        None => chain(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("http://etcd:2379: {text}")]
    struct Outer {
        text: &'static str,
        #[source]
        source: io::Error,
    }

    impl Remedy for Outer {
        fn remedy(&self) -> Option<String> {
            Some("start it".into())
        }
    }

    fn outer(text: &'static str) -> Outer {
        let source = io::Error::other("connection refused");
        Outer { text, source }
    }

    #[test]
    fn each_cause_is_named_once_and_the_remedy_is_last() {
        let error = outer("cannot connect");
        assert_eq!(causes(&error), ["connection refused"]);
        assert_eq!(
            explain(&error),
            "http://etcd:2379: cannot connect: connection refused; start it"
        );
        let error = outer("connection refused");
        assert_eq!(causes(&error), [""; 0]);
        assert_eq!(
            explain(&error),
            "http://etcd:2379: connection refused; start it"
        );
    }
}
