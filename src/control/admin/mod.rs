//! The admin listener: its own thread and event loop, so that neither shards nor control wait for a slow client.
//!
//! `connection` reads a head, `decide` says what it asks for, and either the response is ready at once or the request
//! goes to control as an [`AdminCall`], whose response comes back through a mailbox.

mod connection;
pub mod decide;
pub mod response;

use std::cell::Cell;
use std::net::TcpListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
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
use decide::{AdminDecision, AdminRequest, AdminRules};
use response::AdminResponse;

/// Connections at a time; one more is closed.
const MAX_CONNECTIONS: usize = 64;
/// From the accept to the first byte of the first request.
const FIRST_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two requests.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Until control responds; a reload that waits for names and shards takes the longest.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A request to control, and where the response goes.
pub struct AdminCall {
    pub request: AdminRequest,
    pub responder: Post<AdminResponse>,
}

/// The rules by which the listener's thread decides; control replaces them at a reload.
#[derive(Clone)]
pub struct SharedRules(Arc<Mutex<Arc<AdminRules>>>);

impl SharedRules {
    pub fn new(rules: AdminRules) -> SharedRules {
        SharedRules(Arc::new(Mutex::new(Arc::new(rules))))
    }

    /// From the next request on.
    pub fn set(&self, rules: AdminRules) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    fn get(&self) -> Arc<AdminRules> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Serves `listener` on a thread of its own for the life of the process.
///
/// # Errors
/// The thread cannot be created.
pub fn start(
    listener: TcpListener,
    events: Sender<ControlEvent>,
    rules: SharedRules,
) -> Result<(), StartFailure> {
    listener.set_nonblocking(true).map_err(|error| StartFailure::thread("admin", &error))?;
    let body = move || {
        // A panic is a defect in one response; the listener must be there for the next request.
        while catch_unwind(AssertUnwindSafe(|| serve(&listener, &events, &rules))).is_err() {
            tracing::error!("the admin listener has panicked and starts again");
        }
    };
    thread::Builder::new()
        .name("admin".into())
        .spawn(body)
        .map_err(|error| StartFailure::thread("admin", &error))?;
    Ok(())
}

/// Runs the event loop; it returns only if the loop cannot go on.
fn serve(listener: &TcpListener, events: &Sender<ControlEvent>, rules: &SharedRules) {
    let runtime = RuntimeBuilder::<LegacyDriver>::new().enable_timer().build();
    let served =
        runtime.and_then(|mut runtime| runtime.block_on(accept(listener.try_clone()?, events, rules)));
    if let Err(error) = served {
        tracing::error!("the admin listener is gone: {error}");
    }
}

/// Accepts connections for ever; each is a task of this event loop.
async fn accept(
    listener: TcpListener,
    events: &Sender<ControlEvent>,
    rules: &SharedRules,
) -> std::io::Result<()> {
    let listener = monoio::net::TcpListener::from_std(listener)?;
    let open = Rc::new(Cell::new(0_usize));
    loop {
        match listener.accept().await {
            Ok((stream, _)) if open.get() < MAX_CONNECTIONS => {
                let (guard, events, rules) = (CountedConnection::new(&open), events.clone(), rules.clone());
                monoio::spawn(async move {
                    serve_connection(stream, &events, &rules).await;
                    drop(guard);
                });
            }
            Ok(_) => tracing::warn!("more than {MAX_CONNECTIONS} admin connections: one was closed"),
            // Out of descriptors, most likely: without a pause this loop would spin.
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Counts one open connection until it is dropped.
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

/// Serves the requests of one connection, one after the other.
async fn serve_connection(stream: TcpStream, events: &Sender<ControlEvent>, rules: &SharedRules) {
    let mut connection = AdminConnection::new(stream);
    let mut idle = FIRST_TIMEOUT;
    loop {
        let (response, with_body, keep_open) = match connection.head(idle).await {
            Ok(Some(head)) => {
                // Even where the body is refused the request is answered, and then the connection is closed.
                let keep_open = connection.discard_body(&head).await && is_kept_alive(&head);
                (response_to(&head, events, &rules.get()).await, head.method != "HEAD", keep_open)
            }
            Ok(None) => return,
            Err(refusal) => (refusal, true, false),
        };
        if connection.send(response.to_bytes(with_body, keep_open)).await.is_err() {
            return;
        }
        if !keep_open {
            return connection.close().await;
        }
        idle = IDLE_TIMEOUT;
    }
}

/// Decides on the request, and gets the response from control if it needs to.
async fn response_to(head: &RequestHead, events: &Sender<ControlEvent>, rules: &AdminRules) -> AdminResponse {
    let only = |name: &str| {
        let mut values = head.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(|value| value.as_bytes())
    };
    let head = decide::Head {
        method: head.method.as_str(),
        path: head.uri.path(),
        host: only("host"),
        needs_host: head.version >= Version::HTTP_11,
        origin: head.headers.get("origin").map(|origin| origin.as_bytes()),
        authorization: only("authorization"),
    };
    let decision = decide::decide(&head, rules);
    match decision {
        AdminDecision::Respond(response) => response,
        AdminDecision::Forward(request) => call_control(request, events).await,
    }
}

/// Sends a request to the control thread and waits for its response.
async fn call_control(request: AdminRequest, events: &Sender<ControlEvent>) -> AdminResponse {
    let no_answer = || AdminResponse::problem(503, "no_answer", "the control thread does not answer");
    let Ok((responder, mailbox)) = doorbell::mailbox(1) else { return no_answer() };
    if events.send(ControlEvent::Admin(AdminCall { request, responder })).is_err() {
        return no_answer();
    }
    let mut response = None;
    let received = mailbox.listen(|message| {
        response = Some(message);
        false
    });
    // Dropped on a timeout: a late response then finds the mailbox closed.
    let _ = timeout(RESPONSE_TIMEOUT, received).await;
    response.unwrap_or_else(no_answer)
}

/// Whether the client keeps the connection open (RFC 9112, 9.3).
fn is_kept_alive(head: &RequestHead) -> bool {
    let fields = head.headers.get_all("connection");
    let has = |option: &str| {
        let values = fields.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        values.into_iter().any(|value| value.trim().eq_ignore_ascii_case(option))
    };
    if head.version >= Version::HTTP_11 { !has("close") } else { has("keep-alive") }
}
