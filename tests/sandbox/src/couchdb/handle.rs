//! The operations of a test on one node.

use std::net::SocketAddr;
use std::time::Duration;

use super::calls::{Call, CallFilter};
use super::network::{Network, NetworkError};
use super::node::{FinishFault, Volume};
use super::service::Service;
use super::settings::{Host, NodeSettings, SettingsError};
use super::world::World;

/// One node of a [`Network`].
#[derive(Debug, Clone)]
pub struct NodeHandle {
    pub(super) net: Network,
    pub(super) host: Host,
}

impl Network {
    /// Adds a node and starts it.
    ///
    /// # Errors
    ///
    /// If its container would exit, or no port can be opened.
    pub fn start_node(&self, settings: NodeSettings) -> Result<NodeHandle, NetworkError> {
        Ok(NodeHandle { net: self.clone(), host: self.add(settings)? })
    }

    /// The handle of a node that was added before, whether it runs or not.
    pub fn node(&self, host: impl Into<Host>) -> NodeHandle {
        NodeHandle { net: self.clone(), host: host.into() }
    }
}

impl NodeHandle {
    /// Fully qualified host name of the node's pod.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// HTTP address that is open to any caller. It stays the same through restarts.
    pub fn addr(&self) -> SocketAddr {
        self.net.addr(&self.host)
    }

    /// `http://127.0.0.1:port`, or `https://..` in a network with TLS.
    pub fn url(&self) -> String {
        let scheme = if self.net.ca_pem().is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.addr())
    }

    /// HTTP address for one caller: its calls are logged, locked out and cut under this name. The node's own host name
    /// stands for a caller in the node's pod, which reaches 127.0.0.1.
    ///
    /// # Errors
    ///
    /// If no loopback port can be opened.
    pub fn addr_for(&self, caller: &str) -> Result<SocketAddr, NetworkError> {
        self.service_addr_for(Service::Http, caller)
    }

    /// Address of a service for one caller. Erlang's ports refuse a caller behind a [`Cut::Reset`](super::Cut::Reset),
    /// and every caller while the distribution is off.
    ///
    /// # Errors
    ///
    /// If no loopback port can be opened.
    pub fn service_addr_for(&self, service: Service, caller: &str) -> Result<SocketAddr, NetworkError> {
        self.net.open(&self.host, service, caller)
    }

    /// SIGKILL: connections are reset, and the ports refuse new ones.
    pub fn kill(&self) {
        self.change(World::kill);
    }

    /// Starts the node again, with the volume and the ini that it has.
    ///
    /// # Errors
    ///
    /// If the container would exit.
    pub fn start(&self) -> Result<(), SettingsError> {
        self.net.change(|world, now| world.start(&self.host, now))
    }

    /// Kills the node and deletes its data volume. The test starts it again.
    pub fn wipe(&self) {
        self.change(World::wipe);
    }

    /// Kills the node and deletes its ini, as the replacement of a container does. The test starts it again.
    pub fn lose_ini(&self) {
        self.change(World::lose_ini);
    }

    /// Kills the node and mounts another volume, for example one of another cluster. The test starts it again.
    pub fn mount(&self, volume: Volume) {
        self.change(|world, host| world.mount(host, volume));
    }

    /// A copy of the node's data, for [`NodeHandle::mount`].
    pub fn volume(&self) -> Volume {
        self.net
            .world(|world| world.node(self.host.as_str()).map(|node| node.volume.clone()))
            .unwrap_or_default()
    }

    /// Changes the settings of the next start: another image, environment or ini file.
    pub fn reconfigure(&self, change: impl FnOnce(NodeSettings) -> NodeSettings) {
        self.change(|world, host| world.reconfigure(host, change));
    }

    /// Breaks the node's next `finish_cluster`.
    pub fn break_finish(&self, fault: FinishFault) {
        self.change(|world, host| world.break_finish(host, fault));
    }

    /// Restarts the container as Kubernetes does when it exits: a new one from the image, on the same volume.
    ///
    /// # Errors
    ///
    /// If the container would exit.
    pub fn restart_container(&self) -> Result<(), SettingsError> {
        self.lose_ini();
        self.start()
    }

    /// SIGSTOP: the node accepts connections and does not answer.
    pub fn pause(&self) {
        self.change(World::pause);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.change(World::resume);
    }

    /// Fills the node's disk, or frees it; see [`World::fill_disk`].
    pub fn fill_disk(&self, is_full: bool) {
        self.change(|world, host| world.fill_disk(host, is_full));
    }

    /// Delays each answer by `delay`, on the network's clock.
    pub fn slow(&self, delay: Duration) {
        self.change(|world, host| world.set_delay(host, delay));
    }

    /// The calls that this node has received.
    pub fn calls(&self) -> Vec<Call> {
        self.net.calls_of(&CallFilter::all().on(self.host.clone()))
    }

    fn change(&self, change: impl FnOnce(&mut World, &Host)) {
        self.net.change(|world, _| change(world, &self.host));
    }
}
