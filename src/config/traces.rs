//! `traces`: export, sampling and propagation of spans.

use std::{collections::HashMap, time::Duration};

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use super::error::{Fault, check};

/// Path that is appended to `traces.endpoint`.
const PATH: &str = "/v1/traces";

/// The only supported protocol.
const PROTOCOL: &str = "http/protobuf";

const URL: &str = "a URL such as http://host:4318, without a query";
const PAIRS: &str = "name=value,name=value; percent-encode commas in values";

/// The sampler: the values of `OTEL_TRACES_SAMPLER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceSampler {
    /// Samples every request.
    AlwaysOn,
    /// Samples no request.
    AlwaysOff,
    /// Samples the ratio `sampler_arg`.
    Traceidratio,
    /// As a trusted caller decides, else every request.
    ParentbasedAlwaysOn,
    /// As a trusted caller decides, else no request.
    ParentbasedAlwaysOff,
    /// As a trusted caller decides, else the ratio `sampler_arg`.
    ParentbasedTraceidratio,
}

/// The span exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceExporter {
    /// OTLP over HTTP.
    Otlp,
    /// No export.
    None,
}

/// Traces.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// URL of the collector without path; empty for none.
    pub endpoint: String,
    /// Complete URL for traces; empty to derive it from `endpoint`.
    pub url: String,
    /// HTTP headers of export requests.
    pub headers: SecretString,
    /// Timeout of the export of a batch in milliseconds, including retries.
    pub timeout_ms: u64,
    /// The OTLP protocol.
    pub protocol: String,
    /// The exporter.
    pub exporter: TraceExporter,
    /// Disables spans whatever else is set.
    pub disabled: bool,
    /// `service.name` of the resource.
    pub service_name: String,
    /// Additional attributes of the resource.
    pub resource_attributes: String,
    /// The sampler.
    pub sampler: TraceSampler,
    /// The sampling ratio, 0 to 1.
    pub sampler_arg: f64,
    /// Accepts the sampled flag of callers.
    pub trust_callers: bool,
    /// Sends `traceparent` to model providers.
    pub to_providers: bool,
}

impl Traces {
    /// The URL to which spans are exported; none disables the export.
    pub fn collector(&self) -> Option<String> {
        let off = self.disabled || self.exporter == TraceExporter::None;
        let given = !(self.url.is_empty() && self.endpoint.is_empty());
        (given && !off).then(|| match self.url.as_str() {
            "" => format!("{}{PATH}", self.endpoint.trim_end_matches('/')),
            url => url.to_owned(),
        })
    }

    /// Timeout of the export of a batch, including retries.
    pub const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// HTTP headers of export requests.
    pub fn headers(&self) -> HashMap<String, String> {
        pairs(self.headers.expose_secret()).unwrap_or_default().into_iter().collect()
    }

    /// Additional attributes of the resource.
    pub fn resource_attributes(&self) -> Vec<(String, String)> {
        pairs(&self.resource_attributes).unwrap_or_default()
    }

    pub(super) fn validate(&self) -> Result<(), Fault> {
        for (key, url) in [("traces.endpoint", &self.endpoint), ("traces.url", &self.url)] {
            check(url.is_empty() || is_url(url), key, URL)?;
        }
        check(
            self.protocol == PROTOCOL,
            "traces.protocol",
            "http/protobuf, the only supported protocol",
        )?;
        let headers = pairs(self.headers.expose_secret());
        let sendable = |(name, value): &(String, String)| {
            HeaderName::try_from(name).is_ok() && HeaderValue::try_from(value).is_ok()
        };
        let headers = headers.is_some_and(|headers| headers.iter().all(sendable));
        check(headers, "traces.headers", PAIRS)?;
        check(pairs(&self.resource_attributes).is_some(), "traces.resource_attributes", PAIRS)?;
        check(!self.service_name.is_empty(), "traces.service_name", "a name")?;
        let timeout = (1..=60_000).contains(&self.timeout_ms);
        check(timeout, "traces.timeout_ms", "between 1 and 60000")?;
        let share = (0.0..=1.0).contains(&self.sampler_arg);
        check(share, "traces.sampler_arg", "between 0 and 1")
    }
}

fn is_url(text: &str) -> bool {
    let http = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    reqwest::Url::parse(text).is_ok_and(|url| http(&url) && url.query().is_none())
}

/// Parses the syntax of `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_RESOURCE_ATTRIBUTES`; none if malformed.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items
        .map(|item| {
            let (name, value) = item.split_once('=')?;
            let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
            let name = name.trim();
            (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::pairs;

    #[test]
    fn lists_are_parsed_as_specified_by_opentelemetry() {
        let read = |text| pairs(text).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read("a=1, b = x%2Cy%3D ,"), [pair("a", "1"), pair("b", "x,y=")]);
        assert_eq!(read("authorization=Basic dTpw=="), [pair("authorization", "Basic dTpw==")]);
        assert_eq!(read(""), []);
        for bad in ["a", "=x", "a=%ff"] {
            assert!(pairs(bad).is_none(), "{bad}");
        }
    }
}
