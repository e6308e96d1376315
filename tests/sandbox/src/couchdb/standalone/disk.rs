//! The data volume and the ini files of a container.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

use super::super::ini::Ini;
use super::super::node::Volume;

/// The directories and the address of a node that runs in a process of its own.
#[derive(Debug, Clone)]
pub struct Home {
    /// `/opt/couchdb` in the image: contains `data`, `etc/default.d` and `etc/local.d`.
    pub directory: PathBuf,
    /// The address that the node listens on, with the ports 5984, 4369 and 9100.
    pub address: IpAddr,
}

impl Home {
    /// The content of the data volume; empty if it has none yet.
    pub(super) fn volume(&self) -> io::Result<Volume> {
        match std::fs::read(self.volume_path()) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Volume::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the content of the data volume.
    pub(super) fn save_volume(&self, bytes: &[u8]) -> io::Result<()> {
        // A process that is killed in between leaves the old file or the new one.
        let aside = self.volume_path().with_extension("new");
        std::fs::write(&aside, bytes)?;
        std::fs::rename(aside, self.volume_path())
    }

    /// The values of the ini files that are never written: `default.d`, and mounted files of `local.d`.
    pub(super) fn fixed_ini(&self) -> io::Result<Ini> {
        let mut ini = Ini::default();
        for folder in ["default.d", "local.d"] {
            let mut files: Vec<PathBuf> = match std::fs::read_dir(self.directory.join("etc").join(folder)) {
                Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            // CouchDB reads the files of a folder in the order of their names; later ones override earlier ones.
            files.sort();
            for file in
                files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "ini"))
            {
                if *file != self.container_ini_path() {
                    ini = ini.overlaid(&Ini::parse(&std::fs::read_to_string(file)?));
                }
            }
        }
        Ok(ini)
    }

    /// `local.d/docker.ini`, which the entrypoint and `_config` write. A new container has none.
    pub(super) fn container_ini(&self) -> io::Result<Ini> {
        match std::fs::read_to_string(self.container_ini_path()) {
            Ok(text) => Ok(Ini::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Ini::default()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn save_container_ini(&self, ini: &Ini) -> io::Result<()> {
        std::fs::write(self.container_ini_path(), ini.text())
    }

    fn volume_path(&self) -> PathBuf {
        self.directory.join("data/couchdb-node.json")
    }

    fn container_ini_path(&self) -> PathBuf {
        self.directory.join("etc/local.d/docker.ini")
    }
}
