//! A node: says what Zincati says, and takes the answer as Zincati does.

use std::time::Duration;

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
        Client::with_timeout(url, super::PATIENCE)
    }

    pub fn with_timeout(url: String, timeout: Duration) -> Self {
        Client::over(url, blocking::Client::builder().timeout(timeout))
    }

    /// Over connections as `http` makes them.
    pub fn over(url: String, http: blocking::ClientBuilder) -> Self {
        let http = http.redirect(reqwest::redirect::Policy::none());
        let http = http.build().unwrap();
        Client { url, http }
    }

    /// The same client for another server.
    pub fn at(&self, url: String) -> Self {
        let http = self.http.clone();
        Client { url, http }
    }

    pub fn lock(&self, group: &str, id: &str) -> Answer {
        self.post("v1/pre-reboot", group, id)
    }

    pub fn unlock(&self, group: &str, id: &str) -> Answer {
        self.post("v1/steady-state", group, id)
    }

    fn post(&self, endpoint: &str, group: &str, id: &str) -> Answer {
        self.try_post(endpoint, group, id).unwrap()
    }

    /// The same where the connection may break.
    pub fn try_post(&self, endpoint: &str, group: &str, id: &str) -> reqwest::Result<Answer> {
        let params = serde_json::json!({ "client_params": { "id": id, "group": group } });
        try_answer(self.request(endpoint, params.to_string()))
    }

    /// Any body.
    pub fn send(&self, endpoint: &str, body: impl Into<blocking::Body>) -> Answer {
        answer(self.request(endpoint, body))
    }

    fn request(&self, endpoint: &str, body: impl Into<blocking::Body>) -> blocking::RequestBuilder {
        let request = self.http.post(format!("{}/{endpoint}", self.url));
        request.header("fleet-lock-protocol", "true").body(body)
    }
}

/// Sends any request.
pub fn answer(request: blocking::RequestBuilder) -> Answer {
    try_answer(request).unwrap()
}

fn try_answer(request: blocking::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send()?;
    Ok(Answer {
        status: response.status().as_u16(),
        body: response.text()?,
    })
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
