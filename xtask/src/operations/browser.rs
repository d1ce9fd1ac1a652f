//! Debian's chromium without a window, driven through `chromedriver` (W3C WebDriver, and the commands of Chromium beside it).

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::server::Running;
use super::{eventually, free_port, write};
use crate::bounded::{Failure, PROGRAM, output_of};

/// One browser with one page. Ends with its value.
pub(super) struct Browser {
    _driver: Running,
    session: String,
}

impl Browser {
    pub(super) fn start(place: &Path) -> Result<Browser, Failure> {
        let port = free_port()?;
        let mut driver = Command::new("chromedriver");
        let driver = Running::start("chromedriver", driver.arg(format!("--port={port}")))?;
        let base = format!("http://127.0.0.1:{port}");
        eventually("the start of chromedriver", || ask("GET", &format!("{base}/status"), None).map(drop))?;
        let profile = place.join("profile");
        let _ = std::fs::remove_dir_all(&profile);
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            format!("--user-data-dir={}", profile.display()),
        ]}}}});
        let made = ask("POST", &format!("{base}/session"), Some(&wanted))?;
        let id = made["sessionId"].as_str().ok_or_else(|| format!("no session: {made}"))?;
        Ok(Browser { _driver: driver, session: format!("{base}/session/{id}") })
    }

    fn command(&self, name: &str, body: &Value) -> Result<Value, Failure> {
        ask("POST", &format!("{}/{name}", self.session), Some(body))
    }

    pub(super) fn open(&self, url: &str) -> Result<(), Failure> {
        self.command("url", &json!({ "url": url })).map(drop)
    }

    /// What a function with this body returns.
    pub(super) fn run(&self, body: &str) -> Result<Value, Failure> {
        self.command("execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// A command of the DevTools protocol.
    fn devtools(&self, name: &str, parameters: &Value) -> Result<Value, Failure> {
        self.command("goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    /// The screen, in CSS pixels.
    pub(super) fn set_screen(&self, width: u32, height: u32, is_phone: bool) -> Result<(), Failure> {
        let screen = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone});
        self.devtools("Emulation.setDeviceMetricsOverride", &screen).map(drop)
    }

    /// `light` or `dark`.
    pub(super) fn set_scheme(&self, scheme: &str) -> Result<(), Failure> {
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", &media).map(drop)
    }

    /// A picture of the whole page.
    pub(super) fn picture(&self, file: &Path) -> Result<(), Failure> {
        let shot = self.devtools("Page.captureScreenshot", &json!({"captureBeyondViewport": true}))?;
        let data = shot["data"].as_str().ok_or("a picture without data")?;
        let encoded = file.with_extension("base64");
        write(&encoded, data)?;
        let picture = std::fs::File::create(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut decode = Command::new("base64");
        let result = crate::bounded::run(decode.arg("-d").arg(&encoded).stdout(picture), PROGRAM);
        let _ = std::fs::remove_file(&encoded);
        result
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without it, the browser would outlive its driver.
        let _ = ask("DELETE", &self.session, None);
    }
}

/// One WebDriver command: the `value` of its answer.
fn ask(method: &str, url: &str, body: Option<&Value>) -> Result<Value, Failure> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "60", "--request", method, url]);
    if let Some(body) = body {
        curl.args(["--header", "content-type: application/json", "--data", &body.to_string()]);
    }
    let answer = output_of(curl.stdin(Stdio::null()))?;
    let mut answer: Value =
        serde_json::from_str(&answer).map_err(|error| format!("{url}: {error}: {answer}"))?;
    let value = answer["value"].take();
    match value["error"].as_str() {
        Some(error) => Err(format!("{method} {url}: {error}: {}", value["message"])),
        None => Ok(value),
    }
}
