//! A node: says what Zincati says, and takes the answer as Zincati does.

use reqwest::blocking;

/// Talks to one server. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    url: String,
    http: blocking::Client,
}

/// An answer: its status and its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Client {
    pub fn new(url: String) -> Self {
        let http = blocking::Client::builder()
            .timeout(super::PATIENCE)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        Client { url, http }
    }

    pub fn lock(&self, group: &str, id: &str) -> Answer {
        self.post("v1/pre-reboot", group, id)
    }

    pub fn unlock(&self, group: &str, id: &str) -> Answer {
        self.post("v1/steady-state", group, id)
    }

    fn post(&self, endpoint: &str, group: &str, id: &str) -> Answer {
        let params = serde_json::json!({ "client_params": { "id": id, "group": group } });
        self.send(endpoint, params.to_string())
    }

    /// Any body.
    pub fn send(&self, endpoint: &str, body: impl Into<blocking::Body>) -> Answer {
        let request = self.http.post(format!("{}/{endpoint}", self.url));
        answer(request.header("fleet-lock-protocol", "true").body(body))
    }
}

/// Sends any request.
pub fn answer(request: blocking::RequestBuilder) -> Answer {
    let response = request.send().unwrap();
    Answer {
        status: response.status().as_u16(),
        body: response.text().unwrap(),
    }
}

impl Answer {
    pub fn granted(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The field `kind` of an error.
    pub fn kind(&self) -> String {
        self.field("kind")
    }

    /// The field `value` of an error.
    pub fn value(&self) -> String {
        self.field("value")
    }

    fn field(&self, name: &str) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("no JSON error: {self:?}: {error}"));
        body[name].as_str().unwrap().to_owned()
    }
}
