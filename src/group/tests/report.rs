//! What the task reports, whatever becomes of the client.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::Registry;

use super::*;

/// Collects the messages about grants and releases that this thread logs.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<String>>>);

impl Messages {
    fn collect() -> (Self, DefaultGuard) {
        let messages = Messages::default();
        let subscriber = Registry::default().with(messages.clone());
        (messages, tracing::subscriber::set_default(subscriber))
    }

    /// Returns those since the last call.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl<S: Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        event.record(&mut self.clone());
    }
}

impl Visit for Messages {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" && text.starts_with("lock ") {
            self.0.lock().unwrap().push(text);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_reported_once_also_if_the_reply_of_the_store_is_lost() {
    let (messages, _guard) = Messages::collect();
    let fixture = Fixture::new(1);
    for fault in [None, Some(Fault::AnswerLost), Some(Fault::RequestLost)] {
        fixture.store.next(fault.as_slice());
        fixture.lock("a").await.unwrap();
        assert_eq!(messages.take(), ["lock granted"], "{fault:?}");
        fixture.lock("a").await.unwrap();
        fixture.store.next(fault.as_slice());
        fixture.unlock("a").await.unwrap();
        assert_eq!(messages.take(), ["lock released"], "{fault:?}");
        fixture.unlock("a").await.unwrap();
        assert_eq!(messages.take(), [""; 0]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_is_reported_also_if_the_client_has_disconnected() {
    let (messages, _guard) = Messages::collect();
    let fixture = Fixture::new(1);
    // From now on, the value is known, and the first call is the write.
    assert_eq!(fixture.unlock("b").await, Ok(Outcome::NotHeld));
    for (command, message) in [(lock("a"), "lock granted"), (unlock("a"), "lock released")] {
        fixture.store.hold();
        let asking = fixture.send(command).await;
        asking.abort();
        run_until_idle().await;
        assert_eq!(messages.take(), [""; 0]);
        fixture.store.release();
        run_until_idle().await;
        assert_eq!(messages.take(), [message]);
    }
}
