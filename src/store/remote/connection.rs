//! Redis as a whole: a server, or all masters of a cluster, which of them holds which key, and what to do when keys
//! move.

use std::time::{Duration, Instant};

use ::redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, Value, cmd};

use super::address::Address;
use super::node::{NodeFailure, RedisNode};
use super::op::{self, Keyspace, Op, OpAnswer, OpFailure};
use super::scripts::ScriptForm;
use super::slots::{NodeAddress, SlotMap, slot};
use crate::limit::{Key, Rule};
use crate::plan::Period;

/// How often the operations of one exchange are sent again: for an unknown script, or a key that has moved.
const MAX_ROUNDS: usize = 4;

/// For the other nodes, after the timeout has passed with one: their replies are here, or they are lost too.
const AFTER_A_LOSS: Duration = Duration::from_millis(5);

pub struct RedisConnection {
    /// At least one.
    nodes: Vec<ConnectedNode>,
    /// For a cluster.
    slots: Option<SlotMap>,
    /// The cluster has reported that a slot moved, or a node of it is lost: a new connection is due, though this one
    /// still works.
    pub stale: bool,
}

/// A server, or a master of a cluster.
enum ConnectedNode {
    Live(RedisNode),
    /// Operations on its slots fail at once.
    Lost {
        name: String,
        failure: NodeFailure,
    },
}

impl ConnectedNode {
    fn name(&self) -> &str {
        match self {
            ConnectedNode::Live(node) => &node.name,
            ConnectedNode::Lost { name, .. } => name,
        }
    }

    /// Does something with the node, which is lost if that fails.
    fn attempt<T>(
        &mut self,
        act: impl FnOnce(&mut RedisNode) -> Result<T, NodeFailure>,
    ) -> Result<T, NodeFailure> {
        match self {
            ConnectedNode::Live(node) => match act(node) {
                Ok(done) => Ok(done),
                Err(failure) => {
                    let name = std::mem::take(&mut node.name);
                    *self = ConnectedNode::Lost { name, failure: failure.clone() };
                    Err(failure)
                }
            },
            ConnectedNode::Lost { failure, .. } => Err(failure.clone()),
        }
    }
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
            let node = RedisNode::connect(&address.nodes[0], ca.as_deref(), timeout)?;
            RedisConnection { nodes: vec![ConnectedNode::Live(node)], slots: None, stale: false }
        };
        for node in &mut connection.nodes {
            // If this is not permitted, scripts are sent by text when they are first used.
            let _ = node.attempt(|node| run(node, keyspace.scripts.load(), Instant::now() + timeout));
        }
        connection.probe(keyspace, timeout)?;
        Ok(connection)
    }

    /// Carries out what limits and counters need, on keys of its own: what the user may not do, or the server refuses, is
    /// found now and not by each exchange. The commands of scripts are tried by themselves, since the error of a script
    /// does not say which one is missing.
    fn probe(&mut self, keyspace: &Keyspace, timeout: Duration) -> Result<(), NodeFailure> {
        for node in &mut self.nodes {
            let probes = op::probes(keyspace).into_iter();
            let answers = node.attempt(|node| run(node, probes, Instant::now() + timeout));
            let refused = answers.iter().flatten().find_map(|answer| match answer {
                // Other errors do not matter: of a cluster, a node may not have these keys.
                Value::ServerError(error) if error.code() == "NOPERM" => Some(NodeFailure::from(error)),
                _ => None,
            });
            refused.map_or(Ok(()), Err)?;
        }
        // The bucket is full again in a millisecond, and leaves nothing behind.
        let (rule, key) = (Rule::token_bucket(1_000, Period::Second, 1), Key::new(b""));
        let probes = [Op::Probe, Op::Take { limit: "", rule: &rule, key: &key }];
        let answers = self.exchange(keyspace, &probes, Instant::now() + timeout)?;
        let refused = answers.iter().find_map(|answer| match answer {
            Err(failure @ OpFailure::Refused(_)) => Some(NodeFailure::from(failure)),
            _ => None,
        });
        refused.map_or(Ok(()), Err)
    }

    /// Connects to all masters of the cluster that the seed belongs to: to one at least.
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
        let nodes = masters.iter().map(|master| match connect(master) {
            Ok(node) => ConnectedNode::Live(node),
            Err(failure) => ConnectedNode::Lost { name: format!("{}:{}", master.0, master.1), failure },
        });
        let connection = RedisConnection { nodes: nodes.collect(), slots: Some(slots), stale: false };
        match connection.lost() {
            Some(failure) if connection.is_lost() => Err(failure.clone()),
            lost => Ok(RedisConnection { stale: lost.is_some(), ..connection }),
        }
    }

    /// Why a node is lost, if one is.
    pub fn lost(&self) -> Option<&NodeFailure> {
        self.nodes.iter().find_map(|node| match node {
            ConnectedNode::Lost { failure, .. } => Some(failure),
            ConnectedNode::Live(_) => None,
        })
    }

    /// Whether all nodes are.
    fn is_lost(&self) -> bool {
        self.nodes.iter().all(|node| matches!(node, ConnectedNode::Lost { .. }))
    }

    /// Carries out all operations, and returns one answer for each, in their order.
    ///
    /// # Errors
    /// No node answers any more: none in time, or they have closed their connections. It is unknown then what was
    /// carried out. While others answer, only the operations on a lost node's slots fail.
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
            let values = self.round(keyspace, ops, &keys, &batch, deadline);
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
        if let Some(failure) = self.lost() {
            if self.is_lost() {
                return Err(failure.clone());
            }
            self.stale = true;
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
        mut deadline: Instant,
    ) -> Vec<Result<Value, NodeFailure>> {
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
                // If it fails, so do the replies below.
                let _ = node.attempt(|node| node.send(commands, deadline));
            }
        }
        let mut values = Vec::with_capacity(batch.len());
        for routed in batch {
            let value = self.nodes[routed.node].attempt(|node| {
                if routed.asking {
                    node.receive(deadline)?;
                }
                node.receive(deadline)
            });
            if value.is_err() && self.slots.is_some() {
                deadline = deadline.max(Instant::now() + AFTER_A_LOSS);
            }
            values.push(value);
        }
        values
    }

    /// How to send an operation again, if the reply calls for it.
    fn retry(&mut self, routed: &RoutedOp, value: &Result<Value, NodeFailure>) -> Option<RoutedOp> {
        let Ok(Value::ServerError(error)) = value else { return None };
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
        let node = self.nodes.iter().position(|node| node.name() == name)?;
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

fn answer(value: Result<Value, NodeFailure>) -> OpAnswer {
    match value {
        Ok(Value::ServerError(error)) => Err(OpFailure::Refused(error)),
        Ok(value) => Ok(value),
        Err(failure) => Err(OpFailure::NodeLost(failure)),
    }
}
