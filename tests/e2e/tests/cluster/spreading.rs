//! More nodes, with copies moved to them while clients write and read.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use contract::keys;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::diagnosis::{all_ready, is_ready};
use crate::set::{NAME, Set, example};
use crate::waiting::{Look, until};

/// Ends when the new nodes have their share: the old copies stay readable for some minutes more.
#[tokio::test]
#[ignore = "needs a cluster"]
async fn copies_are_spread_over_two_new_nodes_while_clients_write_and_read_and_a_pod_is_lost() {
    let set = Set::formed("spreading", &example()).await;
    for (database, shape) in DATABASES {
        let path = format!("/{database}?{shape}");
        let (status, body) = set.call(&set.pods().await[0], Method::PUT, &path, Value::Null).await.unwrap();
        assert_eq!(status, 201, "{body}");
        set.write(database, 0..20).await;
    }
    set.kubectl.run(&["scale", "statefulset", NAME, "--replicas=5"]).await;
    // Not settled: a database with a single copy is a condition.
    set.until_pods("five ready pods", |pods| all_ready(pods, 5)).await;
    let loads = loads(&maps(&set).await.unwrap());
    let share = loads.values().sum::<usize>() / 5;
    assert_eq!(loads.len(), 3, "{loads:?}");

    set.kubectl.run(&["annotate", "statefulset", NAME, &format!("{}=all", keys::REBALANCE)]).await;
    let clients = Clients::default();
    let spread = async {
        until_moving(&set).await;
        set.kubectl.run(&["delete", "pod", "couchdb-1", "--wait=false"]).await;
        until_spread(&set, share).await;
        set.until_pods("five ready pods", |pods| all_ready(pods, 5)).await;
    };
    tokio::select! {
        () = spread => {}
        () = clients.follow(&set) => {}
        () = clients.write(&set) => {}
        () = clients.read(&set) => {}
    }
    until_copies_are_equal(&set).await;
    clients.check(&set).await;
    set.delete().await;
}

/// Clients that choose ready pods, as the Service does.
#[derive(Default)]
struct Clients {
    ready: RefCell<Vec<Value>>,
    /// The paths of documents that a majority has acknowledged.
    acknowledged: RefCell<Vec<String>>,
    reads: RefCell<usize>,
    /// Answers of ready pods without an acknowledged document.
    missed: RefCell<Vec<String>>,
}

impl Clients {
    /// Keeps the list of ready pods current.
    async fn follow(&self, set: &Set) {
        loop {
            self.ready.replace(set.pods().await.into_iter().filter(is_ready).collect());
        }
    }

    async fn write(&self, set: &Set) {
        for id in 0_usize.. {
            let path = format!("/{}/meanwhile-{id}", DATABASES[id % 2].0);
            if let Some((201, _)) = self.call(set, id, Method::PUT, &path, json!({})).await {
                self.acknowledged.borrow_mut().push(path);
            }
        }
    }

    async fn read(&self, set: &Set) {
        for turn in 0_usize.. {
            let path = self.choose(turn).unwrap_or_else(|| format!("/{}/1", DATABASES[0].0));
            match self.call(set, turn, Method::GET, &path, Value::Null).await {
                Some((200, _)) => *self.reads.borrow_mut() += 1,
                Some((404, body)) => self.missed.borrow_mut().push(format!("{path}: {body}")),
                // A pod that is being replaced does not answer.
                Some(_) | None => {}
            }
        }
    }

    /// Calls one of the ready pods, another one each turn.
    async fn call(
        &self,
        set: &Set,
        turn: usize,
        method: Method,
        path: &str,
        body: Value,
    ) -> Option<(u16, Value)> {
        let pod = {
            let ready = self.ready.borrow();
            ready.get(turn % ready.len().max(1)).cloned()
        };
        let Some(pod) = pod else {
            tokio::task::yield_now().await;
            return None;
        };
        timeout(CALL, set.call(&pod, method, path, body)).await.ok()?.ok()
    }

    /// The newest document and another one by turns: a copy that is being filled has the old ones first.
    fn choose(&self, turn: usize) -> Option<String> {
        let acknowledged = self.acknowledged.borrow();
        let newest = acknowledged.len().checked_sub(1)?;
        acknowledged.get(if turn.is_multiple_of(2) { newest } else { turn % acknowledged.len() }).cloned()
    }

    /// Reads every acknowledged document from each pod.
    async fn check(self, set: &Set) {
        let missed = self.missed.into_inner();
        assert!(missed.is_empty(), "{missed:#?}");
        let (acknowledged, reads) = (self.acknowledged.into_inner(), self.reads.into_inner());
        assert!(acknowledged.len() > 50 && reads > 50, "{} writes, {reads} reads", acknowledged.len());
        println!("{} writes, {reads} reads", acknowledged.len());
        for pod in set.pods().await {
            for path in &acknowledged {
                let (status, body) = set.call(&pod, Method::GET, path, Value::Null).await.unwrap();
                assert_eq!(status, 200, "{path} on {}: {body}", pod["metadata"]["name"]);
            }
        }
        for (database, _) in DATABASES {
            set.read(database, 0..20).await;
        }
    }
}

