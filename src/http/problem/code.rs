//! The table of error codes. Codes are never reused and never change their meaning.

#[cfg(test)]
mod tests;

use actix_web::http::StatusCode;

macro_rules! codes {
    ($($name:ident $text:literal $status:literal $title:literal,)*) => {
        /// Every error a caller can see, and every refusal the log names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $text, "` (", stringify!($status), "): ", $title, ".")] $name,)*
        }

        impl Code {
            /// All codes, in order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as text.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What is wrong, the same for every error of this code.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
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
    BadField "E102" 400 "A field is unknown, missing or of the wrong type",
    PromptBlank "E103" 400 "The prompt is blank",
    PromptTooLong "E104" 400 "The prompt is too long",
    MoralValueRange "E105" 400 "moral_value is out of range",
    MaxTokensRange "E106" 400 "max_tokens is out of range",
    ContextTopKRange "E107" 400 "context_top_k is out of range",
    BadMetadata "E108" 400 "metadata is not acceptable",
    InvalidEngineId "E109" 400 "Not an engine id",
    BadParameter "E110" 400 "A path or query parameter is not acceptable",
    MoralValueRequired "E111" 400 "moral_value is required",
    BadHeader "E112" 400 "A header is not acceptable",
    BadChat "E113" 400 "The chat is not acceptable",
    ModelCannot "E114" 400 "The model cannot be asked for this",
    Unauthenticated "E201" 401 "Not authenticated",
    Forbidden "E202" 403 "Not permitted",
    OtherSubject "E203" 403 "Speaking for somebody else is not permitted",
    KeyNotFound "E204" 404 "No such API key",
    TooManyKeys "E205" 409 "There are too many API keys",
    KeysNotTaken "E206" 409 "This server takes no API keys",
    MoralRefusal "E301" 200 "Morally rejected",
    ContentFilter "E302" 400 "Refused by the moral filter",
    LogUnavailable "E401" 503 "The log is not available",
    DiskFull "E402" 503 "The disk of the log is full",
    EngineRefused "E403" 503 "The engine's log cannot be read",
    WriterQueueFull "E404" 503 "Too many commands wait for this engine",
    IdempotencyRunning "E405" 409 "The request with this Idempotency-Key is still running",
    IdempotencyMismatch "E406" 422 "The Idempotency-Key was used with another body",
    Erased "E407" 410 "The content was erased",
    EngineNotFound "E408" 404 "No such engine",
    EngineExists "E409" 409 "The engine exists already",
    EventNotFound "E410" 404 "No such event",
    SleepRefusal "E501" 200 "Rejected in the sleep phase",
    Asleep "E502" 429 "The engine sleeps and answers nothing meanwhile",
    BudgetSpent "E505" 429 "The budget is spent",
    BudgetHolders "E506" 503 "Too many data subjects have a budget in this window",
    NoPrice "E507" 400 "The model has no price",
    ModelFailed "E601" 502 "The model failed",
    ModelTimedOut "E602" 504 "The model took too long",
    EmptyResponse "E603" 502 "The model's answer was empty",
    EmbeddingFailed "E604" 502 "The embedder failed",
    Cancelled "E605" 499 "The request was cancelled",
    StepAbandoned "E606" 504 "The step was closed as abandoned",
    ModelUnavailable "E607" 503 "The model is not available now",
    ModelMisconfigured "E608" 502 "The model refuses this server",
    EmbedderUnavailable "E609" 503 "The embedder is not available",
    EmergencyShutdown "E701" 503 "The engine is shut down",
    Draining "E702" 503 "The server is stopping",
    Internal "E703" 500 "Internal error",
    OverConcurrency "E704" 503 "Too many requests at once",
    Starting "E705" 503 "The server is not ready yet",
    BadPolicy "E801" 422 "The policy is not acceptable",
    NotFound "E901" 404 "No such resource",
    MethodNotAllowed "E902" 405 "The resource has no such method",
    UnsupportedMediaType "E903" 415 "The media type is not supported",
    PayloadTooLarge "E904" 413 "The body is too large",
    BadRequest "E905" 400 "The request could not be understood",
    TooManyRequests "E907" 429 "Too many requests from one caller",
    OriginNotAllowed "E908" 403 "Pages of this origin may not call",
    BodyTimedOut "E909" 408 "The body did not come in time",
}

/// Seconds after which a refused request may be tried again, when nothing better is known.
const RETRY_SOON: u64 = 1;
/// As above, for what a person or a window's end has to end.
const RETRY_LATER: u64 = 30;

impl Code {
    /// The HTTP status; 200 for refusals, which are answers and stand only in logs and events.
    pub fn status(self) -> StatusCode {
        StatusCode::from_u16(self.status_number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The least wait that `Retry-After` names: every 429 and 503 has one.
    pub(super) const fn retry_after_seconds(self) -> Option<u64> {
        if !matches!(self.status_number(), 429 | 503) {
            return None;
        }
        let lasting = matches!(
            self,
            Self::DiskFull
                | Self::EngineRefused
                | Self::EmergencyShutdown
                | Self::BudgetSpent
                | Self::BudgetHolders
        );
        Some(if lasting { RETRY_LATER } else { RETRY_SOON })
    }
}
