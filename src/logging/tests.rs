use super::*;
use proptest::prelude::*;

fn fields(message: &str, others: Vec<(&'static str, Value)>) -> Fields {
    Fields {
        message: message.into(),
        others,
    }
}

#[test]
fn a_line_has_the_format_of_coreos_airlock() {
    let fields = fields(
        "processing client pre-reboot request",
        vec![("group", "patroni".into()), ("id", "2204af7f".into())],
    );
    assert_eq!(
        logfmt("2023-09-26T12:58:45Z", &Level::DEBUG, &fields),
        "time=\"2023-09-26T12:58:45Z\" level=debug msg=\"processing client pre-reboot request\" group=patroni id=2204af7f\n"
    );
}

#[test]
fn a_client_cannot_forge_a_line_or_a_field() {
    let forged = "x level=error\ntime=\"now\" msg=\"pwned\"";
    let line = logfmt("t", &Level::WARN, &fields("m", vec![("id", forged.into())]));
    assert_eq!(
        line,
        "time=\"t\" level=warning msg=\"m\" id=\"x level=error\\ntime=\\\"now\\\" msg=\\\"pwned\\\"\"\n"
    );
    let line = json("t", &Level::INFO, fields("m", vec![("id", forged.into())]));
    assert_eq!(line.matches('\n').count(), 1);
    assert_eq!(
        serde_json::from_str::<Value>(&line).unwrap()["id"],
        Value::from(forged)
    );
}

#[test]
fn a_value_is_truncated_between_characters_and_a_sentence_only_beyond_its_remedy() {
    assert_eq!(truncated("é", 2), "é");
    assert_eq!(truncated("aéé", 4), "aé…(5 bytes)");
    assert_eq!(truncated("", 0), "");
    let logged = |text: &str| {
        let messages = recorded(|| tracing::warn!(group = text, reason = text, "{text}"));
        let Fields { message, others } = messages.into_iter().next().unwrap();
        let lengths = others
            .iter()
            .map(|(_, value)| value.as_str().unwrap().len());
        (message.len(), lengths.collect::<Vec<_>>())
    };
    let more = "…(300 bytes)".len();
    assert_eq!(logged(&"x".repeat(300)), (300, vec![300, 300]));
    assert_eq!(logged(&"x".repeat(301)), (301, vec![300 + more, 301]));
    let more = "…(16000 bytes)".len();
    assert_eq!(
        logged(&"x".repeat(16_000)),
        (2_048 + more, vec![300 + more, 2_048 + more])
    );
}

/// Returns the fields of the events of `action`, as the log writes them.
fn recorded(action: impl FnOnce()) -> Vec<Fields> {
    #[derive(Clone, Default)]
    struct Recorder(Arc<parking_lot::Mutex<Vec<Fields>>>);

    impl<S: Subscriber> Layer<S> for Recorder {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.lock().push(fields);
        }
    }

    let recorder = Recorder::default();
    let subscriber = Registry::default().with(recorder.clone());
    tracing::subscriber::with_default(subscriber, action);
    std::mem::take(&mut *recorder.0.lock())
}

#[test]
fn a_json_line_escapes_what_controls_a_terminal_and_a_parser_reads_the_same_text() {
    let id = "a\u{7f}\u{9b}31m\u{202e}\u{200b}\u{2028}\u{e0001}é";
    let line = json("t", &Level::INFO, fields("m", vec![("id", id.into())]));
    assert!(
        line.contains(r#""id":"a\u007f\u009b31m\u202e\u200b\u2028\udb40\udc01é""#),
        "{line}"
    );
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["id"], id);
}

#[test]
fn the_report_of_dropped_lines_is_a_warning() {
    let line = dropped_line(Format::Logfmt, 2);
    assert!(
        line.ends_with(
            " level=warning msg=\"dropped 2 lines of the log: standard error was not read fast enough, or a write failed\"\n"
        ),
        "{line}"
    );
    let line = dropped_line(Format::Json, 1);
    assert!(
        line.contains(r#""msg":"dropped 1 line of the log: "#),
        "{line}"
    );
}

#[test]
fn numbers_are_written_without_quotes_and_addresses_with_quotes() {
    let fields = fields(
        "m",
        vec![
            ("port", 2222.into()),
            ("endpoints", "[http://127.0.0.1:2379]".into()),
            ("empty", "".into()),
        ],
    );
    assert_eq!(
        logfmt("t", &Level::ERROR, &fields),
        "time=\"t\" level=error msg=\"m\" port=2222 endpoints=\"[http://127.0.0.1:2379]\" empty=\n"
    );
}

/// Counts the `name=value` pairs that a parser of logfmt finds.
fn count_fields(line: &str) -> usize {
    let (mut fields, mut quoted, mut escaped) = (1, false, false);
    for c in line.trim_end_matches('\n').chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => fields += 1,
            _ => {}
        }
    }
    assert!(!quoted, "{line}");
    fields
}

proptest! {
    #[test]
    fn any_text_stays_within_its_field_and_line(
        message: String,
        // Favors the characters that have a meaning in logfmt.
        id in "[ a=\"\\\\]{0,4}|.*",
    ) {
        let fields = || fields(&message, vec![("id", id.as_str().into()), ("port", 1.into())]);
        let line = logfmt("t", &Level::INFO, &fields());
        prop_assert_eq!(line.find(char::is_control), Some(line.len() - 1), "{}", line);
        prop_assert_eq!(count_fields(&line), 5, "{}", line);
        let line = json("t", &Level::INFO, fields());
        prop_assert_eq!(line.find(char::is_control), Some(line.len() - 1), "{}", line);
        let read: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(read["id"].as_str(), Some(id.as_str()));
    }
}
