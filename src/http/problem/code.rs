//! The table of error codes. A code is never reused and never changes its meaning.

#[cfg(test)]
mod tests;

use actix_web::http::StatusCode;

macro_rules! codes {
    ($($name:ident $text:literal $status:literal $title:literal, $example:literal;)*) => {
        /// An error code. Codes with status 200 occur only in logs and events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $text, "` (", stringify!($status), "): ", $title, ".")] $name,)*
        }

        impl Code {
            /// All codes, in ascending order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as text, such as `E101`.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Summary of the error, the same for every error with this code.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }

            /// A typical `detail` of an error with this code, for the OpenAPI document.
            pub const fn example_detail(self) -> &'static str {
                match self { $(Self::$name => $example,)* }
            }

            const fn status_number(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }
        }
    };
}

// E1 input, E2 auth, E3 moral, E4 memory and log, E5 rhythm, E6 model, E7 system, E8 config, E9 API
codes! {
    BadJson "E101" 400 "The body is not JSON",
        "invalid JSON at line 1 column 12";
    BadField "E102" 400 "A field is unknown, missing or of the wrong type",
        "the field `prompt` is missing";
    PromptBlank "E103" 400 "The prompt is blank",
        "the prompt has no text; send at least one word";
    PromptTooLong "E104" 400 "The prompt is too long",
        "the prompt is longer than 10000 characters; shorten it";
    MoralValueRange "E105" 400 "moral_value is out of range",
        "moral_value must be between 0 and 1";
    MaxTokensRange "E106" 400 "max_tokens is out of range",
        "max_tokens must be between 1 and 4096";
    ContextTopKRange "E107" 400 "context_top_k is out of range",
        "context_top_k must be between 0 and 20";
    BadMetadata "E108" 400 "metadata is not valid",
        "metadata may have at most 16 entries, names of 1 to 64 and texts of up to 512 characters";
    InvalidEngineId "E109" 400 "The engine id is not valid",
        "an engine id is 1 to 64 characters of a-z, 0-9, '-' and '_', but not \"system\"";
    BadParameter "E110" 400 "A path or query parameter is not valid",
        "limit must be between 1 and 500";
    MoralValueRequired "E111" 400 "moral_value is required",
        "this engine has no scorer (policy.moral.scorer = none); send moral_value with the request";
    BadHeader "E112" 400 "A header is not valid",
        "idempotency-key must be 1 to 255 printable characters";
    BadChat "E113" 400 "The chat is not valid",
        "messages[0]: role must be system, developer, user, assistant or tool";
    ModelCannot "E114" 400 "The model cannot serve this request",
        "the model is not allowed; GET /v1/models lists the allowed models";
    Unauthenticated "E201" 401 "Not authenticated",
        "no valid credential; send `Authorization: Bearer <token>` or `X-API-Key: <key>`";
    Forbidden "E202" 403 "Permission denied",
        "none of your roles grants the permission generate; GET /v1/me lists your permissions";
    OtherSubject "E203" 403 "Subject delegation denied",
        "acting for another end user needs the permission subject:delegate; name yourself or no end \
         user";
    KeyNotFound "E204" 404 "The API key does not exist",
        "no API key has this id; GET /v1/keys lists the keys";
    TooManyKeys "E205" 409 "The limit of API keys is reached",
        "there are 10000 API keys; revoke one that is not needed";
    KeysNotTaken "E206" 409 "API keys are disabled",
        "auth.mode is oidc, which accepts no API keys; set it to `oidc+keys`, `keys` or `dev`";
    MoralRefusal "E301" 200 "Morally rejected",
        "the moral score of the prompt is below the threshold";
    ContentFilter "E302" 400 "Rejected by the moral filter",
        "the moral score of the prompt is below the threshold; sending it again does not help";
    LogUnavailable "E401" 503 "The event log is not available",
        "the database of the event log is unavailable; try again later";
    DiskFull "E402" 503 "The disk of the event log is full",
        "the disk of the event log is full; free disk space on the database server";
    EngineRefused "E403" 503 "The engine's event log cannot be read",
        "the keys of the engine cannot be decrypted; check the configured content key";
    WriterQueueFull "E404" 503 "The queue of the engine's writer is full",
        "too many commands are waiting for this engine; try again later";
    IdempotencyRunning "E405" 409 "The request with this Idempotency-Key is still running",
        "a request with this Idempotency-Key is still running; try again later";
    IdempotencyMismatch "E406" 422 "The Idempotency-Key was used with another body",
        "the Idempotency-Key was used with another body; use a new key";
    Erased "E407" 410 "The content was erased",
        "the answer of the earlier request was erased";
    EngineNotFound "E408" 404 "The engine does not exist",
        "engine support does not exist";
    EngineExists "E409" 409 "The engine already exists",
        "engine support already exists; choose another id";
    EventNotFound "E410" 404 "The event does not exist",
        "the log ends at position 41; choose a position up to that one";
    EngineUntrusted "E411" 503 "The engine's event log cannot be trusted",
        "the log cannot be trusted, so the engine accepts no commands: engine default, position 42: the \
         hash chain is broken; `mlsdm audit verify` shows where it was edited";
    SleepRefusal "E501" 200 "Rejected in the sleep phase",
        "the engine is in its sleep phase";
    Asleep "E502" 429 "The engine is in its sleep phase",
        "the engine is in its sleep phase; send the request again, each request shortens the phase";
    BudgetSpent "E505" 429 "The budget is exhausted",
        "the token budget of this window is exhausted; wait for the seconds in Retry-After";
    BudgetHolders "E506" 503 "Too many data subjects have a budget in this window",
        "the engine cannot track another data subject's budget in this window; wait for the seconds \
         in Retry-After";
    NoPrice "E507" 400 "The model has no price",
        "a cost budget applies and the model has no price; add it to the policy";
    ModelFailed "E601" 502 "The model failed",
        "step 7 failed: the model provider answered with an error";
    ModelTimedOut "E602" 504 "The model timed out",
        "step 7 failed: the model did not answer in time";
    EmptyResponse "E603" 502 "The model's answer was empty",
        "step 7 failed: the model's answer was empty";
    EmbeddingFailed "E604" 502 "The embedder failed",
        "step 7 failed: the embedding server answered with an error";
    Cancelled "E605" 499 "The request was cancelled",
        "the client closed the connection";
    StepAbandoned "E606" 504 "The step was closed as abandoned",
        "the answer to step 7 arrived after the step had been closed as abandoned";
    ModelUnavailable "E607" 503 "The model is temporarily unavailable",
        "step 7 failed: the model provider is overloaded";
    ModelMisconfigured "E608" 502 "The model provider rejected the server's credential",
        "step 7 failed: the model provider rejected the API key of this server";
    EmbedderUnavailable "E609" 503 "The embedder is temporarily unavailable",
        "step 7 failed: the embedding server is overloaded";
    ProviderRefused "E610" 400 "The model provider rejected the request",
        "step 7 failed while the model was called (refused, status 400, context_length_exceeded); the \
         prompt is too long for the context window of the model: shorten the messages";
    ModelNotFound "E611" 404 "The model does not exist",
        "this model is not allowed; GET /v1/models lists the allowed models (llm.models)";
    ProviderTooLarge "E612" 413 "The request is too large for the model provider",
        "step 7 failed while the model was called (refused, status 413, request_too_large)";
    ProviderUnprocessable "E613" 422 "The model provider cannot process the request",
        "step 7 failed while the model was called (refused, status 422, invalid_request)";
    ModelRateLimited "E614" 429 "The model provider limits the rate of requests",
        "step 7 failed while the model was called (overloaded, status 429, rate_limit_exceeded)";
    ModelQuota "E615" 429 "The quota at the model provider is exhausted",
        "step 7 failed while the model was called (insufficient_quota, status 429); sending it again \
         does not help until the operator of this server raises the quota at the provider";
    DeadlineExceeded "E616" 504 "The time limit of the request is over",
        "step 7 failed while the model was called (deadline); the server had no time left to call the \
         model, send the request again";
    EmergencyShutdown "E701" 503 "The engine is shut down",
        "the engine was shut down by an operator; POST /v1/admin/resume resumes it";
    Draining "E702" 503 "The server is stopping",
        "the server is stopping; use another replica, or try again later";
    Internal "E703" 500 "Internal error",
        "an internal error; search the server's log for this request_id to find the cause";
    OverConcurrency "E704" 503 "The server is at its concurrency limit",
        "the server is at its concurrency limit; try again later, or raise limits.step_concurrency or \
         limits.step_queue";
    Starting "E705" 503 "The server is not ready yet",
        "the default engine is being loaded; try again later";
    OverMemory "E706" 503 "The server is at its memory limit for requests",
        "the requests that run hold too much memory; try again later, or raise limits.inflight_bytes";
    BadPolicy "E801" 422 "The policy is not valid",
        "the policy cannot be parsed: unknown field `morl`";
    NotFound "E901" 404 "The resource does not exist",
        "no route has this path; /openapi.json lists all routes";
    MethodNotAllowed "E902" 405 "The resource does not support this method",
        "this resource supports only GET, HEAD";
    UnsupportedMediaType "E903" 415 "The media type is not supported",
        "the body is not declared as JSON; send the header Content-Type: application/json";
    PayloadTooLarge "E904" 413 "The body is too large",
        "the body is larger than 2097152 bytes; send less, or raise limits.body_bytes";
    BadRequest "E905" 400 "The request cannot be read",
        "the body could not be read completely; check Content-Length and Content-Encoding";
    TooManyRequests "E907" 429 "The rate limit is exceeded",
        "the rate limit is exceeded; wait for the seconds in Retry-After, or ask the operator for a \
         higher limit";
    OriginNotAllowed "E908" 403 "The origin is not allowed",
        "pages of this origin may not make this request; add the origin to api.cors_origins to allow \
         it";
    BodyTimedOut "E909" 408 "The body did not arrive in time",
        "the body did not arrive in time; send it together with the head";
}

/// `Retry-After` of temporary errors whose end is not known, in seconds.
const RETRY_SOON: u64 = 1;
/// `Retry-After` of errors that an operator or the end of a budget window resolves, in seconds.
const RETRY_LATER: u64 = 30;

impl Code {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// False for errors that SDKs would retry by their status although that does not help.
    pub(super) const fn may_retry(self) -> bool {
        !matches!(self, Self::ModelQuota | Self::ModelMisconfigured)
    }

    /// The default of `Retry-After`, which every 429 and 503 has that a retry may resolve.
    pub(super) const fn retry_after_seconds(self) -> Option<u64> {
        if !matches!(self.status_number(), 429 | 503) || !self.may_retry() {
            return None;
        }
        let lasting = matches!(
            self,
            Self::DiskFull
                | Self::EngineRefused
                | Self::EngineUntrusted
                | Self::EmergencyShutdown
                | Self::BudgetSpent
                | Self::BudgetHolders
        );
        Some(if lasting { RETRY_LATER } else { RETRY_SOON })
    }
}
