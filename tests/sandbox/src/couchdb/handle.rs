//! What a test does to one node.

use std::net::SocketAddr;
use std::time::Duration;

use super::calls::{Call, Which};
use super::erlang_ports::Service;
use super::finish::FinishFault;
use super::network::{Network, NetworkError};
use super::node::Volume;
use super::settings::{Host, NodeSettings, SettingsError};
use super::world::{Cut, World};

/// One node of a [`Network`].
#[derive(Debug, Clone)]
pub struct NodeHandle {
    pub(super) net: Network,
    pub(super) host: Host,
}

impl NodeHandle {
    /// Its host name.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Where everybody reaches it; the same through restarts.
    pub fn addr(&self) -> SocketAddr {
        self.net.addr(&self.host)
    }

    /// `http://127.0.0.1:port`
    pub fn url(&self) -> String {
        let scheme = if self.net.ca_pem().is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr())
    }

    /// A port for one caller: its calls are logged, locked out and cut under this name. A door with the node's own
    /// host name is the node's own pod.
    ///
    /// # Errors
    ///
    /// When no port could be had.
    pub fn door(&self, source: &str) -> Result<SocketAddr, NetworkError> {
        self.port(Service::Http, source)
    }

    /// A port of a service for one caller. Those of Erlang refuse callers whose packets are cut with a reset, and
    /// all while the distribution is off.
    ///
    /// # Errors
    ///
    /// When no port could be had.
    pub fn port(&self, service: Service, source: &str) -> Result<SocketAddr, NetworkError> {
        self.net.open(&self.host, service, source)
    }

    /// SIGKILL: connections are reset, the port refuses.
    pub fn kill(&self) {
        self.change(World::kill);
    }

    /// Starts it again, with the volume and the ini it has.
    ///
    /// # Errors
    ///
    /// When the container would exit.
    pub fn start(&self) -> Result<(), SettingsError> {
        self.net.change(|world, now| world.start(&self.host, now))
    }

    /// Kills it and takes its data volume away. Start it when you like.
    pub fn wipe(&self) {
        self.change(World::wipe);
    }

    /// Kills it and takes its ini away, as when a container is replaced. Start it when you like.
    pub fn lose_ini(&self) {
        self.change(World::lose_ini);
    }

    /// Kills it and mounts another volume, for example one of another cluster. Start it when you like.
    pub fn mount(&self, volume: Volume) {
        self.change(|world, host| world.mount(host, volume));
    }

    /// Its data, copied, for [`NodeHandle::mount`].
    pub fn volume(&self) -> Volume {
        let look = |world: &World| world.node(self.host.as_str()).map(|node| node.volume.clone());
        self.net.world(|world| look(world)).unwrap_or_default()
    }

    /// Changes what its next start reads: another image, environment or ini file.
    pub fn reconfigure(&self, change: impl FnOnce(NodeSettings) -> NodeSettings) {
        self.change(|world, host| world.reconfigure(host, change));
    }

    /// Breaks its next `finish_cluster`.
    pub fn break_finish(&self, fault: FinishFault) {
        self.change(|world, host| world.break_finish(host, fault));
    }

    /// What Kubernetes does when a container exits: a new one, from the image, on the same volume.
    ///
    /// # Errors
    ///
    /// When the container would exit.
    pub fn restart_container(&self) -> Result<(), SettingsError> {
        self.lose_ini();
        self.start()
    }

    /// SIGSTOP: accepts, and never answers.
    pub fn pause(&self) {
        self.change(|world, host| world.set_paused(host, true));
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.change(|world, host| world.set_paused(host, false));
    }

    /// Each answer takes so much longer on the network's clock.
    pub fn slow(&self, by: Duration) {
        self.change(|world, host| world.set_slow(host, by));
    }

    /// Loses Erlang packets between this and the given nodes, in both directions.
    pub fn cut_off_from(&self, others: &[&Host], cut: Cut) {
        for other in others {
            self.net.cut(&self.host, other, cut);
        }
    }

    /// Calls that came in here.
    pub fn calls(&self) -> Vec<Call> {
        self.net.calls_of(&Which::all().on(self.host.clone()))
    }

    fn change(&self, change: impl FnOnce(&mut World, &Host)) {
        self.net.change(|world, _| change(world, &self.host));
    }
}
