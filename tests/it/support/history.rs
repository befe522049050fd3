//! The history of a key in etcd. Unlike nodes, which observe a moment, it contains every value that was ever committed.

use etcd_client::{Client, WatchOptions};

/// Returns all values of `key` since its creation, oldest first. The key exists.
pub async fn history(endpoints: &[String], key: &str) -> Vec<String> {
    let mut client = Client::connect(endpoints, None).await.unwrap();
    let current = client.get(key, None).await.unwrap();
    let current = current.kvs().first().expect("the key exists");
    let (first, last) = (current.create_revision(), current.mod_revision());
    let options = WatchOptions::new().with_start_revision(first);
    let mut changes = client.watch(key, Some(options)).await.unwrap();
    let mut values = Vec::new();
    loop {
        let response = changes.message().await.unwrap().expect("the watch is open");
        assert!(!response.canceled(), "{}", response.cancel_reason());
        for event in response.events() {
            let kv = event.kv().expect("an event has its key");
            values.push(kv.value_str().unwrap().to_owned());
            if kv.mod_revision() == last {
                return values;
            }
        }
    }
}

/// Returns the maximum number of holders in all values of the semaphore `key` since its creation.
pub async fn most_holders(endpoints: &[String], key: &str) -> usize {
    let holders = |value: &String| {
        let semaphore: serde_json::Value = serde_json::from_str(value).unwrap();
        semaphore["holders"].as_array().unwrap().len()
    };
    let values = history(endpoints, key).await;
    values.iter().map(holders).max().unwrap_or_default()
}
