//! The redirect URI of a login: a port of the loopback interface that serves one response (RFC 8252).

use std::{io, time::Duration};

use openidconnect::CsrfToken;
use reqwest::Url;
use subtle::ConstantTimeEq as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::error::{LoginError, error_code};

/// Timeout of a login.
const LOGIN_MAX: Duration = Duration::from_mins(10);
/// Timeout for the head of a request.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Maximum size of the head of a request in bytes. Larger requests are ignored.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Path of the redirect URI.
const PATH: &str = "/callback";

/// A listener on the loopback interface.
pub(super) struct Redirect {
    listener: TcpListener,
    pub(super) url: String,
}

impl Redirect {
    /// Binds a free port. The URL has an address rather than a name, as RFC 8252 recommends.
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://127.0.0.1:{}{PATH}", listener.local_addr()?.port());
        Ok(Self { listener, url })
    }

    /// Waits for the authorization code in a request with the right state. Other requests get status 404.
    pub(super) async fn code(&self, state: &CsrfToken) -> Result<String, LoginError> {
        timeout(LOGIN_MAX, self.accepted(state)).await.map_err(|_| LoginError::TimedOut)?
    }

    async fn accepted(&self, state: &CsrfToken) -> Result<String, LoginError> {
        loop {
            let (mut stream, _) = self.listener.accept().await?;
            let head = timeout(HEAD_MAX, head(&mut stream)).await;
            let Ok(Ok(Some(target))) = head else { continue };
            let received = authorization_code(&target, state);
            let (status, text) = match &received {
                None => ("404 Not Found", "Not found."),
                Some(Ok(_)) => ("200 OK", "You are logged in. You can close this page."),
                Some(Err(_)) => ("400 Bad Request", "The login failed; see the terminal."),
            };
            let response = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
                 Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\
                 \r\n{text}",
                text.len()
            );
            // the code is valid even if the page could not be shown
            drop(stream.write_all(response.as_bytes()).await);
            if let Some(received) = received {
                return received;
            }
        }
    }
}

/// Reads the target of a GET; none for any other request.
async fn head(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    while !bytes.windows(4).any(|end| end == b"\r\n\r\n") {
        if bytes.len() > HEAD_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let text = String::from_utf8_lossy(&bytes);
    let target = text.strip_prefix("GET ").and_then(|rest| rest.split(' ').next());
    Ok(target.map(str::to_owned))
}

/// The code or the error in a redirect; none for a request with another path or state.
fn authorization_code(target: &str, state: &CsrfToken) -> Option<Result<String, LoginError>> {
    let url = Url::parse("http://127.0.0.1").ok()?.join(target).ok()?;
    let value = |name: &str| {
        let mut pairs = url.query_pairs().filter(|(known, _)| known == name);
        pairs.next().map(|(_, value)| value.into_owned())
    };
    let is_expected = bool::from(value("state")?.as_bytes().ct_eq(state.secret().as_bytes()));
    if url.path() != PATH || !is_expected {
        return None;
    }
    match (value("code"), value("error")) {
        (Some(code), None) => Some(Ok(code)),
        (_, error) => {
            Some(Err(LoginError::Refused(error_code(error.as_deref().unwrap_or("no code")))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_redirect_with_the_right_state_is_accepted() {
        let state = CsrfToken::new("right".to_owned());
        let code = authorization_code("/callback?code=abc&state=right", &state);
        assert_eq!(code.unwrap().unwrap(), "abc");
        for other in [
            "/callback?code=abc",
            "/callback?code=abc&state=wrong",
            "/callback?code=abc&state=",
            "/favicon.ico?code=abc&state=right",
            "//elsewhere/?code=abc&state=right",
        ] {
            assert!(authorization_code(other, &state).is_none(), "{other}");
        }
        let refused = authorization_code("/callback?error=access_denied&state=right", &state);
        let Some(Err(LoginError::Refused(code))) = refused else { panic!("{refused:?}") };
        assert_eq!(code, "access_denied");
        assert!(authorization_code("/callback?state=right", &state).unwrap().is_err());
    }

    #[tokio::test]
    async fn unrelated_requests_do_not_end_the_wait() {
        let redirect = Redirect::bind().await.unwrap();
        let state = CsrfToken::new("right".to_owned());
        let address = redirect.listener.local_addr().unwrap();
        let send = async |request: String| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut response = String::new();
            // an invalid request is closed without a response
            drop(stream.read_to_string(&mut response).await);
            response
        };
        let others = async {
            assert_eq!(send("POST /callback HTTP/1.1\r\n\r\n".to_owned()).await, "");
            assert_eq!(send(format!("GET /{} ", "x".repeat(2 * HEAD_BYTES_MAX))).await, "");
            let wrong = send("GET /callback?code=a&state=wrong HTTP/1.1\r\n\r\n".to_owned()).await;
            assert!(wrong.starts_with("HTTP/1.1 404"), "{wrong}");
            send("GET /callback?code=abc&state=right HTTP/1.1\r\n\r\n".to_owned()).await
        };
        let (code, page) = tokio::join!(redirect.code(&state), others);
        assert_eq!(code.unwrap(), "abc");
        assert!(page.starts_with("HTTP/1.1 200") && !page.contains("abc"), "{page}");
    }
}
