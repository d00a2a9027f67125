//! The admin listener: its own thread and event loop, so that neither shards nor control wait for a slow client.

mod connection;
pub mod decide;
pub mod response;

use std::cell::Cell;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use ::http::Version;
use crossbeam_channel::Sender;
use monoio::net::TcpStream;
use monoio::time::{sleep, timeout};
use monoio::{LegacyDriver, RuntimeBuilder};
use monoio_http::common::request::RequestHead;

use crate::control::ControlEvent;
use crate::control::failure::StartFailure;
use crate::net::doorbell::{self, Post};
use connection::AdminConnection;
use decide::{AdminDecision, AdminRequest};
use response::AdminResponse;

/// Connections at a time; one more is closed.
const CONNECTIONS: usize = 64;
/// From the accept to the first byte of the first request.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// Between two requests.
const IDLE: Duration = Duration::from_secs(60);
/// Until control answers; a reload that waits for names and shards takes the longest.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A question to control, and where the answer goes.
pub struct AdminCall {
    pub ask: AdminRequest,
    pub reply: Post<AdminResponse>,
}

/// Serves `listener` on a thread of its own for the process's life.
pub fn start(listener: TcpListener, events: Sender<ControlEvent>) -> Result<(), StartFailure> {
    listener.set_nonblocking(true).map_err(|error| StartFailure::thread("admin", &error))?;
    let body = move || {
        // A panic would be a defect in one answer; the next request finds the listener up again.
        while catch_unwind(AssertUnwindSafe(|| serve(&listener, &events))).is_err() {
            tracing::error!("the admin listener has panicked and starts again");
        }
    };
    thread::Builder::new()
        .name("admin".into())
        .spawn(body)
        .map_err(|error| StartFailure::thread("admin", &error))?;
    Ok(())
}

fn serve(listener: &TcpListener, events: &Sender<ControlEvent>) {
    let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build();
    let served = runtime.and_then(|mut runtime| runtime.block_on(accept(listener.try_clone()?, events)));
    if let Err(error) = served {
        tracing::error!("the admin listener is gone: {error}");
    }
}

async fn accept(listener: TcpListener, events: &Sender<ControlEvent>) -> std::io::Result<()> {
    let listener = monoio::net::TcpListener::from_std(listener)?;
    let open = Rc::new(Cell::new(0_usize));
    loop {
        match listener.accept().await {
            Ok((stream, _)) if open.get() < CONNECTIONS => {
                let (guard, events) = (CountedConnection::new(&open), events.clone());
                monoio::spawn(async move {
                    converse(stream, &events).await;
                    drop(guard);
                });
            }
            Ok(_) => tracing::warn!("more than {CONNECTIONS} admin connections: one was closed"),
            // Out of descriptors, most likely: without a pause this would spin.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One connection in the count, until dropped.
struct CountedConnection(Rc<Cell<usize>>);

impl CountedConnection {
    fn new(count: &Rc<Cell<usize>>) -> CountedConnection {
        count.set(count.get() + 1);
        CountedConnection(count.clone())
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn converse(stream: TcpStream, events: &Sender<ControlEvent>) {
    let mut wire = AdminConnection::new(stream);
    let mut idle = FIRST_WITHIN;
    loop {
        let (answer, with_body, keep_open) = match wire.head(idle).await {
            Ok(Some(head)) => {
                let keep_open = wire.discard_body(&head).await && wants_more(&head);
                (answer_to(&head, events).await, head.method != "HEAD", keep_open)
            }
            Ok(None) => return,
            Err(refusal) => (refusal, true, false),
        };
        if wire.send(answer.to_bytes(with_body, keep_open)).await.is_err() {
            return;
        }
        if !keep_open {
            return wire.close().await;
        }
        idle = IDLE;
    }
}

async fn answer_to(head: &RequestHead, events: &Sender<ControlEvent>) -> AdminResponse {
    let mut hosts = head.headers.get_all("host").iter();
    let host = hosts.next().filter(|_| hosts.next().is_none());
    let decision = decide::decide(&decide::Head {
        method: head.method.as_str(),
        path: head.uri.path(),
        host: host.map(|host| host.as_bytes()),
        needs_host: head.version >= Version::HTTP_11,
        origin: head.headers.get("origin").map(|origin| origin.as_bytes()),
    });
    match decision {
        AdminDecision::Respond(answer) => answer,
        AdminDecision::Forward(ask) => ask_control(ask, events).await,
    }
}

async fn ask_control(ask: AdminRequest, events: &Sender<ControlEvent>) -> AdminResponse {
    let silent = || AdminResponse::problem(503, "no_answer", "the control thread does not answer");
    let Ok((reply, mailbox)) = doorbell::mailbox(1) else { return silent() };
    if events.send(ControlEvent::Admin(AdminCall { ask, reply })).is_err() {
        return silent();
    }
    let mut answer = None;
    let heard = mailbox.listen(|came| {
        answer = Some(came);
        false
    });
    let _ = timeout(ANSWER_WITHIN, heard).await;
    answer.unwrap_or_else(silent)
}

/// Whether the client keeps the connection (RFC 9112, 9.3).
fn wants_more(head: &RequestHead) -> bool {
    let fields = head.headers.get_all("connection");
    let says = |option: &str| {
        let values = fields.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        values.into_iter().any(|value| value.trim().eq_ignore_ascii_case(option))
    };
    if head.version >= Version::HTTP_11 { !says("close") } else { says("keep-alive") }
}
