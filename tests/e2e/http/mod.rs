//! HTTP/1 on the wire: what passes, what is refused, in which order, and how fast.

mod chunk_sizes;
mod exchange;
mod framing;
mod headers;
mod hostile_peers;
mod http10;
mod leaving;
mod many_connections;
mod min_rate;
mod mutations;
mod own_answers;
mod route_timeout;
mod size_limits;
mod slow_clients;
mod streaming;
mod strict_bodies;
mod strict_requests;
mod strict_responses;
mod tunnels;
