//! Clients of a cluster's databases, which write documents and read them again all the time.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::cluster::{TestCluster, USER};
use crate::until::until;

/// Clients of some databases at some pods.
#[derive(Debug)]
pub struct Clients {
    state: Arc<Mutex<State>>,
    databases: Vec<&'static str>,
    tasks: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Paths of documents whose write was answered with 201.
    acknowledged: Vec<String>,
    failures: Vec<String>,
    /// Reads of acknowledged documents that were answered with 404.
    wrong_reads: Vec<String>,
}

/// The answers that clients got.
#[derive(Debug)]
pub struct Answers {
    /// The number of acknowledged documents.
    pub acknowledged: usize,
    /// Requests that were not answered as on an untouched cluster, in words.
    pub failures: Vec<String>,
    /// Reads of acknowledged documents that were answered with 404, in words. They are among the failures as well.
    pub wrong_reads: Vec<String>,
}

impl Answers {
    /// The number of writes that were answered, and of other answers than expected.
    pub fn count(&self) -> usize {
        self.acknowledged + self.failures.len()
    }
}

impl Clients {
    /// Starts a client of each database at each of the pods, and waits until they have written some documents.
    ///
    /// # Panics
    ///
    /// If no document is acknowledged.
    pub async fn start(
        cluster: &TestCluster,
        pods: impl IntoIterator<Item = usize>,
        databases: impl IntoIterator<Item = &'static str>,
    ) -> Self {
        let databases = Vec::from_iter(databases);
        let (state, mut tasks) = (Arc::new(Mutex::new(State::default())), JoinSet::new());
        for pod in pods {
            for &database in &databases {
                let client = Client {
                    pod,
                    url: cluster.node(pod).url(),
                    password: cluster.pod(pod).container("couchdb").expect("CouchDB").env["COUCHDB_PASSWORD"]
                        .clone(),
                    database,
                };
                tasks.spawn(client.write_and_read(Arc::clone(&state)));
            }
        }
        let clients = Self { state, databases, tasks };
        until("written documents", DEADLINE, async || {
            let written = clients.with(|state| state.acknowledged.len());
            if written > 20 {
                Ok(())
            } else {
                Err((written, clients.with(|state| state.failures.first().cloned())))
            }
        })
        .await;
        clients
    }

    /// The answers until now.
    pub fn answers(&self) -> Answers {
        self.with(|state| Answers {
            acknowledged: state.acknowledged.len(),
            failures: state.failures.clone(),
            wrong_reads: state.wrong_reads.clone(),
        })
    }

    /// Waits until every document that was acknowledged until now is on each of these pods.
    ///
    /// # Panics
    ///
    /// If one is missing for long.
    pub async fn until_complete(&self, cluster: &TestCluster, pods: impl IntoIterator<Item = usize>) {
        let acknowledged = self.with(|state| state.acknowledged.clone());
        for i in pods {
            for database in &self.databases {
                // A view or `_all_docs` is answered by one copy of each range.
                until("all documents", DEADLINE, async || {
                    let all = cluster.get(i, &format!("/{database}/_all_docs")).await;
                    let rows = all["rows"].as_array().into_iter().flatten();
                    let ids: BTreeSet<&str> = rows.filter_map(|row| row["id"].as_str()).collect();
                    let prefix = format!("/{database}/");
                    let missing: Vec<&String> = acknowledged
                        .iter()
                        .filter(|path| path.strip_prefix(&prefix).is_some_and(|id| !ids.contains(id)))
                        .collect();
                    match missing.first() {
                        None => Ok(()),
                        Some(first) => Err((i, missing.len(), (*first).clone())),
                    }
                })
                .await;
            }
        }
    }

    /// Ends the clients.
    pub async fn end(&mut self) {
        self.tasks.shutdown().await;
    }

    fn with<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A client of one database at one pod.
struct Client {
    pod: usize,
    url: String,
    password: String,
    database: &'static str,
}

impl Client {
    async fn write_and_read(self, state: Arc<Mutex<State>>) {
        let client = reqwest::Client::new();
        let mut pause = tokio::time::interval(BETWEEN_WRITES);
        let note =
            |change: &dyn Fn(&mut State)| change(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        for count in 0_u64.. {
            pause.tick().await;
            let path = format!("/{}/{}-{count}", self.database, self.pod);
            let url = format!("{}{path}", self.url);
            match self.send(client.put(&url).json(&json!({}))).await {
                Ok(201) => note(&|state| state.acknowledged.push(path.clone())),
                // A copy that is filled counts as one that is down: a database with a single copy has no majority then.
                Ok(202) if self.database == "single" => continue,
                answer => {
                    note(&|state| {
                        state.failures.push(format!("a write of {url} was answered with {answer:?}"))
                    });
                    continue;
                }
            }
            match self.send(client.get(&url)).await {
                Ok(200) => {}
                answer => note(&|state| {
                    let text = format!("a read of {url} was answered with {answer:?}");
                    if answer == Ok(404) {
                        state.wrong_reads.push(text.clone());
                    }
                    state.failures.push(text);
                }),
            }
        }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<u16, String> {
        let request = request.basic_auth(USER, Some(&self.password)).timeout(ANSWERED_WITHIN);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        Ok(answer.status().as_u16())
    }
}

/// Between two writes of one client.
const BETWEEN_WRITES: Duration = Duration::from_millis(40);
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// Longer than any step takes, also on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
