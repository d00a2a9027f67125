//! Field names that the gateway itself acts on, recognised without allocation.

macro_rules! names {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// A field name that the gateway knows; every other one is `Other`.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum FieldName {
            #[default]
            Other = 0,
            $($variant),+
        }

        impl FieldName {
            /// Every known name, without `Other`.
            pub const ALL: &'static [FieldName] = &[$(FieldName::$variant),+];

            /// Lower case; empty for `Other`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    FieldName::Other => "",
                    $(FieldName::$variant => $text),+
                }
            }
        }
    };
}

names! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ProxyAuthorization = "proxy-authorization",
    ProxyAuthenticate = "proxy-authenticate",
    Expect = "expect",
    MaxForwards = "max-forwards",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedPrefix = "x-forwarded-prefix",
    XForwardedPort = "x-forwarded-port",
    Forwarded = "forwarded",
    XRealIp = "x-real-ip",
    XRequestId = "x-request-id",
    XConsumerName = "x-consumer-name",
    XConsumerGroups = "x-consumer-groups",
    Via = "via",
    Date = "date",
    Location = "location",
    Allow = "allow",
    Server = "server",
    RetryAfter = "retry-after",
    Authorization = "authorization",
    WwwAuthenticate = "www-authenticate",
    Cookie = "cookie",
    SetCookie = "set-cookie",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    AcceptLanguage = "accept-language",
    UserAgent = "user-agent",
    Referer = "referer",
    Origin = "origin",
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    ContentRange = "content-range",
    Etag = "etag",
    LastModified = "last-modified",
    CacheControl = "cache-control",
    Pragma = "pragma",
    Vary = "vary",
    Age = "age",
    Expires = "expires",
    IfMatch = "if-match",
    IfNoneMatch = "if-none-match",
    IfModifiedSince = "if-modified-since",
    IfUnmodifiedSince = "if-unmodified-since",
    IfRange = "if-range",
    Range = "range",
    AccessControlRequestMethod = "access-control-request-method",
    AccessControlRequestHeaders = "access-control-request-headers",
}

/// A hash table with at most one name in a slot: built and checked at compile time. Each slot holds the text beside the
/// name, so that a look-up touches one place.
static SLOTS: [(&str, FieldName); 256] = slots();

const fn slots() -> [(&'static str, FieldName); 256] {
    let mut slots = [("", FieldName::Other); 256];
    let mut i = 0;
    while i < FieldName::ALL.len() {
        let (text, name) = (FieldName::ALL[i].as_str(), FieldName::ALL[i]);
        let at = slot(text.as_bytes());
        assert!(
            matches!(slots[at].1, FieldName::Other),
            "two names share a slot: choose other factors in slot()"
        );
        slots[at] = (text, name);
        i += 1;
    }
    slots
}

/// A perfect hash of the known names: of the length and three letters, regardless of case.
const fn slot(name: &[u8]) -> usize {
    let len = name.len();
    if len == 0 {
        return 0;
    }
    let first = (name[0] | 0x20) as usize;
    let inner = (name[len.saturating_sub(4)] | 0x20) as usize;
    let last = (name[len - 1] | 0x20) as usize;
    (9 * (len & 0xff) + 21 * first + inner + 9 * last) % 256
}

impl FieldName {
    /// The known name that `name` equals in any case.
    pub fn of(name: &[u8]) -> FieldName {
        let (text, known) = SLOTS[slot(name)];
        if text.as_bytes().eq_ignore_ascii_case(name) { known } else { FieldName::Other }
    }

    /// The bit of this name in a set of names; 0 for `Other`.
    pub(super) const fn bit(self) -> u64 {
        if matches!(self, FieldName::Other) { 0 } else { 1 << (self as u8) }
    }
}

const _: () = assert!(FieldName::ALL.len() < 64, "a set of names is a u64");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_recognised_in_any_case() {
        for &name in FieldName::ALL {
            let text = name.as_str();
            assert_eq!(FieldName::of(text.as_bytes()), name);
            assert_eq!(FieldName::of(text.to_ascii_uppercase().as_bytes()), name);
            let mixed: String = text
                .char_indices()
                .map(|(i, c)| if i % 2 == 0 { c.to_ascii_uppercase() } else { c })
                .collect();
            assert_eq!(FieldName::of(mixed.as_bytes()), name);
        }
    }

    #[test]
    fn a_name_that_differs_in_one_byte_is_another_one() {
        for &name in FieldName::ALL {
            for at in 0..name.as_str().len() {
                let mut other = name.as_str().as_bytes().to_vec();
                other[at] = if other[at] == b'-' { b'_' } else { b'~' };
                assert_eq!(FieldName::of(&other), FieldName::Other, "{}", String::from_utf8_lossy(&other));
            }
            assert_eq!(FieldName::of(format!("{}s", name.as_str()).as_bytes()), FieldName::Other);
        }
        assert_eq!(FieldName::of(b""), FieldName::Other);
        assert_eq!(FieldName::of(&[0xff; 300]), FieldName::Other);
    }
}
