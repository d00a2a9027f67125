//! Redis as a whole: a server, or all masters of a cluster, which of them holds which key, and what to do when keys
//! move.

use std::time::{Duration, Instant};

use ::redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Value, cmd};

use super::address::Address;
use super::node::{NodeFailure, RedisNode};
use super::op::{Keyspace, Op, OpAnswer};
use super::scripts::ScriptForm;
use super::slots::{NodeAddress, SlotMap, slot};

/// How often the operations of one exchange are sent again: for an unknown script, or a key that has moved.
const MAX_ROUNDS: usize = 4;

pub struct RedisConnection {
    /// At least one.
    nodes: Vec<RedisNode>,
    /// For a cluster.
    slots: Option<SlotMap>,
    /// The cluster has reported that a slot moved: a new connection is due, though this one still works.
    pub stale: bool,
}

/// An operation and where to send it.
struct RoutedOp {
    /// Index of the operation in the exchange.
    op: usize,
    /// Index in `nodes`.
    node: usize,
    form: ScriptForm,
    /// The slot is on its way to this node, and the key has arrived: the command follows an ASKING.
    asking: bool,
}

impl RedisConnection {
    /// Connects to all nodes, and checks that they can be written to. May take `timeout` several times: not for a
    /// thread that others wait for.
    ///
    /// # Errors
    /// The first failure; for a cluster, that of the last seed.
    pub fn open(
        address: &Address,
        keyspace: &Keyspace,
        timeout: Duration,
    ) -> Result<RedisConnection, NodeFailure> {
        // Another part of the process may have installed one before.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let ca = match address.ca_file() {
            Some(path) => Some(
                std::fs::read(path).map_err(|error| NodeFailure(format!("{}: {error}", path.display())))?,
            ),
            None => None,
        };
        let mut connection = if address.cluster {
            let mut found = Err(NodeFailure("no node to ask for the cluster".into()));
            for seed in &address.nodes {
                found = RedisConnection::cluster(seed, timeout);
                if found.is_ok() {
                    break;
                }
            }
            found?
        } else {
            let nodes = vec![RedisNode::connect(&address.nodes[0], ca.as_deref(), timeout)?];
            RedisConnection { nodes, slots: None, stale: false }
        };
        for node in &mut connection.nodes {
            // If this is not permitted, scripts are sent by text when they are first used.
            run(node, keyspace.scripts.load(), Instant::now() + timeout)?;
        }
        match connection.exchange(keyspace, &[Op::Probe], Instant::now() + timeout)?.pop() {
            Some(Ok(_)) => Ok(connection),
            Some(Err(error)) => Err(NodeFailure::from(&error)),
            None => unreachable!("there is an answer for each command"),
        }
    }

    /// Connects to all masters of the cluster that the seed belongs to.
    fn cluster(seed: &ConnectionInfo, timeout: Duration) -> Result<RedisConnection, NodeFailure> {
        let mut first = RedisNode::connect(seed, None, timeout)?;
        let mut slots_command = cmd("CLUSTER");
        slots_command.arg("SLOTS");
        let answer = run(&mut first, [slots_command].into_iter(), Instant::now() + timeout)?.pop();
        let (slots, masters) = match answer {
            Some(Value::ServerError(error)) => return Err(NodeFailure(format!("{}: {error}", first.name))),
            Some(answer) => SlotMap::parse(&answer, seed_host(seed))
                .map_err(|why| NodeFailure(format!("{}: {why}", first.name)))?,
            None => unreachable!("there is an answer for each command"),
        };
        let connect = |(host, port): &NodeAddress| {
            let info = (host.as_str(), *port)
                .into_connection_info()
                .map_err(|error| NodeFailure(error.to_string()))?;
            RedisNode::connect(&info.set_redis_settings(seed.redis_settings().clone()), None, timeout)
        };
        let nodes = masters.iter().map(connect).collect::<Result<_, _>>()?;
        Ok(RedisConnection { nodes, slots: Some(slots), stale: false })
    }

    /// Carries out all operations, and returns one answer for each, in their order.
    ///
    /// # Errors
    /// A node did not answer in time, or closed its connection. It is unknown then what was carried out.
    pub fn exchange(
        &mut self,
        keyspace: &Keyspace,
        ops: &[Op],
        deadline: Instant,
    ) -> Result<Vec<OpAnswer>, NodeFailure> {
        let keys: Vec<Vec<u8>> = ops.iter().map(|op| op.key(keyspace)).collect();
        let mut answers: Vec<Option<OpAnswer>> = ops.iter().map(|_| None).collect();
        let first = |(op, key): (usize, &Vec<u8>)| {
            let node = self.slots.as_ref().map_or(0, |slots| slots.node(slot(key)));
            RoutedOp { op, node, form: ScriptForm::Hash, asking: false }
        };
        let mut batch: Vec<RoutedOp> = keys.iter().enumerate().map(first).collect();
        for round in 1.. {
            let values = self.round(keyspace, ops, &keys, &batch, deadline)?;
            let mut again = Vec::new();
            for (routed, value) in batch.into_iter().zip(values) {
                let retry = if round < MAX_ROUNDS { self.retry(&routed, &value) } else { None };
                match retry {
                    Some(routed) => again.push(routed),
                    None => answers[routed.op] = Some(answer(value)),
                }
            }
            batch = again;
            if batch.is_empty() {
                break;
            }
        }
        Ok(answers
            .into_iter()
            .map(|answer| answer.expect("an operation ends with an answer, or is sent again"))
            .collect())
    }

    /// Sends all operations, then reads the replies, in the order of the operations.
    fn round(
        &mut self,
        keyspace: &Keyspace,
        ops: &[Op],
        keys: &[Vec<u8>],
        batch: &[RoutedOp],
        deadline: Instant,
    ) -> Result<Vec<Value>, NodeFailure> {
        let mut packed = vec![Vec::new(); self.nodes.len()];
        for routed in batch {
            let out = &mut packed[routed.node];
            if routed.asking {
                cmd("ASKING").write_packed_command(out);
            }
            ops[routed.op].command(keyspace, &keys[routed.op], routed.form).write_packed_command(out);
        }
        for (node, commands) in self.nodes.iter_mut().zip(&packed) {
            if !commands.is_empty() {
                node.send(commands, deadline)?;
            }
        }
        let mut values = Vec::with_capacity(batch.len());
        for routed in batch {
            let node = &mut self.nodes[routed.node];
            if routed.asking {
                node.receive(deadline)?;
            }
            values.push(node.receive(deadline)?);
        }
        Ok(values)
    }

    /// How to send an operation again, if the reply calls for it.
    fn retry(&mut self, routed: &RoutedOp, value: &Value) -> Option<RoutedOp> {
        let Value::ServerError(error) = value else { return None };
        let asking = match error.code() {
            "NOSCRIPT" if routed.form == ScriptForm::Hash => {
                return Some(RoutedOp { form: ScriptForm::Text, ..*routed });
            }
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        self.stale = true;
        // "3999 127.0.0.1:6381"
        let (_, name) = error.details()?.split_once(' ')?;
        let node = self.nodes.iter().position(|node| node.name == name)?;
        Some(RoutedOp { node, asking, ..*routed })
    }
}

/// Runs commands on one node, outside of an exchange.
fn run(
    node: &mut RedisNode,
    commands: impl Iterator<Item = Cmd>,
    deadline: Instant,
) -> Result<Vec<Value>, NodeFailure> {
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

fn answer(value: Value) -> OpAnswer {
    match value {
        Value::ServerError(error) => Err(error),
        value => Ok(value),
    }
}
