//! A page in Chromium, controlled through the DevTools protocol over two pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::MAX_WAIT;

/// A tab of a browser of its own. The browser ends with it.
pub struct Tab {
    browser: Child,
    commands: ChildStdin,
    /// Replies and events.
    messages: Receiver<Value>,
    session: Option<String>,
    latest: u64,
    _profile: TempDir,
}

impl Tab {
    /// Starts a browser with an empty tab of this width.
    pub fn new(width: u32) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Command::new("sh")
            // Chromium reads commands from file descriptor 3, and writes replies to 4.
            .args([
                "-c",
                "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
                "sh",
            ])
            .args([
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
            ])
            .args(["--disable-quic", "--no-first-run", "--disable-sync"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("--remote-debugging-pipe")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let commands = browser.stdin.take().unwrap();
        let replies = BufReader::new(browser.stdout.take().unwrap());
        let (sender, messages) = channel();
        thread::spawn(move || {
            for message in replies.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut tab = Tab {
            browser,
            commands,
            messages,
            session: None,
            latest: 0,
            _profile: profile,
        };
        let target = tab.call("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = tab.call("Target.attachToTarget", target);
        tab.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        tab.call("Page.enable", json!({}));
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        tab.call("Emulation.setDeviceMetricsOverride", size);
        tab
    }

    /// Starts a browser, and opens a page in it.
    pub fn open(url: &str) -> Self {
        let mut tab = Tab::new(1280);
        tab.navigate(url);
        tab
    }

    /// Prefers the dark colors of pages.
    pub fn prefer_dark(&mut self) {
        let dark = json!({"name": "prefers-color-scheme", "value": "dark"});
        let media = json!({"features": [dark]});
        self.call("Emulation.setEmulatedMedia", media);
    }

    /// Does not run the scripts of pages.
    pub fn disable_scripts(&mut self) {
        let disabled = json!({"value": true});
        self.call("Emulation.setScriptExecutionDisabled", disabled);
    }

    /// Opens a page, and waits until it is loaded.
    pub fn navigate(&mut self, url: &str) {
        let reply = self.call("Page.navigate", json!({"url": url}));
        assert_eq!(reply["errorText"], Value::Null, "{url}");
        // An address that differs in its fragment only loads nothing.
        if reply["loaderId"] != Value::Null {
            self.wait_for("Page.loadEventFired");
        }
    }

    /// Waits until the page is loaded once more.
    pub fn wait_for_reload(&mut self) {
        self.wait_for("Page.loadEventFired");
    }

    /// Returns the value of an expression in the page, after its promise is kept.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let arguments = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let mut reply = self.call("Runtime.evaluate", arguments);
        assert_eq!(reply["exceptionDetails"], Value::Null, "{expression}");
        reply["result"]["value"].take()
    }

    /// Returns the text of an expression.
    pub fn text(&mut self, expression: &str) -> String {
        let value = self.evaluate(expression);
        let text = value.as_str();
        text.unwrap_or_else(|| panic!("{expression} is {value}"))
            .to_owned()
    }

    /// Types a text where the focus is.
    pub fn type_text(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// Presses a key, such as `Enter` or `Tab`.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            other => panic!("no code for {other}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code.0, "text": code.1,
            });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Writes a picture of the whole page to a file.
    pub fn screenshot(&mut self, file: &Path) {
        let metrics = self.call("Page.getLayoutMetrics", json!({}));
        let size = &metrics["cssContentSize"];
        let clip =
            json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let arguments = json!({"captureBeyondViewport": true, "clip": clip});
        let reply = self.call("Page.captureScreenshot", arguments);
        let picture = STANDARD.decode(reply["data"].as_str().unwrap()).unwrap();
        std::fs::write(file, picture).unwrap();
    }

    fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.latest += 1;
        let id = self.latest;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        let sent = self.commands.write_all(format!("{message}\0").as_bytes());
        sent.expect("chromium has exited; `make setup` installs what is missing");
        let mut reply = self.receive(|message| message["id"] == id);
        assert_eq!(reply["error"], Value::Null, "{method}");
        reply["result"].take()
    }

    fn wait_for(&mut self, event: &str) {
        self.receive(|message| message["method"] == event);
    }

    fn receive(&self, matches: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.messages.recv_timeout(MAX_WAIT);
            let message = message.expect("chromium does not respond; is it installed?");
            if matches(&message) {
                return message;
            }
        }
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        // Chromium ends when its pipe is closed, but not at once.
        let _ = self.browser.kill();
        let _ = self.browser.wait();
    }
}
