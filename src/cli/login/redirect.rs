//! Where the browser is sent after a login: a port of this machine's own, for one answer.

use std::{io, time::Duration};

use openidconnect::CsrfToken;
use reqwest::Url;
use subtle::ConstantTimeEq as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::provider::{LoginError, error_code};

/// How long somebody may take to log in.
const LOGIN_MAX: Duration = Duration::from_mins(10);
/// How long a connection may take to say what it wants.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// Longest head of a request, in bytes; a longer one is not for us.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The path of the redirect.
const PATH: &str = "/callback";

/// A port of the loopback interface.
pub(super) struct Redirect {
    listener: TcpListener,
    pub(super) url: String,
}

impl Redirect {
    /// A free one. An address rather than a name, as RFC 8252 wants it.
    pub(super) async fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://127.0.0.1:{}{PATH}", listener.local_addr()?.port());
        Ok(Self { listener, url })
    }

    /// The code that a browser brings, with the state that was sent. Whoever else connects is told
    /// that there is nothing.
    pub(super) async fn code(&self, state: &CsrfToken) -> Result<String, LoginError> {
        timeout(LOGIN_MAX, self.accepted(state)).await.map_err(|_| LoginError::TooLate)?
    }

    async fn accepted(&self, state: &CsrfToken) -> Result<String, LoginError> {
        loop {
            let (mut stream, _) = self.listener.accept().await?;
            let head = timeout(HEAD_MAX, head(&mut stream)).await;
            let Ok(Ok(Some(target))) = head else { continue };
            let brought = brought(&target, state);
            let (status, text) = match &brought {
                None => ("404 Not Found", "Nothing is here."),
                Some(Ok(_)) => ("200 OK", "You are logged in. This page can be closed."),
                Some(Err(_)) => ("400 Bad Request", "The login failed; see the terminal."),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
                 Cache-Control: no-store\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n\
                 \r\n{text}",
                text.len()
            );
            // the code counts, whether its page could be shown or not
            drop(stream.write_all(answer.as_bytes()).await);
            if let Some(brought) = brought {
                return brought;
            }
        }
    }
}

/// The target of a GET; none for anything else.
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

/// What a request of the browser says: none if it is not the one that is waited for.
fn brought(target: &str, state: &CsrfToken) -> Option<Result<String, LoginError>> {
    let url = Url::parse("http://127.0.0.1").ok()?.join(target).ok()?;
    let value = |name: &str| {
        let mut pairs = url.query_pairs().filter(|(known, _)| known == name);
        pairs.next().map(|(_, value)| value.into_owned())
    };
    let ours = bool::from(value("state")?.as_bytes().ct_eq(state.secret().as_bytes()));
    if url.path() != PATH || !ours {
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
    fn only_the_answer_to_the_own_question_counts() {
        let state = CsrfToken::new("right".to_owned());
        let code = brought("/callback?code=abc&state=right", &state);
        assert_eq!(code.unwrap().unwrap(), "abc");
        for other in [
            "/callback?code=abc",
            "/callback?code=abc&state=wrong",
            "/callback?code=abc&state=",
            "/favicon.ico?code=abc&state=right",
            "//elsewhere/?code=abc&state=right",
        ] {
            assert!(brought(other, &state).is_none(), "{other}");
        }
        let refused = brought("/callback?error=access_denied&state=right", &state);
        let Some(Err(LoginError::Refused(code))) = refused else { panic!("{refused:?}") };
        assert_eq!(code, "access_denied");
        assert!(brought("/callback?state=right", &state).unwrap().is_err());
    }

    #[tokio::test]
    async fn strangers_do_not_end_the_wait() {
        let redirect = Redirect::bind().await.unwrap();
        let state = CsrfToken::new("right".to_owned());
        let address = redirect.listener.local_addr().unwrap();
        let ask = async |request: String| {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            // one that is not understood is closed without an answer
            drop(stream.read_to_string(&mut answer).await);
            answer
        };
        let strangers = async {
            assert_eq!(ask("POST /callback HTTP/1.1\r\n\r\n".to_owned()).await, "");
            assert_eq!(ask(format!("GET /{} ", "x".repeat(2 * HEAD_BYTES_MAX))).await, "");
            let wrong = ask("GET /callback?code=a&state=wrong HTTP/1.1\r\n\r\n".to_owned()).await;
            assert!(wrong.starts_with("HTTP/1.1 404"), "{wrong}");
            ask("GET /callback?code=abc&state=right HTTP/1.1\r\n\r\n".to_owned()).await
        };
        let (code, page) = tokio::join!(redirect.code(&state), strangers);
        assert_eq!(code.unwrap(), "abc");
        assert!(page.starts_with("HTTP/1.1 200") && !page.contains("abc"), "{page}");
    }
}
