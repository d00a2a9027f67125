//! The error of a request: what went wrong, who is at fault, and whether a retry is safe.

use std::borrow::Cow;

/// Why the gateway answered by itself. The names are stable: they appear in the response's `reason`, in the access log and
/// as a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    BadRequest,
    NoCredentials,
    InvalidToken,
    TokenExpired,
    InvalidApiKey,
    /// The caller is known, but lacks something that the route requires.
    Forbidden,
    IpDenied,
    NoRoute,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    UriTooLong,
    HeadersTooLarge,
    /// A rate limit has no token left.
    RateLimited,
    /// The client closed before it had the response. Never sent; logged with status 499.
    ClientClosed,
    /// The process ended before the request did. Never sent; logged with status 503 where no response had begun.
    Shutdown,
    /// A script denied the request.
    ScriptDenied,
    /// A script failed.
    ScriptError,
    /// The gateway itself failed: a panic in the connection's own code.
    Internal,
    UpstreamConnect,
    UpstreamReset,
    UpstreamProtocol,
    /// The breakers of all endpoints are open.
    CircuitOpen,
    NoTarget,
    Overloaded,
    /// The store does not answer, and the route requires it.
    StoreUnavailable,
    UpstreamTimeout,
}

impl Reason {
    /// Every reason, for metrics and tests.
    pub const ALL: [Reason; 27] = [
        Reason::BadRequest,
        Reason::NoCredentials,
        Reason::InvalidToken,
        Reason::TokenExpired,
        Reason::InvalidApiKey,
        Reason::Forbidden,
        Reason::IpDenied,
        Reason::NoRoute,
        Reason::MethodNotAllowed,
        Reason::RequestTimeout,
        Reason::BodyTooLarge,
        Reason::UriTooLong,
        Reason::HeadersTooLarge,
        Reason::RateLimited,
        Reason::ClientClosed,
        Reason::Shutdown,
        Reason::ScriptDenied,
        Reason::ScriptError,
        Reason::Internal,
        Reason::UpstreamConnect,
        Reason::UpstreamReset,
        Reason::UpstreamProtocol,
        Reason::CircuitOpen,
        Reason::NoTarget,
        Reason::Overloaded,
        Reason::StoreUnavailable,
        Reason::UpstreamTimeout,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The status code of the response.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The `error` member of the response: a short sentence for people.
    pub const fn error(self) -> &'static str {
        self.row().2
    }

    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Reason::BadRequest => (400, "bad_request", "Bad request"),
            Reason::NoCredentials => (401, "no_credentials", "No token provided"),
            Reason::InvalidToken => (401, "invalid_token", "Invalid token"),
            Reason::TokenExpired => (401, "token_expired", "Token expired"),
            Reason::InvalidApiKey => (401, "invalid_api_key", "Invalid API key"),
            Reason::Forbidden => (403, "forbidden", "Forbidden"),
            Reason::IpDenied => (403, "ip_denied", "Forbidden"),
            Reason::NoRoute => (404, "no_route", "Not found"),
            Reason::MethodNotAllowed => (405, "method_not_allowed", "Method not allowed"),
            Reason::RequestTimeout => (408, "request_timeout", "Request timeout"),
            Reason::BodyTooLarge => (413, "body_too_large", "Request body too large"),
            Reason::UriTooLong => (414, "uri_too_long", "Request target too long"),
            Reason::HeadersTooLarge => (431, "headers_too_large", "Request header fields too large"),
            Reason::RateLimited => (429, "rate_limited", "Rate limit exceeded"),
            Reason::ClientClosed => (499, "client_closed", "Client closed the connection"),
            Reason::Shutdown => (503, "shutdown", "Service unavailable"),
            Reason::ScriptDenied => (403, "script_denied", "Forbidden"),
            Reason::ScriptError => (500, "script_error", "Internal error"),
            Reason::Internal => (500, "internal", "Internal error"),
            Reason::UpstreamConnect => (502, "upstream_connect", "Bad gateway"),
            Reason::UpstreamReset => (502, "upstream_reset", "Bad gateway"),
            Reason::UpstreamProtocol => (502, "upstream_protocol", "Bad gateway"),
            Reason::CircuitOpen => (503, "circuit_open", "Service unavailable"),
            Reason::NoTarget => (503, "no_target", "Service unavailable"),
            Reason::Overloaded => (503, "overloaded", "Service unavailable"),
            Reason::StoreUnavailable => (503, "store_unavailable", "Service unavailable"),
            Reason::UpstreamTimeout => (504, "upstream_timeout", "Gateway timeout"),
        }
    }
}

/// Who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOrigin {
    Client,
    Upstream,
    Gateway,
}

/// Whether the request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The upstream may have acted on it.
    Never,
    /// Only when the method is idempotent (RFC 9110, 9.2.2).
    IfIdempotent,
    /// Only where the configuration says so, and only when the method is idempotent: the endpoint itself has failed.
    IfSetUp,
    /// Nothing of it was sent.
    Safe,
}

/// An error that ends an exchange, or one attempt of it.
#[derive(Clone, Debug)]
pub struct Error {
    pub reason: Reason,
    pub source: FaultOrigin,
    pub retry: Retry,
    /// What went wrong exactly.
    pub detail: Cow<'static, str>,
    /// The response says the detail too; otherwise it is for the log alone.
    pub tells_detail: bool,
    /// Header fields of the response beside those of every problem document.
    pub fields: Vec<(&'static str, String)>,
    /// Seconds until a retry may succeed, if known: `Retry-After`.
    pub retry_after_s: Option<u64>,
}

impl Error {
    /// An error of the client: never retried. The response tells its detail.
    pub fn client(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(reason, FaultOrigin::Client, Retry::Never, detail.into())
    }

    /// An error of the upstream.
    pub fn upstream(reason: Reason, retry: Retry, detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(reason, FaultOrigin::Upstream, retry, detail.into())
    }

    /// An error of the gateway.
    pub fn gateway(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Error {
        Error::new(reason, FaultOrigin::Gateway, Retry::Never, detail.into())
    }

    fn new(reason: Reason, source: FaultOrigin, retry: Retry, detail: Cow<'static, str>) -> Error {
        let tells_detail = source == FaultOrigin::Client;
        Error { reason, source, retry, detail, tells_detail, fields: Vec::new(), retry_after_s: None }
    }

    /// Keeps the detail for the log: it would help a stranger.
    pub fn untold(self) -> Error {
        Error { tells_detail: false, ..self }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_name_and_an_error_status() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|r| r.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
        assert!(Reason::ALL.iter().all(|r| (400..600).contains(&r.status())));
    }
}
