//! A headless browser: it follows redirects, stores cookies and submits every form, with `ann` as
//! the value of empty inputs.

use std::collections::BTreeMap;

use reqwest::{
    Client, Response, Url,
    header::{COOKIE, LOCATION, SET_COOKIE},
};

use mlsdm::testkit::http_client_builder;

/// Upper bound of the number of pages in one visit.
const PAGES_MAX: usize = 20;

/// A browser and its cookies.
pub(crate) struct Browser {
    http: Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let http = http_client_builder().redirect(reqwest::redirect::Policy::none());
        Self { http: http.build().unwrap(), cookies: BTreeMap::new() }
    }

    /// Opens a page and submits forms until a page has none; gives the text of that page.
    pub(crate) async fn visit(&mut self, address: &str) -> String {
        let mut url: Url = address.parse().unwrap();
        let mut form = None;
        for _ in 0..PAGES_MAX {
            let response = self.open(&url, form.take()).await;
            if let Some(location) = response.headers().get(LOCATION) {
                url = url.join(location.to_str().unwrap()).unwrap();
                continue;
            }
            let text = response.text().await.unwrap();
            let Some((action, fields)) = first_form(&text) else { return text };
            url = url.join(&action).unwrap();
            form = Some(fields);
        }
        panic!("more than {PAGES_MAX} pages from {address}");
    }

    async fn open(&mut self, url: &Url, form: Option<Vec<(String, String)>>) -> Response {
        let request = match form {
            None => self.http.get(url.clone()),
            Some(fields) => self.http.post(url.clone()).form(&fields),
        };
        let cookies: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let response = request.header(COOKIE, cookies.join("; ")).send().await.unwrap();
        for cookie in response.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        response
    }
}

/// The action and the fields of the first form of a page.
fn first_form(page: &str) -> Option<(String, Vec<(String, String)>)> {
    let (_, form) = page.split_once("<form ")?;
    let form = form.split("</form>").next()?;
    let input = |tag: &str| {
        let tag = tag.split('>').next()?;
        let value = attribute(tag, "value").unwrap_or_else(|| "ann".to_owned());
        Some((attribute(tag, "name")?, value))
    };
    Some((attribute(form, "action")?, form.split("<input ").skip(1).filter_map(input).collect()))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!("{name}=\""))?;
    rest.split('"').next().map(str::to_owned)
}
