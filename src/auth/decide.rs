//! Authentication by a route's `auth`: the first method that accepts the request's credential decides.

use std::rc::Rc;
use std::sync::Arc;

use super::api_keys::{Consumers, DynamicKeys};
use super::cache::TokenCache;
use super::jwt::{Claims, MAX_TOKEN_BYTES, Provider, TokenFailure};
use super::token::{self, CredentialSource, FoundCredential};
use crate::plan::{ApiKeyHash, AuthMethod, Consumer, CredentialPlace};

/// What a shard authenticates with.
pub struct Authenticator<'a> {
    /// All configured providers in their order: [`AuthMethod::Jwt`] holds an index.
    pub providers: &'a [Arc<Provider>],
    pub consumers: &'a Consumers,
    /// `None`: they have not been read from the store yet, so that no API key can be decided about.
    pub dynamic_keys: Option<&'a DynamicKeys>,
    /// The places of API keys, in the order in which they are tried.
    pub key_places: &'a [CredentialPlace],
    pub tokens: &'a mut TokenCache,
}

/// The authenticated caller.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The method that accepted the credential.
    pub method: AuthMethod,
    /// `None`: a token that names no configured consumer.
    pub consumer: Option<Arc<Consumer>>,
    /// `None`: an API key.
    pub claims: Option<Rc<Claims>>,
}

/// Why a caller is not authenticated, or not yet. The texts are for the log and quote nothing of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NoCredentials,
    InvalidToken(&'static str),
    TokenExpired,
    InvalidApiKey(&'static str),
    /// An API key was presented, and which keys were added and revoked is not known yet.
    KeysUnknown,
}

impl Refusal {
    /// The stable name of the reason; the status is 401 for all but `store_unavailable`, which is 503.
    pub fn reason(&self) -> &'static str {
        match self {
            Refusal::NoCredentials => "no_credentials",
            Refusal::InvalidToken(_) => "invalid_token",
            Refusal::TokenExpired => "token_expired",
            Refusal::InvalidApiKey(_) => "invalid_api_key",
            Refusal::KeysUnknown => "store_unavailable",
        }
    }
}

/// A refused request.
#[derive(Debug, PartialEq, Eq)]
pub struct Denied {
    pub refusal: Refusal,
    /// The values of the response's `WWW-Authenticate` fields, one for each kind of method; empty for
    /// [`Refusal::KeysUnknown`] alone, where other credentials are not what is lacking.
    pub challenges: Vec<&'static str>,
    /// The providers whose key sets lack the token's key: any of them may have signed it with a newer one. After a fetch
    /// that changed the set, the request may be decided again.
    pub unknown_key_of: Vec<usize>,
}

