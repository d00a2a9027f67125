//! `[server]`, `[log]` and `[store]`: the process, whatever its routes are.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::{Keyword, Secret};

/// `[server]`: where clients connect, and what serves them.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// At least one.
    pub listen: Vec<SocketAddr>,
    /// `None`: one per CPU that this process may use.
    pub shards: Option<usize>,
    pub pin_cores: bool,
    pub driver: Driver,
    pub trusted_proxies: Vec<IpNet>,
    pub drain_timeout: Duration,
    pub limits: ServerLimits,
}

/// How shards wait for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    Auto,
    IoUring,
    Epoll,
}

impl Keyword for Driver {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Driver::Auto), ("io_uring", Driver::IoUring), ("epoll", Driver::Epoll)];
}

/// `[server.limits]`: what one client may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerLimits {
    /// Bytes of a request head, request line included.
    pub header_bytes: usize,
    /// Fields of a request head.
    pub header_count: usize,
    /// Bytes of a request body; `u64::MAX`: unlimited.
    pub body_bytes: u64,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
    /// Between two reads of a request body, and between two writes that the client takes.
    pub body_timeout: Duration,
    /// Bytes a second that a client must send of its body and take of its response, while it is waited for; 0: any.
    pub min_rate: u64,
    /// Idle, between two requests.
    pub keepalive_timeout: Duration,
    /// Client connections per shard.
    pub max_connections: usize,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct LogSettings {
    pub access: AccessFormat,
    pub target: LogTarget,
    pub level: LogLevel,
}

/// The format of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    Json,
    Common,
    Off,
}

impl Keyword for AccessFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("json", AccessFormat::Json), ("common", AccessFormat::Common), ("off", AccessFormat::Off)];
}

/// Where the access log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    Stdout,
    File(PathBuf),
}

/// The least severe diagnostics that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Keyword for LogLevel {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
}

/// `[store]`: the view that all gateways of the same Redis share.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreSettings {
    /// As written; it may hold a password.
    pub url: Secret,
    /// Of one exchange.
    pub timeout: Duration,
    /// In front of every key; visible ASCII, not empty.
    pub key_prefix: Arc<str>,
}

/// `[admin]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminSettings {
    pub listen: SocketAddr,
    /// More names that the `Host` of a request may have, in lower case.
    pub hosts: Vec<Arc<str>>,
    /// What a request must show; `None`: the address alone protects the listener. Visible ASCII.
    pub token: Option<Secret>,
}
