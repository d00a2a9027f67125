//! Redis as one: a server, or all masters of a cluster, which of them has which key, and what to do when that changed.

use std::time::{Duration, Instant};

use ::redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Value, cmd};

use super::address::Address;
use super::node::{Failure, Node};
use super::op::{Answer, By, Names, Op};
use super::slots::{Place, Slots, slot};

/// How often the commands of one exchange are sent again: a script that is not known, a key that has moved.
const MAX_ROUNDS: usize = 4;

pub struct Connection {
    /// At least one.
    nodes: Vec<Node>,
    /// For a cluster.
    slots: Option<Slots>,
    /// The cluster has said that a slot has moved: it is time for a new connection, though this one still works.
    pub stale: bool,
}

/// A command to be sent.
struct Job {
    /// Index of the command in the exchange.
    op: usize,
    /// Index in `nodes`.
    node: usize,
    by: By,
    /// The node does not have the slot yet, but has the key already.
    asking: bool,
}

impl Connection {
    /// Connects to all nodes, and finds out whether they can be written to. May take `timeout` several times: it is not
    /// for a thread that others wait for.
    ///
    /// # Errors
    /// The first failure; for a cluster, that of the last seed.
    pub fn open(address: &Address, names: &Names, timeout: Duration) -> Result<Connection, Failure> {
        // Another part of the process may have chosen one before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = match address.ca_file() {
            Some(path) => {
                Some(std::fs::read(path).map_err(|error| Failure(format!("{}: {error}", path.display())))?)
            }
            None => None,
        };
        let mut connection = if address.cluster {
            let mut found = Err(Failure("no node to ask for the cluster".into()));
            for seed in &address.nodes {
                found = Connection::cluster(seed, timeout);
                if found.is_ok() {
                    break;
                }
            }
            found?
        } else {
            let nodes = vec![Node::connect(&address.nodes[0], ca.as_deref(), timeout)?];
            Connection { nodes, slots: None, stale: false }
        };
        for node in &mut connection.nodes {
            // If this is not allowed, scripts are sent by text when they are first used.
            ask(node, names.load_scripts(), Instant::now() + timeout)?;
        }
        match connection.exchange(names, &[Op::Probe], Instant::now() + timeout)?.pop() {
            Some(Ok(_)) => Ok(connection),
            Some(Err(error)) => Err(Failure::from(&error)),
            None => unreachable!("there is an answer for each command"),
        }
    }

    fn cluster(seed: &ConnectionInfo, timeout: Duration) -> Result<Connection, Failure> {
        let mut first = Node::connect(seed, None, timeout)?;
        let mut slots_command = cmd("CLUSTER");
        slots_command.arg("SLOTS");
        let answer = ask(&mut first, [slots_command].into_iter(), Instant::now() + timeout)?.pop();
        let (slots, masters) = match answer {
            Some(Value::ServerError(error)) => return Err(Failure(format!("{}: {error}", first.name))),
            Some(answer) => Slots::parse(&answer, seed_host(seed))
                .map_err(|why| Failure(format!("{}: {why}", first.name)))?,
            None => unreachable!("there is an answer for each command"),
        };
        let connect = |(host, port): &Place| {
            let place =
                (host.as_str(), *port).into_connection_info().map_err(|error| Failure(error.to_string()))?;
            let info = place.set_redis_settings(seed.redis_settings().clone());
            Node::connect(&info, None, timeout)
        };
        let nodes = masters.iter().map(connect).collect::<Result<_, _>>()?;
        Ok(Connection { nodes, slots: Some(slots), stale: false })
    }

    /// Sends all commands, and reads all answers: one for each, in their order.
    ///
    /// # Errors
    /// Any node did not answer in time, or hung up. It is not known then what was done.
    pub fn exchange(&mut self, names: &Names, ops: &[Op], deadline: Instant) -> Result<Vec<Answer>, Failure> {
        let keys: Vec<Vec<u8>> = ops.iter().map(|op| op.key(names)).collect();
        let mut answers: Vec<Option<Answer>> = ops.iter().map(|_| None).collect();
        let first = |(op, key): (usize, &Vec<u8>)| {
            let node = self.slots.as_ref().map_or(0, |slots| slots.node(slot(key)));
            Job { op, node, by: By::Hash, asking: false }
        };
        let mut jobs: Vec<Job> = keys.iter().enumerate().map(first).collect();
        for round in 1.. {
            let values = self.round(names, ops, &keys, &jobs, deadline)?;
            let mut again = Vec::new();
            for (job, value) in jobs.into_iter().zip(values) {
                let retry = if round < MAX_ROUNDS { self.retry(&job, &value) } else { None };
                match retry {
                    Some(job) => again.push(job),
                    None => answers[job.op] = Some(answer(value)),
                }
            }
            jobs = again;
            if jobs.is_empty() {
                break;
            }
        }
        Ok(answers
            .into_iter()
            .map(|answer| answer.expect("a command without answer is retried or given up"))
            .collect())
    }

    /// Values in the order of the jobs.
    fn round(
        &mut self,
        names: &Names,
        ops: &[Op],
        keys: &[Vec<u8>],
        jobs: &[Job],
        deadline: Instant,
    ) -> Result<Vec<Value>, Failure> {
        let mut packed = vec![Vec::new(); self.nodes.len()];
        for job in jobs {
            let out = &mut packed[job.node];
            if job.asking {
                cmd("ASKING").write_packed_command(out);
            }
            ops[job.op].command(names, &keys[job.op], job.by).write_packed_command(out);
        }
        for (node, commands) in self.nodes.iter_mut().zip(&packed) {
            if !commands.is_empty() {
                node.send(commands, deadline)?;
            }
        }
        let mut values = Vec::with_capacity(jobs.len());
        for job in jobs {
            let node = &mut self.nodes[job.node];
            if job.asking {
                node.receive(deadline)?;
            }
            values.push(node.receive(deadline)?);
        }
        Ok(values)
    }

    /// How to ask again, if the answer says so.
    fn retry(&mut self, job: &Job, value: &Value) -> Option<Job> {
        let Value::ServerError(error) = value else { return None };
        let asking = match error.code() {
            "NOSCRIPT" if job.by == By::Hash => return Some(Job { by: By::Text, ..*job }),
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        self.stale = true;
        // "3999 127.0.0.1:6381"
        let (_, name) = error.details()?.split_once(' ')?;
        let node = self.nodes.iter().position(|node| node.name == name)?;
        Some(Job { node, asking, ..*job })
    }
}

/// Asks one node outside of an exchange.
fn ask(
    node: &mut Node,
    commands: impl Iterator<Item = Cmd>,
    deadline: Instant,
) -> Result<Vec<Value>, Failure> {
    let mut packed = Vec::new();
    let sent = commands.map(|command| command.write_packed_command(&mut packed)).count();
    node.send(&packed, deadline)?;
    (0..sent).map(|_| node.receive(deadline)).collect()
}

fn seed_host(seed: &ConnectionInfo) -> &str {
    match seed.addr() {
        ConnectionAddr::Tcp(host, _) => host,
        _ => "",
    }
}

fn answer(value: Value) -> Answer {
    match value {
        Value::ServerError(error) => Err(error),
        value => Ok(value),
    }
}
