//! A node: sends the requests that Zincati sends and interprets the responses as Zincati does.

use std::time::Duration;

use reqwest::blocking;

/// A client of one server. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    url: String,
    http: blocking::Client,
}

/// The response to a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: String,
}

impl Client {
    /// Creates a client of the server at `url`.
    pub fn new(url: String) -> Self {
        Client::with_timeout(url, super::MAX_WAIT)
    }

    /// Creates a client with a timeout for each request.
    pub fn with_timeout(url: String, timeout: Duration) -> Self {
        Client::over(url, blocking::Client::builder().timeout(timeout))
    }

    /// Creates a client that sends its requests with `http`.
    pub fn over(url: String, http: blocking::ClientBuilder) -> Self {
        let http = http.redirect(reqwest::redirect::Policy::none());
        let http = http.build().unwrap();
        Client { url, http }
    }

    /// Returns a client of another server that shares the connections of this one.
    pub fn at(&self, url: String) -> Self {
        let http = self.http.clone();
        Client { url, http }
    }

    /// Sends a pre-reboot request.
    pub fn lock(&self, group: &str, id: &str) -> Response {
        self.post("v1/pre-reboot", group, id)
    }

    /// Sends a steady-state request.
    pub fn unlock(&self, group: &str, id: &str) -> Response {
        self.post("v1/steady-state", group, id)
    }

    fn post(&self, endpoint: &str, group: &str, id: &str) -> Response {
        self.try_post(endpoint, group, id).unwrap()
    }

    /// Sends a request over a connection that may break.
    pub fn try_post(&self, endpoint: &str, group: &str, id: &str) -> reqwest::Result<Response> {
        let params = serde_json::json!({ "client_params": { "id": id, "group": group } });
        try_send(self.request(endpoint, params.to_string()))
    }

    /// Sends any body.
    pub fn send(&self, endpoint: &str, body: impl Into<blocking::Body>) -> Response {
        send(self.request(endpoint, body))
    }

    fn request(&self, endpoint: &str, body: impl Into<blocking::Body>) -> blocking::RequestBuilder {
        let request = self.http.post(format!("{}/{endpoint}", self.url));
        request.header("fleet-lock-protocol", "true").body(body)
    }
}

/// Sends any request and returns the response.
pub fn send(request: blocking::RequestBuilder) -> Response {
    try_send(request).unwrap()
}

fn try_send(request: blocking::RequestBuilder) -> reqwest::Result<Response> {
    let response = request.send()?;
    Ok(Response {
        status: response.status().as_u16(),
        body: response.text()?,
    })
}

impl Response {
    /// Returns whether the status code is a success.
    pub fn granted(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Returns the field `kind` of an error.
    pub fn kind(&self) -> String {
        self.field("kind")
    }

    /// Returns the field `value` of an error.
    pub fn value(&self) -> String {
        self.field("value")
    }

    fn field(&self, name: &str) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("the body is not a JSON error: {self:?}: {error}"));
        body[name].as_str().unwrap().to_owned()
    }
}