impl Authenticator<'_> {
    /// Tries the methods (at least one) in their order at `now_s` (Unix seconds); the first that accepts decides.
    ///
    /// # Errors
    /// Where no method accepts: an API key that cannot be decided about yet takes precedence; then an expired token,
    /// which the client can renew; then the first refused credential; then that there is none.
    pub fn decide(
        &mut self,
        methods: &[AuthMethod],
        request: &impl CredentialSource,
        now_s: u64,
    ) -> Result<Identity, Denied> {
        let (mut refused, mut unknown_key_of) = (None, Vec::new());
        for &method in methods {
            let refusal = match method {
                AuthMethod::Key => match self.by_key(request) {
                    Ok(identity) => return Ok(identity),
                    Err(refusal) => refusal,
                },
                AuthMethod::Jwt(index) => match self.by_token(index, request, now_s) {
                    Ok(identity) => return Ok(identity),
                    Err(TokenRefusal { refusal, unknown_key }) => {
                        unknown_key_of.extend(unknown_key.then_some(index));
                        refusal
                    }
                },
            };
            if refused.is_none_or(|refused| precedence(refusal) > precedence(refused)) {
                refused = Some(refusal);
            }
        }
        let refusal = refused.unwrap_or(Refusal::NoCredentials);
        Err(Denied { refusal, challenges: challenges(methods, refusal), unknown_key_of })
    }

    fn by_key(&self, request: &impl CredentialSource) -> Result<Identity, Refusal> {
        let key = match token::find(self.key_places, request, ApiKeyHash::MAX_KEY_BYTES) {
            FoundCredential::Nothing => return Err(Refusal::NoCredentials),
            FoundCredential::Refused(why) => return Err(Refusal::InvalidApiKey(why)),
            FoundCredential::Token(key) => key,
        };
        let dynamic_keys = self.dynamic_keys.ok_or(Refusal::KeysUnknown)?;
        let consumer = self.consumers.by_key(&key, dynamic_keys).map_err(Refusal::InvalidApiKey)?;
        Ok(Identity { method: AuthMethod::Key, consumer: Some(consumer.clone()), claims: None })
    }

    fn by_token(
        &mut self,
        index: usize,
        request: &impl CredentialSource,
        now_s: u64,
    ) -> Result<Identity, TokenRefusal> {
        let provider = &*self.providers[index];
        let token = match token::find(&provider.plan().from, request, MAX_TOKEN_BYTES) {
            FoundCredential::Nothing => return Err(Refusal::NoCredentials.into()),
            FoundCredential::Refused(why) => return Err(Refusal::InvalidToken(why).into()),
            FoundCredential::Token(token) => token,
        };
        let claims = self.tokens.verify(provider, &token, now_s)?;
        let name = claims.map.get(&*provider.plan().consumer_claim).and_then(|name| name.as_str());
        let consumer = name.and_then(|name| self.consumers.by_name(name)).cloned();
        Ok(Identity { method: AuthMethod::Jwt(index), consumer, claims: Some(claims) })
    }
}

struct TokenRefusal {
    refusal: Refusal,
    unknown_key: bool,
}

impl From<Refusal> for TokenRefusal {
    fn from(refusal: Refusal) -> TokenRefusal {
        TokenRefusal { refusal, unknown_key: false }
    }
}

impl From<TokenFailure> for TokenRefusal {
    fn from(failure: TokenFailure) -> TokenRefusal {
        match failure {
            TokenFailure::Invalid(why) => Refusal::InvalidToken(why).into(),
            TokenFailure::Expired => Refusal::TokenExpired.into(),
            TokenFailure::UnknownKey => TokenRefusal {
                refusal: Refusal::InvalidToken("the token's key is not in the key set"),
                unknown_key: true,
            },
        }
    }
}

/// The precedence of a refusal among several.
fn precedence(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::NoCredentials => 0,
        Refusal::InvalidToken(_) | Refusal::InvalidApiKey(_) => 1,
        Refusal::TokenExpired => 2,
        Refusal::KeysUnknown => 3,
    }
}

/// The challenges for a route's methods (RFC 9110, 11.6.1). Without a token in the request they hold no error (RFC 6750,
/// 3.1). API keys have no registered scheme; `Key` is the one that Kong uses.
fn challenges(methods: &[AuthMethod], refusal: Refusal) -> Vec<&'static str> {
    let bearer = match refusal {
        Refusal::InvalidToken(_) => r#"Bearer realm="ringway", error="invalid_token""#,
        Refusal::TokenExpired => {
            r#"Bearer realm="ringway", error="invalid_token", error_description="The token expired""#
        }
        Refusal::NoCredentials | Refusal::InvalidApiKey(_) => r#"Bearer realm="ringway""#,
        Refusal::KeysUnknown => return Vec::new(),
    };
    let mut challenges = Vec::new();
    for method in methods {
        let challenge = match method {
            AuthMethod::Jwt(_) => bearer,
            AuthMethod::Key => r#"Key realm="ringway""#,
        };
        if !challenges.contains(&challenge) {
            challenges.push(challenge);
        }
    }
    challenges
}
