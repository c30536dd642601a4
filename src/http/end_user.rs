//! The end user for whom a request is made: the data subject of its prompt.
//!
//! Names are compared byte for byte and never changed, because each of them is a memory, a threshold
//! and a budget of its own.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use actix_web::HttpRequest;
use lru::LruCache;
use serde::Deserialize;

use super::{Code, Problem};
use crate::{
    auth::{Method, Permission, Principal},
    config::EndUserNames,
};

/// The header that names the data subject if it is not the actor.
const HEADER: &str = "x-mlsdm-end-user";

/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 512;

/// Requests of an API key without an end user after which a warning is logged.
const UNNAMED_MAX: u32 = 100;

/// Upper bound of the keys whose requests are counted.
const KEYS_MAX: usize = 1_000;

/// The rules for the names of end users.
pub struct EndUsers {
    names: EndUserNames,
    is_required: bool,
    /// The requests without an end user, by API key.
    unnamed: Mutex<LruCache<String, u32>>,
}

impl fmt::Debug for EndUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndUsers").field("names", &self.names).finish_non_exhaustive()
    }
}

impl EndUsers {
    /// `is_required` refuses steps without an end user by callers that may name one.
    pub fn new(names: EndUserNames, is_required: bool) -> Self {
        Self { names, is_required, unnamed: Mutex::new(LruCache::unbounded()) }
    }

    /// The name in the header, if the principal may act for it.
    pub(super) fn in_header(
        &self,
        request: &HttpRequest,
        principal: &Principal,
    ) -> Result<Option<String>, Problem> {
        if self.names == EndUserNames::Ignore {
            return Ok(None);
        }
        let mut values = request.headers().get_all(HEADER);
        let Some(value) = values.next() else { return Ok(None) };
        let invalid = |what: &str| Problem::new(Code::BadHeader, format!("{HEADER} {what}"));
        if values.next().is_some() {
            return Err(invalid("occurs more than once; send it once"));
        }
        let name = std::str::from_utf8(value.as_bytes());
        let name = name.map_err(|_| invalid("is not valid UTF-8"))?;
        check(name).map_err(|what| invalid(&what))?;
        delegated(principal, name.to_owned()).map(Some)
    }

    /// The end user of a step: the name in the header or that in the body.
    ///
    /// # Errors
    /// The names differ, the principal may act for none, or a name is required.
    pub(super) fn of_step(
        &self,
        principal: &Principal,
        header: Option<String>,
        body: Option<String>,
    ) -> Result<Option<String>, Problem> {
        let body = body.and_then(|name| self.mapped(name));
        let end_user = match (header, body) {
            (None, Some(name)) => {
                check(&name).map_err(|what| {
                    Problem::new(Code::BadField, format!("the name of the end user {what}"))
                })?;
                Some(delegated(principal, name)?)
            }
            (Some(header), Some(body)) if header != body => {
                let detail = "the header X-MLSDM-End-User and the body name different end users; \
                              name one";
                return Err(Problem::new(Code::BadField, detail));
            }
            (header, _) => header,
        };
        self.note(principal, end_user.is_some());
        if end_user.is_none() && self.is_required && principal.may(Permission::SubjectDelegate) {
            let detail = "this server requires the name of the end user (auth.require_end_user); send \
                          it in the header X-MLSDM-End-User or in the field for users";
            return Err(Problem::new(Code::BadField, detail));
        }
        Ok(end_user)
    }

    /// The end user that a name in a body stands for.
    fn mapped(&self, name: String) -> Option<String> {
        match self.names {
            EndUserNames::AsGiven => Some(name),
            EndUserNames::ClaudeCodeAccount => Some(claude_code_account(name)),
            EndUserNames::HeaderOnly | EndUserNames::Ignore => None,
        }
    }

    /// Counts the requests of an API key that names no end user, until it names one. All people of an
    /// application then share one memory, threshold and budget.
    fn note(&self, principal: &Principal, is_named: bool) {
        let counts = principal.method == Method::Key
            && principal.may(Permission::SubjectDelegate)
            && self.names != EndUserNames::Ignore;
        if !counts {
            return;
        }
        let mut unnamed = self.unnamed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = unnamed.get_or_insert_mut(principal.subject.clone(), || 0);
        *count = if is_named { u32::MAX } else { count.saturating_add(1) };
        let warns = *count == UNNAMED_MAX;
        if unnamed.len() > KEYS_MAX {
            unnamed.pop_lru();
        }
        drop(unnamed);
        if warns {
            tracing::warn!(
                event_type = "auth.no_end_user",
                actor = principal.subject,
                "an application has sent 100 requests and never named an end user: all its users share \
                 one memory, threshold and budget; send X-MLSDM-End-User, or set auth.api_key_role to user"
            );
        }
    }
}

/// The only place that decides on delegation: principals may act for themselves, and for others with
/// the permission `subject:delegate`.
fn delegated(principal: &Principal, name: String) -> Result<String, Problem> {
    if name == principal.subject || principal.may(Permission::SubjectDelegate) {
        return Ok(name);
    }
    let permission = Permission::SubjectDelegate;
    tracing::warn!(
        event_type = "auth.forbidden",
        actor = principal.subject,
        %permission,
        "subject delegation denied"
    );
    let detail = format!(
        "acting for another end user needs the permission {permission}; name yourself or no end user"
    );
    Err(Problem::new(Code::OtherSubject, detail))
}