/// The documents of `_dbs` of the node whose agent moves the copies.
async fn maps(set: &Set) -> Result<Vec<Value>, String> {
    let pods = set.pods().await;
    let lowest = pods.first().ok_or("there is no pod")?;
    let path = "/_node/_local/_dbs/_all_docs?include_docs=true";
    let (status, body) = set.call(lowest, Method::GET, path, Value::Null).await?;
    if status != 200 {
        return Err(format!("{status}: {body}"));
    }
    let rows = body["rows"].as_array().into_iter().flatten();
    Ok(rows.map(|row| row["doc"].clone()).filter(|map| map["by_node"].is_object()).collect())
}

/// The number of ranges by node, placeholders included.
fn loads(maps: &[Value]) -> BTreeMap<String, usize> {
    let mut loads = BTreeMap::new();
    for (node, ranges) in maps.iter().filter_map(|map| map["by_node"].as_object()).flatten() {
        *loads.entry(node.clone()).or_default() += ranges.as_array().map_or(0, Vec::len);
    }
    loads
}

/// Waits until a copy is being filled on a new node.
async fn until_moving(set: &Set) {
    let look = async || match maps(set).await {
        Ok(maps) if loads(&maps).len() > 3 => Look::Done(()),
        Ok(maps) => Look::Waiting(format!("{:?}", loads(&maps))),
        Err(error) => Look::Waiting(error),
    };
    until("a copy on a new node", look, async || set.diagnosis().await).await;
}

/// Waits until the maps name both new nodes for this many copies, and no copy is being filled.
async fn until_spread(set: &Set, share: usize) {
    let new = [set.node(3), set.node(4)];
    let look = async || {
        let loads = loads(&maps(set).await?);
        let filling = loads.keys().any(|node| node.starts_with(FILLING) && !node.starts_with(NO_COPY));
        let has_share = |node: &String| loads.get(node).is_some_and(|copies| *copies >= share);
        if !filling && new.iter().all(has_share) {
            return Ok(());
        }
        let page = set.page(set.pods().await.first().ok_or("there is no pod")?).await;
        Err(format!("{loads:?} {:?}", page.map(|page| (page.step.reason, page.moves))))
    };
    until("copies on both new nodes", async || look().await.into(), async || set.diagnosis().await).await;
}

/// Waits until all copies of each range have the same number of documents. Ends only after the clients.
async fn until_copies_are_equal(set: &Set) {
    let look = async || {
        for map in maps(set).await? {
            for (range, nodes) in map["by_range"].as_object().into_iter().flatten() {
                let counts = counts(set, &map, range, nodes).await?;
                if counts.values().any(|count| Some(count) != counts.values().next()) {
                    return Err(format!("{} {range}: {counts:?}", map["_id"]));
                }
            }
        }
        Ok(())
    };
    until("equal copies", async || look().await.into(), async || set.diagnosis().await).await;
}

/// The number of documents in each copy of a range, by node.
async fn counts(set: &Set, map: &Value, range: &str, nodes: &Value) -> Result<BTreeMap<String, u64>, String> {
    let suffix = map["shard_suffix"].as_array().into_iter().flatten();
    let suffix: String =
        suffix.filter_map(Value::as_u64).filter_map(|byte| u8::try_from(byte).ok()).map(char::from).collect();
    let database = map["_id"].as_str().unwrap_or_default();
    let pods = set.pods().await;
    let mut counts = BTreeMap::new();
    let names = nodes.as_array().into_iter().flatten().filter_map(Value::as_str);
    for node in names.filter(|name| !name.starts_with(FILLING)) {
        let path = format!("/_node/{node}/shards%2F{range}%2F{database}{suffix}");
        let (status, body) = set.call(&pods[0], Method::GET, &path, Value::Null).await?;
        let count = body["doc_count"].as_u64();
        counts.insert(node.to_owned(), count.ok_or_else(|| format!("{path}: {status} {body}"))?);
    }
    Ok(counts)
}

/// One with as many copies of each range as nodes, and one whose only copies move.
const DATABASES: [(&str, &str); 2] = [("orders", "n=3&q=4"), ("single", "n=1&q=8")];
/// The address of a pod that is gone does not refuse, it is silent.
const CALL: Duration = Duration::from_secs(2);
/// The prefix of the names that stand in maps for copies that are being filled.
const FILLING: &str = "couchdiscover-fill-";
/// The prefix of the name that stands for no copy.
const NO_COPY: &str = "couchdiscover-fill-none-";