/// Checks a name. The error names the character, for use after the name of the field.
fn check(name: &str) -> Result<(), String> {
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Err(format!("must have 1 to {NAME_BYTES_MAX} bytes"));
    }
    let point = |c: char| format!("U+{:04X}", u32::from(c));
    if let Some(control) = name.chars().find(|c| c.is_control()) {
        return Err(format!("contains the control character {}", point(control)));
    }
    let edge = |c: Option<char>| c.filter(|c| c.is_whitespace()).map(point);
    if let Some(space) = edge(name.chars().next()) {
        return Err(format!("begins with the white space {space}"));
    }
    match edge(name.chars().next_back()) {
        Some(space) => Err(format!("ends with the white space {space}")),
        None => Ok(()),
    }
}

/// The name that Claude Code sends: a JSON object, or before that `user_…_account_…_session_…`.
#[derive(Deserialize)]
struct ClaudeCodeUser {
    #[serde(default)]
    account_uuid: String,
    #[serde(default)]
    device_id: String,
}

/// The account in a name by Claude Code, or the device without one; its session is no person. Any other
/// name stays as it is.
fn claude_code_account(name: String) -> String {
    if let Ok(user) = serde_json::from_str::<ClaudeCodeUser>(&name) {
        let ids = [user.account_uuid, user.device_id];
        return ids.into_iter().find(|id| !id.is_empty()).unwrap_or(name);
    }
    let Some((device, rest)) = name.split_once("_account_") else { return name };
    let Some((account, _)) = rest.split_once("_session_") else { return name };
    (if account.is_empty() { device } else { account }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Permissions;

    fn principal(subject: &str, permissions: Permissions) -> Principal {
        let (subject, method) = (subject.to_owned(), Method::Key);
        Principal { subject, permissions, method, ..Principal::anonymous() }
    }

    fn service() -> Principal {
        principal("key:app", Permissions::of(&[Permission::SubjectDelegate]))
    }

    fn body(names: EndUserNames, name: &str) -> Result<Option<String>, Problem> {
        EndUsers::new(names, false).of_step(&service(), None, Some(name.to_owned()))
    }

    #[test]
    fn a_name_is_taken_byte_for_byte() {
        for name in ["ann", "Ann", "a b", "ä\u{200b}", "\u{1f600}", &"x".repeat(512)] {
            assert_eq!(body(EndUserNames::AsGiven, name).unwrap().as_deref(), Some(name));
        }
    }

    #[test]
    fn an_invalid_name_is_refused_by_its_character() {
        for (name, what) in [
            (" ann", "begins with the white space U+0020"),
            ("ann\u{3000}", "ends with the white space U+3000"),
            ("a\u{0}b", "control character U+0000"),
            ("a\u{85}", "control character U+0085"),
            ("", "1 to 512 bytes"),
            (&"ä".repeat(257), "1 to 512 bytes"),
        ] {
            let problem = body(EndUserNames::AsGiven, name).unwrap_err();
            assert_eq!(problem.code(), Code::BadField);
            assert!(problem.detail().contains(what), "{}", problem.detail());
        }
    }

    #[test]
    fn a_name_by_claude_code_stands_for_its_account() {
        let name = |name: &str| body(EndUserNames::ClaudeCodeAccount, name).unwrap().unwrap();
        assert_eq!(name(r#"{"device_id":"d","account_uuid":"a","session_id":"s"}"#), "a");
        assert_eq!(name(r#"{"device_id":"d","account_uuid":"","session_id":"s"}"#), "d");
        assert_eq!(name("user_d_account_a_session_s"), "a");
        assert_eq!(name("user_d_account__session_s"), "user_d");
        assert_eq!(name("ann"), "ann");
    }

    #[test]
    fn a_name_in_a_body_can_be_ignored() {
        for names in [EndUserNames::HeaderOnly, EndUserNames::Ignore] {
            assert_eq!(body(names, " \u{0}").unwrap(), None);
        }
    }

    #[test]
    fn header_and_body_may_not_differ() {
        let users = EndUsers::new(EndUserNames::AsGiven, false);
        let both = |header: &str, body: &str| {
            users.of_step(&service(), Some(header.to_owned()), Some(body.to_owned()))
        };
        assert_eq!(both("ann", "ann").unwrap().as_deref(), Some("ann"));
        assert_eq!(both("ann", "bob").unwrap_err().code(), Code::BadField);
    }

    #[test]
    fn a_name_can_be_required_of_those_who_may_name_one() {
        let users = EndUsers::new(EndUserNames::AsGiven, true);
        assert_eq!(users.of_step(&service(), None, None).unwrap_err().code(), Code::BadField);
        let ann = principal("ann", Permissions::of(&[Permission::Generate]));
        assert_eq!(users.of_step(&ann, None, None).unwrap(), None);
        let other = users.of_step(&ann, None, Some("bob".to_owned()));
        assert_eq!(other.unwrap_err().code(), Code::OtherSubject);
    }

    #[test]
    fn requests_without_an_end_user_are_counted_until_one_is_named() {
        let users = EndUsers::new(EndUserNames::AsGiven, false);
        let count = || *users.unnamed.lock().unwrap().peek("key:app").unwrap();
        users.of_step(&service(), None, None).unwrap();
        users.of_step(&service(), None, None).unwrap();
        assert_eq!(count(), 2);
        users.of_step(&service(), None, Some("ann".to_owned())).unwrap();
        users.of_step(&service(), None, None).unwrap();
        assert!(count() > UNNAMED_MAX, "no warning follows");
    }
}
